r"""One entry of a backed-up tree, and its line in the manifest: written, read, never trusted.

A name that is not UTF-8 has each odd byte as a surrogate escape (``\udcff``).
"""

from __future__ import annotations

import json
import re
import stat
from base64 import b64decode
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from pytest_drdrill.backup.job import ID, is_id
from pytest_drdrill.backup.sparse import LIMIT

if TYPE_CHECKING:
    import os

    from pytest_drdrill.backup.sparse import Segments

EntryType = Literal["file", "folder", "symlink", "fifo", "socket", "device"]
"""What an entry can be. A hard link is a file that names the first path of its file."""
RECORDED: tuple[EntryType, ...] = ("fifo", "socket", "device")
"""What has no content to store: its line says that it was there, and nothing restores it."""

ROOT = "."
LINE = 1 << 20  # a path and a target near PATH_MAX, every byte escaped, take 50 KiB
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HOLDER = b'"backup":"'
_text = json.encoder.encode_basestring_ascii
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_decode = json.JSONDecoder().decode


@dataclass(slots=True)
class Entry:
    """One entry of a backed-up tree.

    Attributes:
        path: where it is, relative to the source, with ``/`` between parts; ``.`` is the source.
        type: file, folder, symlink, fifo, socket or device.
        size: bytes of a file's content, 0 for all else.
        mode: permission bits, ``0o7777`` at most.
        uid: number of its owner.
        gid: number of its group.
        mtime_ns: last modification, nanoseconds since 1970.
        ctime_ns: last change of the inode, nanoseconds since 1970: tells a later backup what
            changed. 0 for one that had changed so shortly before it was read that a later change
            may bear the same time: a later backup looks at its content and attributes.
        ino: inode number, for the same reason.
        nlink: number of its hard links.
        target: of a symlink, where it points, verbatim.
        hardlink: of a further name of a file, the first path of that file.
        sha256: of a file, the hash of its content, as hexadecimal digits; of a sparse one, of its
            data alone.
        data: of a sparse file, pairs of offset and length of its data; all else is zero.
        xattrs: extended attributes, ACLs among them, by name; each value in base64.
        backup: id of the backup whose ``data.tar`` holds it.
        offset: where its bytes begin in that tar.
    """

    path: str
    type: EntryType
    size: int
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    ctime_ns: int
    ino: int
    nlink: int
    target: str | None = None
    hardlink: str | None = None
    sha256: str | None = None
    data: Segments | None = None
    xattrs: dict[str, str] | None = None
    backup: str = ""
    offset: int = 0

    @property
    def stored(self) -> int:
        """Bytes of a file's content that a tar holds: all but the holes."""
        return self.size if self.data is None else sum(length for _, length in self.data)

    def line(self) -> bytes:
        """The entry's line in the manifest, its newline included."""
        # As head_of_status() has it, which a call would make slower.
        text = (
            f'{{"path":{_text(self.path)},"type":"{self.type}","size":{self.size},'
            f'"mode":"{self.mode:04o}","uid":{self.uid},"gid":{self.gid},'
            f'"mtime_ns":{self.mtime_ns},"ctime_ns":{self.ctime_ns},"ino":{self.ino},'
            f'"nlink":{self.nlink},'
        )
        if self.target is not None:
            text += f'"target":{_text(self.target)},'
        if self.hardlink is not None:
            text += f'"hardlink":{_text(self.hardlink)},'
        if self.sha256 is not None:
            text += f'"sha256":"{self.sha256}",'
        if self.data is not None:
            text += f'"data":{_encode(self.data)},'
        if self.xattrs is not None:
            text += f'"xattrs":{_encode(self.xattrs)},'
        text += f'"backup":{_text(self.backup)},"offset":{self.offset}}}\n'
        return text.encode("ascii")


