"""Tar members, packed by hand: a header is a pure function of its manifest entry.

Plain ustar (POSIX 1003.1), with a pax record only where ustar has no room. Being a pure function,
a header can be checked byte for byte against the manifest.
"""

from __future__ import annotations

import os
import struct
from base64 import b64decode
from typing import TYPE_CHECKING
from zlib import adler32

from pytest_drdrill.backup.entry import ROOT
from pytest_drdrill.backup.sparse import sparse_map

if TYPE_CHECKING:
    from pytest_drdrill.backup.entry import Entry

BLOCK = 512
END = bytes(2 * BLOCK)
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_NAME, _PREFIX = 100, 155
_OCTAL_7, _OCTAL_11 = 0o7777777, 0o77777777777
_Numbers = tuple[int, int, int, int]
_FIELDS = (b"uid", b"gid", b"size", b"mtime")
_MOST = (_OCTAL_7, _OCTAL_7, _OCTAL_11, _OCTAL_11)
_STAND_IN = b"GNUSparseFile.0/"  # for a program that knows no sparse files
_LINKED, _SYMLINK, _FOLDER, _FILE, _PAX = b"1", b"2", b"5", b"0", b"x"


def padding(size: int) -> bytes:
    """The zeros that fill a member's content up to whole blocks."""
    return bytes(-size % BLOCK)


def header(entry: Entry) -> bytes:
    """All blocks of an entry before its content: its header, the pax ones, a sparse file's map."""
    name = os.fsencode(entry.path)
    link = b""
    kind = _FILE
    if entry.type == "folder":
        kind = _FOLDER
        name = b"./" if entry.path == ROOT else name + b"/"
    elif entry.type == "symlink":
        kind, link = _SYMLINK, os.fsencode(entry.target or "")
    elif entry.hardlink is not None:
        kind, link = _LINKED, os.fsencode(entry.hardlink)
    size = 0 if kind == _LINKED else entry.size
    mtime = entry.mtime_ns // 1_000_000_000

    records: dict[bytes, bytes] = {}
    if entry.xattrs is not None and kind != _LINKED:
        records = _xattrs(entry.xattrs)
    chart = b""
    if entry.data is not None and kind == _FILE:
        chart = sparse_map(entry.data, entry.size)
        chart += padding(len(chart))
        size = len(chart) + entry.stored
        records |= _sparse(name, entry.size)
        name = _STAND_IN + name.rpartition(b"/")[2][: _NAME - len(_STAND_IN)]
    prefix = b""
    if len(name) > _NAME:
        prefix, short = _split(name)
        if not short:
            records[b"path"] = name
            prefix, short = b"", name[:_NAME]
        name = short
    if len(link) > _NAME:
        records[b"linkpath"] = link
    numbers = entry.uid, entry.gid, size, mtime
    if not (mtime >= 0 and max(size, mtime) <= _OCTAL_11 and max(numbers[:2]) <= _OCTAL_7):
        numbers = _fitting(numbers, records)
    block = _block(name, entry.mode, *numbers, kind, link[:_NAME], prefix)
    return (_pax(records) + block if records else block) + chart


def _fitting(numbers: _Numbers, records: dict[bytes, bytes]) -> _Numbers:
    """The numbers of a header, 0 for those that it has no room for, which go into a record."""
    fits = []
    for field, number, most in zip(_FIELDS, numbers, _MOST, strict=True):
        if not 0 <= number <= most:
            records[field] = b"%d" % number
        fits.append(number if 0 <= number <= most else 0)
    uid, gid, size, mtime = fits
    return uid, gid, size, mtime


def _xattrs(found: dict[str, str]) -> dict[bytes, bytes]:
    return {b"SCHILY.xattr." + os.fsencode(key): b64decode(value) for key, value in found.items()}


def _sparse(name: bytes, size: int) -> dict[bytes, bytes]:
    return {
        b"GNU.sparse.major": b"1",
        b"GNU.sparse.minor": b"0",
        b"GNU.sparse.name": name,
        b"GNU.sparse.realsize": b"%d" % size,
    }


def _split(name: bytes) -> tuple[bytes, bytes]:
    """The name as ustar's prefix and rest, or nothing where no slash lies right for that."""
    at = name.rfind(b"/", 0, min(_PREFIX + 1, len(name) - 1))
    if at <= 0 or len(name) - at - 1 > _NAME:
        return b"", b""
    return name[:at], name[at + 1 :]


def _pax(records: dict[bytes, bytes]) -> bytes:
    if any(not _is_utf8(value) for value in records.values()):
        records = {b"hdrcharset": b"BINARY", **records}
    body = b"".join(_record(key, value) for key, value in records.items())
    head = _block(b"././@PaxHeader", 0o644, 0, 0, len(body), 0, _PAX, b"", b"")
    return head + body + padding(len(body))


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" %b=%b\n" % (key, value)
    length = len(rest)
    while length != len(rest) + len(b"%d" % length):  # the length counts its own digits
        length = len(rest) + len(b"%d" % length)
    return b"%d%b" % (length, rest)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _block(  # noqa: PLR0913, PLR0917 - the fields of a header, in its own order
    name: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    kind: bytes,
    link: bytes,
    prefix: bytes,
) -> bytes:
    block = _HEADER.pack(
        name,
        b"%07o" % mode,
        b"%07o" % uid,
        b"%07o" % gid,
        b"%011o" % size,
        b"%011o" % mtime,
        b"        ",
        kind,
        link,
        b"ustar\00000",
        b"",
        b"",
        b"0000000",
        b"0000000",
        prefix,
    )
    return b"%b%06o\0 %b" % (block[:148], _sum(block), block[156:])


def _sum(block: bytes) -> int:
    """The sum of all bytes: half of what Adler-32 computes, exact for up to 256 of them."""
    return (adler32(block[:256]) & 0xFFFF) - 1 + (adler32(block[256:]) & 0xFFFF) - 1
