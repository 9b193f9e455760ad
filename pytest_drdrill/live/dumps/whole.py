"""Whether an archive of pg_dump is whole, found before anything is restored.

pg_restore finds some of it itself, and takes the rest for granted: of a directory dump it restores
a data file that was cut between two rows, or in the middle of its compression, and exits with 0.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
from typing import TYPE_CHECKING, BinaryIO

from pytest_drdrill.live.dumps.archive import (
    Archive,
    CutError,
    Entry,
    Reader,
    data_file,
    read_archive,
)
from pytest_drdrill.live.dumps.formats import BROKEN_STREAM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_drdrill.live.dumps.formats import Format

_ROWS, _LARGE_OBJECTS = 1, 3
_LARGE_OBJECTS_LIST = "BLOBS"
_BLOCK = 512
_TAR_SIZE = slice(124, 136)
_TAR_NAME = slice(0, 100)
_TAIL = 16
_CHUNK = 1 << 20
_ROWS_END = b"\\.\n\n\n"
_STATEMENTS_END, _NO_STATEMENTS = b";\n\n\n", b"\n\n"
_NAMED = 3
_TESTERS = {".zst": ("zstd", "-tq"), ".lz4": ("lz4", "-tq")}


def archive_of(dump: Path, kind: Format) -> Archive:
    """Header and table of contents of a dump that is no plain one.

    Raises:
        CutError: it ends in the middle of them, or makes no sense.
        OSError: it can't be read.
    """
    path = dump / "toc.dat" if kind == "directory" else dump
    with path.open("rb") as file:
        if kind == "tar":
            file.seek(_BLOCK)
        return read_archive(file, kind)


def check_whole(dump: Path, kind: Format, archive: Archive, warn: Callable[[str], None]) -> None:
    """Look whether all data are there that the table of contents names.

    Args:
        dump: the file or folder.
        kind: its format.
        archive: what ``archive_of`` gave.
        warn: told what could not be checked.

    Raises:
        CutError: they are not.
        OSError: it can't be read.
    """
    if archive.entries is None:
        major, minor = archive.header.version
        warn(f"whether it is whole: its layout, {major}.{minor}, is newer than what is known here")
        return
    expected = [entry for entry in archive.entries if entry.has_data]
    match kind:
        case "custom":
            with dump.open("rb") as file:
                _check_custom(file, archive, expected)
        case "tar":
            with dump.open("rb") as file:
                members = _members(file, dump.stat().st_size)
            _check_names(expected, lambda name: name in members)
        case "directory":
            _check_names(expected, lambda name: data_file(dump, name) is not None)
            for entry in expected:
                path = data_file(dump, entry.file)
                assert path is not None
                if entry.what == _LARGE_OBJECTS_LIST:
                    continue
                _check_file(path, entry, warn)
            _check_large_objects(dump, archive.entries, warn)
        case _:
            raise AssertionError(kind)


def _check_custom(file: BinaryIO, archive: Archive, expected: list[Entry]) -> None:
    """Where the table of contents says where data are, the last block of them; else each one."""
    offsets = {entry.number: entry.offset for entry in expected if entry.offset is not None}
    sought = {entry.number: entry for entry in expected}
    start = archive.end
    if expected and len(offsets) == len(expected):
        last = max(offsets, key=lambda number: offsets[number])
        start, sought = offsets[last], {last: sought[last]}
    size = file.seek(0, 2)
    file.seek(start)
    reader = Reader(file)
    reader.int_size = archive.int_size
    # What follows is no data: written to a pipe, some releases repeat the table of contents there.
    while sought:
        if reader.tell() >= size:
            raise CutError(
                f"it ends at byte {size:,}, without the data of {_named([*sought.values()])}"
            )
        sought.pop(_skip_block(reader, size), None)


def _skip_block(reader: Reader, size: int) -> int:
    """Read over one block of data; gives the id of the entry that it belongs to."""
    kind = reader.byte()
    if kind not in {_ROWS, _LARGE_OBJECTS}:
        raise CutError(f"it makes no sense from byte {reader.tell() - 1:,} on")
    number = reader.number()
    if kind == _ROWS:
        _skip_chunks(reader, size)
    else:
        while reader.number():
            _skip_chunks(reader, size)
    return number


def _skip_chunks(reader: Reader, size: int) -> None:
    while length := reader.number():
        if length < 0 or reader.tell() + length > size:
            raise CutError(f"it ends at byte {size:,}, in the middle of data")
        reader.skip(length)


def _members(file: BinaryIO, size: int) -> set[str]:
    """The names in a tar file, which ends with two blocks of zeros."""
    names: set[str] = set()
    at = 0
    while True:
        file.seek(at)
        header = file.read(_BLOCK)
        if len(header) < _BLOCK:
            raise CutError(f"it ends at byte {size:,}, without the end mark of a tar file")
        if not header.strip(b"\0"):
            if len(file.read(_BLOCK)) < _BLOCK:
                raise CutError(f"it ends at byte {size:,}, in the end mark of a tar file")
            return names
        names.add(header[_TAR_NAME].partition(b"\0")[0].decode("utf-8", "replace"))
        at += _BLOCK + -(-_tar_size(header) // _BLOCK) * _BLOCK
        if at > size:
            raise CutError(f"it ends at byte {size:,}, in the middle of data")


def _tar_size(header: bytes) -> int:
    field = header[_TAR_SIZE]
    if field[0] & 0x80:  # of 8 GiB and more, in binary
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        raise CutError("it makes no sense: a size in it is no number") from None


def _check_names(expected: list[Entry], is_there: Callable[[str], bool]) -> None:
    lacking = [entry for entry in expected if not any(is_there(name) for name in _names_of(entry))]
    if lacking:
        raise CutError(f"it lacks the data of {_named(lacking)}")


def _names_of(entry: Entry) -> tuple[str, ...]:
    """What the file of an entry's data may be called; a tar has a list of large objects instead."""
    if entry.what == _LARGE_OBJECTS_LIST:
        return (entry.file, "blobs.toc", f"blobs_{entry.number}.toc")
    return (entry.file,)