def head_of_status(path: str, kind: str, status: os.stat_result) -> bytes | None:
    """How the line of a file or folder begins, by its status: with all that this says.

    So a later backup can tell an unchanged one by comparing bytes, without parsing the line.

    Args:
        path: where it is.
        kind: what it was taken for.
        status: its status.

    Returns:
        None for what that is not, and for what has more to it: a further name has a first one, a
        symlink a target.
    """
    mode = status.st_mode
    if (known := _modes.get(mode)) is None:
        known = _modes[mode] = _KINDS.get(stat.S_IFMT(mode)), f"{stat.S_IMODE(mode):04o}"
    found, text = known
    if found != kind:
        return None
    size = 0
    if found == "file":
        if status.st_nlink != 1:
            return None
        size = status.st_size
    return (
        f'{{"path":{_text(path)},"type":"{found}","size":{size},"mode":"{text}",'
        f'"uid":{status.st_uid},"gid":{status.st_gid},"mtime_ns":{status.st_mtime_ns},'
        f'"ctime_ns":{status.st_ctime_ns},"ino":{status.st_ino},"nlink":{status.st_nlink},'
    ).encode("ascii")


_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder"}
_modes: dict[int, tuple[str | None, str]] = {}  # what a line says of them: kind and mode


def holding(backup: str) -> bytes:
    """What the line of each entry holds that this backup holds, and no other line."""
    return b'%b%b",' % (_HOLDER, backup.encode())


def holder_of_line(line: bytes) -> str:
    """The id of the backup that holds what a line describes, from the bytes of the line."""
    return line[line.rindex(_HOLDER) + len(_HOLDER) :].partition(b'"')[0].decode()


def parse_line(line: bytes) -> Entry:
    """The entry that a line describes, checked.

    Raises:
        TypeError, ValueError, KeyError, RecursionError: a line that no backup writes.
    """
    if not line.endswith(b"\n"):
        raise ValueError("the line is cut off or too long")
    text = line.decode("ascii")
    if plain := _plain().fullmatch(text):
        return _plain_entry(*plain.groups())  # type: ignore[arg-type] # the pattern says which types
    values = _decode(text)
    _check_fields(values)
    mode = values.pop("mode")
    if not isinstance(mode, str) or not re.fullmatch("[0-7]{4}", mode):
        raise ValueError(f"mode is {_shown(mode)}")
    entry = Entry(mode=int(mode, 8), **values)
    _check_path(entry.path)
    if not is_id(entry.backup):
        raise ValueError(f"backup is {_shown(entry.backup)}")
    for name, low, high in _RANGES:
        value = getattr(entry, name)
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"{name} of {entry.path!r} is {_shown(value)}")
    _check_kind(entry)
    if entry.data is not None:
        _check_data(entry)
    if entry.xattrs is not None:
        _check_xattrs(entry)
    return entry


# Most lines say nothing that needs a parser of JSON: no odd characters, no numbers out of range.
_NUMBER = "(0|[1-9][0-9]{0,8})"
_LONG = "(0|-?[1-9][0-9]{0,18})"
_STRING = r'"([ !#-\[\]-~]+)"'
_PLAIN = (
    rf'\{{"path":{_STRING},"type":"(file|folder|symlink|fifo|socket|device)","size":(0|[1-9][0-9]{{0,17}}),'
    rf'"mode":"([0-7]{{4}})","uid":{_NUMBER},"gid":{_NUMBER},"mtime_ns":{_LONG},"ctime_ns":{_LONG},'
    rf'"ino":(0|[1-9][0-9]{{0,17}}),"nlink":{_NUMBER},(?:"target":{_STRING},)?'
    rf'(?:"hardlink":{_STRING},)?(?:"sha256":"([0-9a-f]{{64}})",)?'
    rf'"backup":"({ID})","offset":(0|[1-9][0-9]{{0,17}})\}}\n'
)


@cache
def _plain() -> re.Pattern[str]:
    return re.compile(_PLAIN)  # which takes milliseconds that a backup need not spend


