"""Archives of pg_dump: their header and table of contents, read without any program.

The layout is that of ``pg_backup_archiver.c`` of PostgreSQL, versions 1.10 (8.4) to 1.16 (17, 18).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from pytest_drdrill.live.dumps.formats import MAGIC

if TYPE_CHECKING:
    from pathlib import Path

OLDEST, NEWEST = (1, 10), (1, 16)
_NO_DATA = 3
_LONGEST = 1 << 30
_COMPRESSIONS = ("", ".gz", ".lz4", ".zst")


class CutError(Exception):
    """An archive ends, or makes no sense, in the middle; the message says where."""


class Header(NamedTuple):
    """What an archive says of itself.

    Attributes:
        version: of the archive's own layout.
        began: when pg_dump began, by the wall clock where it ran, without a zone; None where that
            is no date.
        summer: whether that was in daylight saving time.
        database: its name.
        server: the version of the server that was dumped.
        pg_dump: the version of the program that dumped it.
    """

    version: tuple[int, int]
    began: datetime | None
    summer: bool
    database: str
    server: str
    pg_dump: str


class Entry(NamedTuple):
    """One line of the table of contents.

    Attributes:
        number: its dump id.
        what: its kind, as ``TABLE DATA``.
        name: of the object.
        copies: whether its data are rows for a COPY.
        has_data: whether data belong to it.
        file: of its data, in a directory or tar; empty without.
        offset: of its data, in a custom archive; None where that was not written down.
        objects: how many large objects it makes.
    """

    number: int
    what: str
    name: str
    copies: bool
    has_data: bool
    file: str
    offset: int | None
    objects: int


@dataclass(frozen=True, slots=True)
class Archive:
    """A header and its table of contents, which is None where the layout is a newer one."""

    header: Header
    entries: tuple[Entry, ...] | None
    int_size: int
    end: int


class Reader:
    """Reads the numbers and texts of an archive.

    Args:
        file: at its beginning.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.int_size = 4
        self.offset_size = 8

    def take(self, size: int) -> bytes:
        """So many bytes.

        Raises:
            CutError: there are fewer.
        """
        data = self._file.read(size)
        if len(data) < size:
            raise CutError(f"it ends at byte {self._file.tell():,}, in the middle of an entry")
        return data

    def byte(self) -> int:
        """One byte."""
        return self.take(1)[0]

    def number(self) -> int:
        """A number, whose sign is a byte of its own."""
        sign = self.byte()
        value = int.from_bytes(self.take(self.int_size), "little")
        return -value if sign else value

    def text(self) -> str | None:
        """A text, or None.

        Raises:
            CutError: the archive ends in it, or its length makes no sense.
        """
        length = self.number()
        if length < 0:
            return None
        if length > _LONGEST:
            raise CutError(f"it makes no sense from byte {self._file.tell():,} on")
        return self.take(length).decode("utf-8", "replace")

    def skip(self, size: int) -> None:
        """Go on behind so many bytes, which are there."""
        self._file.seek(size, 1)

    def tell(self) -> int:
        """How many bytes were read."""
        return self._file.tell()


def read_archive(file: BinaryIO, kind: str) -> Archive:
    """Read header and table of contents.

    Args:
        file: the archive, or the ``toc.dat`` of a directory or tar.
        kind: ``custom``, ``directory`` or ``tar``.

    Raises:
        CutError: it ends in the middle of them, or makes no sense.
    """
    reader = Reader(file)
    if reader.take(len(MAGIC)) != MAGIC:
        raise CutError("its table of contents does not begin as one of pg_dump")
    version = (reader.byte(), reader.byte())
    reader.byte()
    reader.int_size, reader.offset_size = reader.byte(), reader.byte()
    reader.byte()
    if not (0 < reader.int_size <= 8 and 0 < reader.offset_size <= 8):  # noqa: PLR2004 - 64 bits
        raise CutError("its header makes no sense")
    header = _read_header(reader, version)
    if not OLDEST <= version <= NEWEST:
        return Archive(header, None, reader.int_size, 0)
    count = reader.number()
    if count < 0:
        raise CutError("its header makes no sense")
    entries = tuple(_read_entry(reader, version, kind) for _ in range(count))
    return Archive(header, entries, reader.int_size, reader.tell())


def _read_header(reader: Reader, version: tuple[int, int]) -> Header:
    if version >= (1, 15):
        reader.byte()  # the compression
    else:
        reader.number()
    second, minute, hour, day, month, year, summer = (reader.number() for _ in range(7))
    try:
        began = datetime(1900 + year, 1 + month, day, hour, minute, min(second, 59))  # noqa: DTZ001 - it has none
    except (ValueError, OverflowError):
        began = None
    texts = [reader.text() or "" for _ in range(3)]
    return Header(version, began, summer > 0, *texts)


def _read_entry(reader: Reader, version: tuple[int, int], kind: str) -> Entry:
    number = reader.number()
    dumper = reader.number()
    reader.text()  # the object's table and id in the catalogue
    reader.text()
    name, what = reader.text() or "", reader.text() or ""
    if version >= (1, 11):
        reader.number()  # the section
    made = reader.text() or ""  # the statement that makes it, and the one that drops it
    reader.text()
    copy = reader.text()
    reader.text()  # schema and tablespace
    reader.text()
    if version >= (1, 14):
        reader.text()  # the access method
    if version >= (1, 16):
        reader.number()  # the kind of relation
    reader.text()  # the owner
    reader.text()  # whether it has object ids
    while reader.text() is not None:
        pass  # what it depends on
    file, offset = "", None
    if kind == "custom":
        state = reader.byte()
        value = int.from_bytes(reader.take(reader.offset_size), "little")
        has_data = bool(dumper) and state != _NO_DATA
        offset = value if has_data and value else None
    else:
        file = reader.text() or ""
        has_data = bool(file)
    # One by one, or since version 17 as a list of their ids.
    objects = {"BLOB": 1, "BLOB METADATA": made.count("\n")}.get(what, 0)
    return Entry(number, what, name, bool(copy), has_data, file, offset, objects)


def data_file(folder: Path, name: str) -> Path | None:
    """The file of an entry's data in a directory dump, compressed or not; None where it is gone."""
    for suffix in _COMPRESSIONS:
        path = folder / (name + suffix)
        if path.is_file():
            return path
    return None