def _check_large_objects(
    dump: Path, entries: tuple[Entry, ...], warn: Callable[[str], None]
) -> None:
    """Of a directory dump: each list has a line, and a file, for each large object."""
    listed = 0
    for entry in entries:
        if not (entry.has_data and entry.what == _LARGE_OBJECTS_LIST):
            continue
        lines = (dump / entry.file).read_bytes()
        if lines and not lines.endswith(b"\n"):
            raise CutError(f"the list of large objects, {entry.file}, lacks its end")
        for line in lines.decode("utf-8", "replace").splitlines():
            _, _, name = line.partition(" ")
            path = data_file(dump, name)
            if path is None:
                raise CutError(f"it lacks the large object {name}")
            _check_file(path, entry, warn)
            listed += 1
    made = sum(entry.objects for entry in entries)
    if listed < made:
        raise CutError(f"its lists of large objects have {listed:,} of {made:,}")


def _check_file(path: Path, entry: Entry, warn: Callable[[str], None]) -> None:
    """A data file of a directory dump: unpacked to its end, whose last bytes are known."""
    if tester := _TESTERS.get(path.suffix):
        found = shutil.which(tester[0])
        if found is None:
            warn(f"whether {path.name} is whole: {tester[0]} is not on this machine")
        elif subprocess.run([found, tester[1], path], check=False, capture_output=True).returncode:  # noqa: S603 - the user's own file
            raise CutError(f"the data of {_named([entry])}, {path.name}, can't be unpacked")
        return
    tail = _tail(path, entry)
    if entry.what != "TABLE DATA":
        return  # large objects may end with anything
    ends = tail.endswith(_ROWS_END if entry.copies else _STATEMENTS_END)
    if not ends and (entry.copies or tail != _NO_STATEMENTS):
        raise CutError(f"the data of {_named([entry])}, {path.name}, lack their end")


def _tail(path: Path, entry: Entry) -> bytes:
    """The last bytes of a data file; a compressed one is read from its beginning."""
    tail = b""
    size = path.stat().st_size
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            if path.suffix != ".gz":
                file.seek(max(0, size - _TAIL))
            elif not size:
                raise EOFError
            while chunk := file.read(_CHUNK):
                tail = (tail + chunk)[-_TAIL:]
    except BROKEN_STREAM:
        raise CutError(f"the data of {_named([entry])}, {path.name}, can't be unpacked") from None
    return tail


def _named(entries: list[Entry]) -> str:
    names = [f"{each.what} {each.name}" for each in entries[:_NAMED]]
    more = len(entries) - _NAMED
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")