def _plain_entry(  # noqa: PLR0913, PLR0917 - the fields of a line, in its own order
    path: str,
    kind: EntryType,
    size: str,
    mode: str,
    uid: str,
    gid: str,
    mtime_ns: str,
    ctime_ns: str,
    ino: str,
    nlink: str,
    target: str | None,
    hardlink: str | None,
    digest: str | None,
    backup: str,
    offset: str,
) -> Entry:
    """The entry of a line that ``_PLAIN`` matches, which leaves less to check."""
    entry = Entry(
        path,
        kind,
        int(size),
        int(mode, 8),
        int(uid),
        int(gid),
        int(mtime_ns),
        int(ctime_ns),
        int(ino),
        int(nlink),
        target,
        hardlink,
        digest,
        None,
        None,
        backup,
        int(offset),
    )
    _check_path(path)
    _check_kind(entry)
    return entry


def _check_fields(values: Any) -> None:
    if not isinstance(values, dict):
        raise TypeError("it is no JSON object")
    if unknown := values.keys() - _FIELDS:
        raise ValueError(f"it has a field {_shown(min(unknown))}")
    if missing := _REQUIRED - values.keys():
        raise ValueError(f"it has no field {min(missing)!r}")


def _check_data(entry: Entry) -> None:
    end = 0
    pieces: Any = entry.data
    if entry.type != "file" or not isinstance(pieces, list) or len(pieces) > LIMIT:
        raise ValueError(f"data of {entry.path!r} is no list of segments")
    for piece in pieces:
        if not isinstance(piece, list) or [type(value) for value in piece] != [int, int]:
            raise ValueError(f"data of {entry.path!r} holds {_shown(piece)}")
        start, length = piece
        if start < end or length <= 0 or start + length > entry.size:
            raise ValueError(f"data of {entry.path!r} holds {_shown(piece)}")
        end = start + length


def _check_xattrs(entry: Entry) -> None:
    found: Any = entry.xattrs
    if not isinstance(found, dict) or not found:
        raise ValueError(f"xattrs of {entry.path!r} are {_shown(found)}")
    for name, value in found.items():
        _check_name(name)
        if not isinstance(value, str):
            raise TypeError(f"xattrs of {entry.path!r} hold {_shown(value)}")
        b64decode(value, validate=True)


def _check_kind(entry: Entry) -> None:
    if entry.type == "file":
        if not isinstance(entry.sha256, str) or not _SHA256.fullmatch(entry.sha256):
            raise ValueError(f"sha256 of {entry.path!r} is {_shown(entry.sha256)}")
        if entry.hardlink is not None:
            _check_path(entry.hardlink)
    elif entry.size or entry.sha256 is not None or entry.hardlink is not None:
        raise ValueError(f"{entry.path!r} has content, but is no file")
    if entry.type == "symlink":
        _check_name(entry.target)
    elif entry.target is not None or entry.type not in ("file", "folder", *RECORDED):
        raise ValueError(f"{entry.path!r} is of type {_shown(entry.type)}")


_FIELDS = frozenset(each.name for each in fields(Entry))
_REQUIRED = frozenset(each.name for each in fields(Entry) if each.default is MISSING) | {"backup"}
_WORD = 2**63 - 1
_NS_MIN = -(2**63) * 10**9  # the kernel counts seconds in 64 bits, beside the nanoseconds
_NS_MAX = 2**63 * 10**9 - 1
_ID_MAX = 2**32 - 2  # the number above means "leave it" to chown
_RANGES = (
    ("size", 0, _WORD),
    ("offset", 0, _WORD),
    ("uid", 0, _ID_MAX),
    ("gid", 0, _ID_MAX),
    ("mtime_ns", _NS_MIN, _NS_MAX),
    ("ctime_ns", _NS_MIN, _NS_MAX),
    ("ino", 0, 2**64 - 1),
    ("nlink", 0, _WORD),
)


def _check_path(path: Any) -> None:
    _check_name(path)
    if path != ROOT and not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise ValueError(f"path {_shown(path)} could leave the tree")


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError(f"{_shown(name)} is no path")
    if not name.isascii():
        name.encode("utf-8", "surrogateescape")  # a lone surrogate that is no escape: ValueError


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"  # noqa: PLR2004 - a line of a terminal
