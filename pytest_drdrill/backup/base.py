"""The base of a backup: its manifest read beside the source, and what is taken over of it."""

from __future__ import annotations

import os
from collections import deque
from hashlib import sha256
from typing import TYPE_CHECKING, BinaryIO

from pytest_drdrill.backup.entry import LINE, ROOT, parse_line
from pytest_drdrill.backup.errors import BackupDamaged, BackupError
from pytest_drdrill.backup.manifest import check_manifest
from pytest_drdrill.backup.regular import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_drdrill.backup.entry import Entry
    from pytest_drdrill.backup.job import BackupJob
    from pytest_drdrill.backup.pack import Hashing

_BUFFER = 1 << 20
_MOST_WAITING = 1000


class Base:
    """The lines of an earlier backup's manifest, asked for in the order of paths.

    Attributes:
        job: the earlier backup, or None; then nothing is known.
        line: the present line; empty once all were passed.
        position: where in its manifest it begins.
        entry: the entry that ``find`` gave last, as long as its line is the present one.

    Raises:
        BackupDamaged: its manifest is not the one that was published, or holds what no backup
            writes.
    """

    def __init__(self, job: BackupJob | None) -> None:
        self.job = job
        self.position = 0
        self.entry: Entry | None = None
        self.line = b""
        self._file: BinaryIO | None = None
        if job is not None:
            check_manifest(job)
            self._file = os.fdopen(open_regular(job.manifest_path), "rb", _BUFFER)
            self.readline = self._file.readline
            try:
                self.line = self.readline()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the manifest."""
        if self._file is not None:
            self._file.close()

    @property
    def manifest_sha256(self) -> str | None:
        """The hash of its manifest; None where there is no base."""
        return None if self.job is None else self.job.manifest_sha256

    def take(self) -> bytes:
        """Pass the present line, and give it."""
        line = self.line
        self.position += len(line)
        self.line = self.readline()
        self.entry = None
        return line

    def find(self, path: str) -> Entry | None:
        """The entry of a path; lines of paths before it are passed."""
        if not self.line:
            return None
        key = _key(path)
        while self.line:
            if self.entry is None:
                self.entry = self._parsed()
            found = _key(self.entry.path)
            if found >= key:
                return self.entry if found == key else None
            self.take()
        return None

    def beginning(self, size: int) -> Iterator[bytes]:
        """The first bytes of the manifest, by pieces."""
        assert self.job is not None
        with os.fdopen(open_regular(self.job.manifest_path), "rb") as file:
            while size and (piece := file.read(min(size, _BUFFER))):
                size -= len(piece)
                yield piece

    def _parsed(self) -> Entry:
        try:
            return parse_line(self.line)
        except (TypeError, ValueError, KeyError, RecursionError) as error:
            assert self.job is not None
            raise BackupDamaged(
                f"a line of the manifest of backup {self.job.id} can't be trusted: {error}",
                damaged=[self.job.manifest_path.name],
                job=self.job,
            ) from None


class ManifestWriter:
    """Writes a manifest; as long as it is the base's, line by line, it only remembers how far.

    Args:
        file: where to.
        base: the base.
    """

    def __init__(self, file: BinaryIO, base: Base) -> None:
        self._file = file
        self._base = base
        self._digest = sha256()
        self._unwritten = bytearray()
        self._shared: int | None = None if base.job is None else 0
        # What waits for a hash, each with whom it waits for, and the lines after that.
        self._waiting: deque[tuple[Entry, Hashing] | bytes] = deque()

    def add_same(self, head: bytes) -> bytes | None:
        """The base's present line, if it begins so: it is passed, and returned."""
        base = self._base
        line = base.line
        if not line.startswith(head):
            return None
        begin = base.position
        base.position = end = begin + len(line)  # as take() does: this runs for every entry
        base.line = base.readline()
        base.entry = None
        if self._shared == begin:
            self._shared = end
        else:
            self._add_known(line, begin)
        return line

    def add(self, entry: Entry) -> None:
        """The line of an entry: that of the base, where it is the entry that the base gave last."""
        line = _line(entry)
        base = self._base
        if entry is base.entry:
            begin = base.position
            if base.take() == line:
                self._add_known(line, begin)
                return
        self._part()
        self._put(line)

    def add_later(self, entry: Entry, hashing: Hashing) -> None:
        """The line of an entry that is new, once its hash is known."""
        self._part()
        self._waiting.append((entry, hashing))
        self._write_waiting(wait=len(self._waiting) > _MOST_WAITING)

    def settle(self) -> None:
        """Wait for the hashes that are still to come.

        Raises:
            OSError: something could not be written, or not be read again.
        """
        self._write_waiting(wait=True)

    def end(self) -> str:
        """The hash of the whole manifest, as hexadecimal digits; all of it is in the file then.

        Nothing is in the file where it is all of the base's.
        """
        if self._shared is not None and not self._base.line and self._base.position == self._shared:
            assert self._base.job is not None
            assert self._base.job.manifest_sha256 is not None
            return self._base.job.manifest_sha256
        self._part()
        self.settle()
        self._flush()
        return self._digest.hexdigest()

    def _add_known(self, line: bytes, begin: int) -> None:
        """A line of the base that began there, and was just passed."""
        if self._shared == begin:
            self._shared = self._base.position
            return
        self._part()
        self._put(line)

    def _part(self) -> None:
        if self._shared is not None:
            for piece in self._base.beginning(self._shared):
                self._write(piece)
            self._shared = None

    def _put(self, line: bytes) -> None:
        if self._waiting:
            self._waiting.append(line)
            self._write_waiting(wait=len(self._waiting) > _MOST_WAITING)
        else:
            self._write(line)

    def _write_waiting(self, *, wait: bool) -> None:
        while self._waiting:
            first = self._waiting[0]
            if not isinstance(first, bytes):
                entry, hashing = first
                if not (wait or hashing.is_known):
                    return
                hashing.settle()
                first = _line(entry)
            self._waiting.popleft()
            self._write(first)

    def _write(self, line: bytes) -> None:
        self._unwritten += line
        if len(self._unwritten) > _BUFFER:
            self._flush()

    def _flush(self) -> None:
        self._digest.update(self._unwritten)
        self._file.write(self._unwritten)
        self._unwritten.clear()


def _line(entry: Entry) -> bytes:
    line = entry.line()
    if len(line) > LINE:  # no reader would take it
        raise BackupError(
            f"can't back up {entry.path!r}: its attributes take {len(line):,} bytes in the "
            f"manifest, and {LINE:,} are the most"
        )
    return line


def _key(path: str) -> list[str]:
    return [] if path == ROOT else path.split("/")
