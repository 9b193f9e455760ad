"""The bytes of entries, read back from the tars that hold them and held against their hashes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from pytest_drdrill.backup.entry import RECORDED
from pytest_drdrill.backup.errors import BackupDamaged
from pytest_drdrill.backup.pack import LARGE
from pytest_drdrill.backup.regular import open_regular
from pytest_drdrill.backup.store import TAR
from pytest_drdrill.backup.tar import END, header, padding

if TYPE_CHECKING:
    from pytest_drdrill.backup.background import Background, Follower
    from pytest_drdrill.backup.entry import Entry
    from pytest_drdrill.backup.job import BackupJob

_BLOCK = 1 << 20
_NEAR = 4096
_OPEN = 64
"""How many tars are kept open: a chain may be longer than a process may have files open."""


class Contents:
    """The tars of a destination, opened when an entry's bytes are first asked for.

    Args:
        job: whose entries are asked for.
        background: takes the hashes of large files.

    Every method raises ``BackupDamaged``, naming the backup, for a tar that can't be read.
    """

    def __init__(self, job: BackupJob, background: Background) -> None:
        self._job = job
        self._background = background
        self._tars: dict[str, _Tar] = {}  # the one used last at the end
        self._buffer = memoryview(bytearray(_BLOCK))
        # What of which tar the buffer holds, from where on.
        self._read: _Tar | None = None
        self._begin = self._end = 0
        self._kernel_copies = True

    def close(self) -> None:
        """Close the tars."""
        for tar in self._tars.values():
            os.close(tar.fd)

    def copy(self, entry: Entry, to: int | None = None) -> bool:
        """Whether a file's bytes match its hash; on the way they are written to a descriptor.

        Where they don't match, what was written is worthless.
        """
        tar = self._tar(entry.backup)
        if not tar.holds(entry):
            return False
        digest = sha256()
        position = entry.offset
        for start, length in [[0, entry.size]] if entry.data is None else entry.data:
            left = length
            if to is not None and start:
                os.lseek(to, start, os.SEEK_SET)
            while left:
                block = self._bytes_at(tar, position, min(left, _BLOCK))
                if not block:
                    return False
                digest.update(block)
                if to is not None:
                    _write_all(to, block)
                position += len(block)
                left -= len(block)
        if to is not None and entry.data is not None:
            os.ftruncate(to, entry.size)
        return digest.hexdigest() == entry.sha256

    def begin_check(self, entry: Entry) -> Check:
        """Begin to look whether a file's bytes match its hash."""
        tar = self._tar(entry.backup)
        if not (is_large(entry) and tar.holds(entry)):
            return Check(entry, self.copy(entry))
        # By a descriptor of its own: the tar may be closed for another one meanwhile.
        follower = self._background.follow(os.dup(tar.fd), close=True)
        follower.wrote(entry.offset, entry.offset + entry.size)
        follower.end()
        return Check(entry, follower)

    def begin_copy(self, entry: Entry, to: int) -> Check:
        """Write a file's bytes to a new file, and begin to look whether they match its hash there.

        Args:
            entry: the file.
            to: open to be written and read.
        """
        tar = self._tar(entry.backup)
        if not (is_large(entry) and tar.holds(entry)):
            return Check(entry, self.copy(entry, to))
        follower = self._background.follow(os.dup(to), close=True)
        position, end = entry.offset, entry.offset + entry.size
        while position < end and (count := self._copied(tar, position, end - position, to)):
            follower.wrote(position - entry.offset, position - entry.offset + count)
            position += count
        follower.end()
        self._background.sync(to)
        return Check(entry, follower if position == end else False, is_copy=True)

    def is_intact(self, check: Check) -> bool:
        """How a check went, waited for.

        Raises:
            OSError: what was written can't be read.
        """
        if isinstance(check.outcome, bool):
            return check.outcome
        try:
            return check.outcome.digest() == check.entry.sha256
        except OSError as error:
            if check.is_copy:
                raise
            raise self._unreadable(check.entry.backup, error) from error

    def is_member(self, entry: Entry, position: int) -> tuple[bool, int]:
        """Whether what the job's own tar holds of an entry, from a position on, is intact.

        All but its content, which ``begin_check`` is for.

        Returns:
            The answer, and the position of the next member.
        """
        if entry.type in RECORDED:
            return True, position
        tar = self._tar(self._job.id)
        head = header(entry)
        start = position + len(head)
        intact = self._bytes_at(tar, position, len(head)) == head
        if entry.type == "file" and entry.hardlink is None:
            fill = padding(entry.stored)
            end = start + entry.stored
            intact = (
                intact and entry.offset == start and self._bytes_at(tar, end, len(fill)) == fill
            )
            return intact, end + len(fill)
        return intact, start

    def is_end(self, position: int) -> bool:
        """Whether the job's own tar ends at a position as a tar should, and has its size."""
        tar = self._tar(self._job.id)
        return (
            tar.size == self._job.stored_bytes == position + len(END)
            and self._bytes_at(tar, position, len(END)) == END
        )

    def _bytes_at(self, tar: _Tar, position: int, size: int) -> memoryview:
        """Bytes of a tar, fewer where it ends; good until the next call."""
        if position >= tar.size:
            return self._buffer[:0]
        if self._read is not tar or position < self._begin or position + size > self._end:
            # Members lie one after another: who reads on is given the next ones as well.
            ahead = 0 <= position - tar.passed <= _NEAR and size < _BLOCK
            if size > len(self._buffer):
                self._buffer = memoryview(bytearray(size))
            self._read = None
            try:
                count = os.preadv(tar.fd, [self._buffer[: _BLOCK if ahead else size]], position)
            except OSError as error:
                raise self._unreadable(tar.holder, error) from error
            self._read, self._begin, self._end = tar, position, position + count
        tar.passed = position + size
        start = position - self._begin
        return self._buffer[start : min(start + size, self._end - self._begin)]

    def _copied(self, tar: _Tar, position: int, most: int, to: int) -> int:
        """How many bytes were copied; 0 where the tar ends."""
        most = min(most, _BLOCK)
        if self._kernel_copies:
            try:
                if count := os.copy_file_range(tar.fd, to, most, offset_src=position):
                    return count
            except OSError:  # which of the two files it is, only reading and writing tells
                self._kernel_copies = False
        block = self._bytes_at(tar, position, most)
        _write_all(to, block)
        return len(block)

    def _tar(self, holder: str) -> _Tar:
        known = self._tars.pop(holder, None)
        if known is None:
            if len(self._tars) >= _OPEN:
                os.close(self._tars.pop(next(iter(self._tars))).fd)
            path = self._job.destination_path / holder / TAR
            try:
                fd = open_regular(path)
                known = _Tar(holder, fd, os.fstat(fd).st_size)
            except OSError as error:
                raise self._unreadable(holder, error) from error
        self._tars[holder] = known
        return known

    def _unreadable(self, holder: str, error: OSError) -> BackupDamaged:
        whose = "its own" if holder == self._job.id else f"backup {holder}, its base: the"
        return BackupDamaged(
            f"backup {self._job.id} needs {whose} {TAR}, which can't be read: {error.strerror}",
            damaged=[TAR if holder == self._job.id else f"{holder}/{TAR}"],
            job=self._job,
        )


@dataclass(slots=True, eq=False)
class _Tar:
    holder: str
    fd: int
    size: int
    passed: int = 0  # up to where it was read last

    def holds(self, entry: Entry) -> bool:
        return entry.offset + entry.stored <= self.size


class Check(NamedTuple):
    """A look at a file's bytes.

    Attributes:
        entry: the file.
        outcome: whether they match its hash, or who takes the hash.
        is_copy: whether that reads what was written, and not the tar.
    """

    entry: Entry
    outcome: bool | Follower
    is_copy: bool = False

    @property
    def is_done(self) -> bool:
        """Whether it can be asked for without waiting."""
        return isinstance(self.outcome, bool) or self.outcome.is_known


def is_large(entry: Entry) -> bool:
    """Whether a file is copied by the kernel, and hashed beside that."""
    return entry.size >= LARGE and entry.data is None


def _write_all(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]
