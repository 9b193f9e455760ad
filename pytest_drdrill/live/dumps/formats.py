"""Which kind of dump something is, told by its content and never by its name."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import shutil
import stat
import subprocess
import zlib
from typing import TYPE_CHECKING, Literal, cast

from pytest_drdrill.live.dumps.errors import DumpRefused
from pytest_drdrill.live.errors import ComponentMissing
from pytest_drdrill.redact import quoted, without_secrets
from pytest_drdrill.text import NAME_LIMIT, one_line, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader
    from pathlib import Path

Format = Literal["custom", "directory", "tar", "plain"]

MAGIC = b"PGDMP"
HEAD = 1 << 16
_TAR_MARK, _TAR_MARK_AT = b"ustar", 257
_FIRST_MEMBER = b"toc.dat\0"
_FORMAT_AT = 10
"""Where the header of an archive has its format, since version 1.7."""
_CUSTOM = 1
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}
_ENCRYPTED = {
    b"age-encryption.org/": "age",
    b"-----BEGIN AGE ENCRYPTED FILE": "age",
    b"-----BEGIN PGP MESSAGE": "GnuPG",
    b"Salted__": "openssl",
    b"\x85\x01": "GnuPG",
    b"\x85\x02": "GnuPG",
    b"\x84\x5e": "GnuPG",
    b"\x8c\x0d": "GnuPG",
    b"\x8d\x0d": "GnuPG",
}
_FOREIGN = {
    b"-- MySQL dump": "a dump of MySQL",
    b"-- MariaDB dump": "a dump of MariaDB",
    b"/*M!999999": "a dump of MariaDB",
    b"SQLite format 3": "a database of SQLite",
    b"PK\x03\x04": "a zip archive: unpack it first",
}
ONE_DATABASE = b"-- PostgreSQL database dump"
ALL_DATABASES = b"-- PostgreSQL database cluster dump"
_TOOLS = {"zstd": ("zstd", "-dc"), "lz4": ("lz4", "-dc")}
BROKEN_STREAM = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
"""What reading a compressed file raises where it was cut or damaged; bz2 raises OSError."""


class CutStreamError(Exception):
    """A compressed file ends or breaks in the middle; the message says how."""


def path_text(given: object, taker: str) -> str:
    """What somebody gave as a path, or a pattern of paths.

    Raises:
        TypeError: it is none.
        ValueError: it is the address of a server, which is not shown: it may hold a password.
    """
    __tracebackhide__ = True
    text = os.fspath(given) if isinstance(given, os.PathLike) else given
    if not isinstance(text, str):
        raise TypeError(f"{taker}, not {shown(given)}")
    if "://" in text or without_secrets(text) != text:
        raise ValueError(f"{taker}, not {quoted(text)}")
    return text


def packing(head: bytes) -> str | None:
    """The compression that a file begins with, or None."""
    return next((name for mark, name in _PACKED.items() if head.startswith(mark)), None)


def format_of(dump: Path) -> Format:
    """Find the format of a dump.

    Raises:
        DumpRefused: it is not there, can't be read, or is no dump that can be restored as it is.
        ComponentMissing: the program that unpacks it is not on this machine.
    """
    __tracebackhide__ = True
    head = _head_of(dump)
    if head is None:
        return _of_folder(dump)
    if not head:
        raise DumpRefused(f"{dump} is empty: it has zero bytes, so the dump itself went wrong")
    if head.startswith(MAGIC):
        return _of_archive(dump, head)
    if head[_TAR_MARK_AT:].startswith(_TAR_MARK):
        if head.startswith(_FIRST_MEMBER):
            return "tar"
        raise DumpRefused(
            f"{dump} is a tar file, but none of pg_dump, whose first member is toc.dat; "
            "unpack it, and give what is in it"
        )
    if packed := packing(head):
        head, is_cut = plain_head(dump)
        if is_cut and ONE_DATABASE not in head and ALL_DATABASES not in head:
            raise DumpRefused(
                f"{dump} is cut or damaged right at its beginning: {packed} can't unpack it"
            )
        _refuse_packed(dump, packed, head)
    _refuse_foreign(dump, head)
    return "plain"


def _head_of(dump: Path) -> bytes | None:
    """How a file begins; None for a folder.

    Raises:
        DumpRefused: it is neither, not there, or can't be read.
    """
    __tracebackhide__ = True
    try:
        kind = dump.stat().st_mode
        if stat.S_ISDIR(kind):
            return None
        if not stat.S_ISREG(kind):  # a pipe would be waited for
            raise DumpRefused(
                f"{dump} is neither a file nor a folder, and a restore reads its dump more than "
                "once; write what comes out of it to a file, and give that"
            )
        with dump.open("rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise DumpRefused(f"{dump} can't be read: {error.strerror or error}") from None
    except ValueError:
        raise DumpRefused(f"{one_line(dump, NAME_LIMIT)} is no path of a file") from None


def plain_head(dump: Path) -> tuple[bytes, bool]:
    """The first bytes of a plain dump, unpacked, and whether it was cut before so many."""
    head = b""
    try:
        with opened_plain(dump) as file:
            while len(head) < HEAD and (more := file.read1(HEAD - len(head))):
                head += more
    except (*BROKEN_STREAM, OSError, CutStreamError):
        return head, True
    return head, False


def _of_archive(dump: Path, head: bytes) -> Format:
    if len(head) > _FORMAT_AT and head[_FORMAT_AT] != _CUSTOM:
        raise DumpRefused(
            f"{dump} is the table of contents of a dump in directory or tar format, not the whole "
            "of it; give the folder that it was made in"
        )
    return "custom"


def _of_folder(dump: Path) -> Format:
    if (dump / "toc.dat").is_file():
        return "directory"
    what = "it is empty" if not any(dump.iterdir()) else "pg_dump -Fd writes that file last"
    raise DumpRefused(f"{dump} is a folder without toc.dat, so no whole directory dump: {what}")


def _refuse_packed(dump: Path, packed: str, inner: bytes) -> None:
    """Of what was unpacked, only a plain dump can be read on the way."""
    if not inner:
        raise DumpRefused(f"{dump} holds nothing: unpacked by {packed}, it has zero bytes")
    if again := packing(inner):
        raise DumpRefused(
            f"{dump} is compressed twice, by {packed} over {again}; unpack it once before"
        )
    if inner.startswith(MAGIC) or inner[_TAR_MARK_AT:].startswith(_TAR_MARK):
        what = "a custom dump" if inner.startswith(MAGIC) else "a tar file"
        raise DumpRefused(f"{dump} is {what} compressed by {packed}; unpack it, and give that")


def _refuse_foreign(dump: Path, head: bytes) -> None:
    for mark, tool in _ENCRYPTED.items():
        if head.startswith(mark):
            raise DumpRefused(f"{dump} is encrypted ({tool}); decrypt it, and give that")
    for mark, what in _FOREIGN.items():
        if head.startswith(mark):
            raise DumpRefused(f"{dump} is {what}, not a PostgreSQL dump")
    if ONE_DATABASE not in head and ALL_DATABASES not in head:
        raise DumpRefused(
            f"{dump} is no PostgreSQL dump: neither an archive of pg_dump, nor text with the line "
            "'-- PostgreSQL database dump' near its beginning; it may be encrypted or damaged"
        )


@contextlib.contextmanager
def opened_plain(dump: Path) -> Iterator[BufferedReader]:
    """The text of a plain dump, unpacked where it is compressed.

    Reading raises what ``BROKEN_STREAM`` lists, OSError or ``CutStreamError`` where it was cut.

    Raises:
        ComponentMissing: the program that unpacks it is not on this machine.
        CutStreamError: on leaving, where that program found it cut or damaged.
    """
    with dump.open("rb") as file:
        packed = packing(file.read(8))
    match packed:
        case None:
            with dump.open("rb") as plain:
                yield plain
        case "gzip":
            with gzip.open(dump) as unpacked:
                yield cast("BufferedReader", unpacked)
        case "bzip2":
            with bz2.open(dump) as unpacked:
                yield cast("BufferedReader", unpacked)
        case "xz":
            with lzma.open(dump) as unpacked:
                yield cast("BufferedReader", unpacked)
        case _:
            with _unpacked_by(dump, packed) as output:
                yield output


@contextlib.contextmanager
def _unpacked_by(dump: Path, packed: str) -> Iterator[BufferedReader]:
    command, *options = _TOOLS[packed]
    found = shutil.which(command)
    if found is None:
        raise ComponentMissing(
            f"{command}, which unpacks {os.fspath(dump)}", f"apt-get install {command}"
        )
    process = subprocess.Popen(  # noqa: S603 - the program's own path, and the user's own file
        [found, *options, "--", os.fspath(dump)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        yield cast("BufferedReader", process.stdout)
        ended = not process.stdout.read(1)
        if ended and process.wait():
            raise CutStreamError(f"{command} ended with status {process.returncode}")
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
