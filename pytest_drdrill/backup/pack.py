"""The tar that a backup writes: members one after another, small ones through a buffer.

A small file is read straight into the buffer behind its header; a full buffer is hashed, file by
file, and written by a thread while the next one fills. A large file is copied by the kernel from
file to file, and its hash is that of what then is in the tar: so what a manifest says is what a
restore will find, whatever happens to the source meanwhile.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from pytest_drdrill.backup.errors import BackupError
from pytest_drdrill.backup.tar import END, header, padding

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import BinaryIO

    from pytest_drdrill.backup.background import Background, Follower
    from pytest_drdrill.backup.entry import Entry

    Read = Callable[[memoryview], int]
    """Fills a buffer from a source file; the number of bytes, fewer only at its end."""
    Copy = Callable[[int, int], int]
    """Has the kernel copy to a descriptor, so many bytes at most; how many, 0 where it can't."""

LARGE = 1 << 20
"""Bytes from which on a file is copied from file to file."""
_PIECE = 1 << 20
_ROOM = 2 << 20
"""Bytes of a buffer."""
_BUFFERS = 3
_WORTH_A_THREAD = 1 << 16
"""Bytes from which on another thread takes a small file's hash."""
_SYNC = 128 << 20
"""Bytes after which they are brought to the disk while the next are read."""


class Hashing(Protocol):
    """Who takes the hash of a new entry, and when it will be known."""

    @property
    def is_known(self) -> bool:
        """Whether nobody need wait for it."""
        ...

    def settle(self) -> None:
        """Wait until the entry has its hash.

        Raises:
            OSError: what was written can't be read, or something could not be written.
        """
        ...


class Shrank(BackupError):  # noqa: N818 - named for what happened
    """A file became so much shorter while it was read that it has to be read anew."""


class Pack:
    """A tar that grows.

    Args:
        file: where to; a new file, open to be written and read, without a buffer of its own.
        background: has the threads.

    Every method raises ``OSError`` where the file can't be written.
    """

    def __init__(self, file: BinaryIO, background: Background) -> None:
        self._fd = file.fileno()
        self._background = background
        self._flushed = 0  # where in the file the buffer begins
        self._filled = 0
        self._batch = _Batch(memoryview(bytearray(_ROOM)), self._flush)
        self._handed_over: deque[_Batch] = deque()  # to threads, the oldest first
        self._unsynced = 0

    @property
    def position(self) -> int:
        """Where the next byte goes."""
        return self._flushed + self._filled

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        if len(data) > len(self._batch.buffer) - self._filled:
            self._flush()
            if len(data) > len(self._batch.buffer):
                self._put(memoryview(data))
                return
        end = self._filled + len(data)
        self._batch.buffer[self._filled : end] = data
        self._filled = end

    def add_small(self, entry: Entry, read: Read) -> Hashing | None:
        """A member with a file's content, below ``LARGE``; sets size and offset.

        Args:
            entry: whose size is the one expected; should it be less, it is set.
            read: reads the content.

        Returns:
            Who sets the hash, in time; None where it is set.
        """
        head = header(entry)
        room = len(head) + entry.size
        if room > len(self._batch.buffer) - self._filled:
            self._flush()
            if room > len(self._batch.buffer):  # a header may hold a lot of attributes
                self._batch.buffer = memoryview(bytearray(room))
        batch = self._batch
        start = self._filled + len(head)
        data = batch.buffer[start : self._filled + room]
        count = read(data)
        if count < entry.size:
            data = data[:count]
            entry.size = count
            head = header(entry)
        batch.buffer[self._filled : start] = head
        entry.offset = self._flushed + start
        is_left = count >= _WORTH_A_THREAD and entry.nlink == 1  # others may ask for it soon
        if is_left:
            batch.files.append((entry, start, start + count))
        else:
            entry.sha256 = sha256(data).hexdigest()
        self._filled = start + count
        self.write(padding(count))
        return batch if is_left else None

    def add_large(
        self, entry: Entry, copy: Copy, read: Read, tell: Callable[[int], object]
    ) -> Hashing:
        """A member with a file's content, from ``LARGE`` up; sets size and offset.

        Args:
            entry: whose size is the most that is taken; should it be less, it is set.
            copy: copies from it.
            read: reads it, where that can't be.
            tell: told after each piece how many bytes are copied.

        Returns:
            Who sets the hash, in time.

        Raises:
            Shrank: so that its header would have another length.
        """
        head = header(entry)
        begin = self.position
        self.write(head)
        self._flush()
        entry.offset = self._flushed
        follower = self._background.follow(self._fd)
        left = entry.size  # what a growing file gains meanwhile is left for the next backup
        try:
            while left and (count := self._copy(copy, read, min(left, _PIECE))):
                follower.wrote(self._flushed - count, self._flushed)
                left -= count
                tell(entry.size - left)
        except BaseException:
            follower.give_up()
            raise
        follower.end()
        if left:  # it shrank: its header has to say so
            entry.size -= left
            shorter = header(entry)
            if len(shorter) != len(head):
                raise Shrank(f"can't read {entry.path!r}: it shrinks while it is read")
            self._wait(most=0)  # the one that it takes the place of may still be to be written
            _write_all(self._fd, shorter, begin)
        self.write(padding(entry.size))
        return _Followed(entry, follower)

    def add_sparse(self, entry: Entry, fd: int, read: Read, tell: Callable[[int], object]) -> None:
        """A member with the segments of a sparse file; sets hash and offset.

        Args:
            entry: which says where the segments are.
            fd: the source.
            read: reads it.
            tell: told after each segment up to where the file is dealt with.
        """
        self.write(header(entry))
        entry.offset = self.position
        digest = sha256()
        buffer = memoryview(bytearray(LARGE))
        for start, length in entry.data or ():
            os.lseek(fd, start, os.SEEK_SET)
            left = length
            while left:
                block = buffer[:left]
                if count := read(block):
                    block = block[:count]
                else:  # it shrank, which its times tell
                    block[:] = bytes(len(block))
                digest.update(block)
                self.write(block)
                left -= len(block)
            tell(start + length)
        entry.sha256 = digest.hexdigest()
        self.write(padding(entry.stored))

    def rewind(self, position: int) -> None:
        """Drop all from a position on."""
        if position >= self._flushed:
            self._filled = position - self._flushed
            self._batch.drop(self._filled)
            return
        self._wait(most=0)
        os.ftruncate(self._fd, position)
        os.lseek(self._fd, position, os.SEEK_SET)
        self._batch.drop(0)
        self._flushed, self._filled = position, 0

    def end(self) -> None:
        """Write the end of a tar, and bring all of it to the disk."""
        self.write(END)
        self._flush()
        self._wait(most=0)
        self._background.end_sync()
        os.fsync(self._fd)

    def _copy(self, copy: Copy, read: Read, most: int) -> int:
        if count := copy(self._fd, most):
            self._wrote(count)
            return count
        data = self._batch.buffer[:most]
        data = data[: read(data)]
        self._put(data)
        return len(data)

    def _flush(self) -> None:
        """Write what is in the buffer; the first time at once: a small tree has no thread."""
        batch, size = self._batch, self._filled
        if not size:
            return
        position, self._filled = self._flushed, 0
        if position:
            batch.stored = self._background.run(batch.store, self._fd, position, size)
            self._handed_over.append(batch)
        else:
            batch.store(self._fd, position, size)
        os.lseek(self._fd, position + size, os.SEEK_SET)
        self._wrote(size)
        free = batch.buffer if batch.stored is None else self._wait(most=_BUFFERS - 1)
        self._batch = _Batch(memoryview(bytearray(_ROOM)) if free is None else free, self._flush)

    def _wait(self, *, most: int) -> memoryview | None:
        """Wait until so few batches are with threads; gives a buffer that is free then, if any."""
        free = None
        while len(self._handed_over) > most:
            batch = self._handed_over.popleft()
            batch.settle()
            free = batch.buffer
        return free

    def _put(self, data: memoryview) -> None:
        while data:
            count = os.write(self._fd, data)
            self._wrote(count)
            data = data[count:]

    def _wrote(self, count: int) -> None:
        self._flushed += count
        self._unsynced += count
        if self._unsynced >= _SYNC:
            self._background.sync(self._fd)
            self._unsynced = 0


@dataclass(slots=True, eq=False)
class _Batch:
    """A buffer with small files, hashed and written at once.

    Attributes:
        buffer: what is written.
        flush: has this batch, as long as it grows, handed over.
        files: whose hashes are to be taken, each with where it begins and ends in the buffer.
        stored: once a thread has it, when that is done.
        is_known: whether all hashes are set.
    """

    buffer: memoryview
    flush: Callable[[], None]
    files: list[tuple[Entry, int, int]] = field(default_factory=list)
    stored: Future[None] | None = None
    is_known: bool = False

    def drop(self, position: int) -> None:
        """Forget the files from a position of the buffer on."""
        while self.files and self.files[-1][1] >= position:
            self.files.pop()

    def store(self, fd: int, position: int, size: int) -> None:
        """Set the hashes, and write so much of the buffer to a position of a file."""
        for entry, start, end in self.files:
            entry.sha256 = sha256(self.buffer[start:end]).hexdigest()
        _write_all(fd, self.buffer[:size], position)
        self.is_known = True

    def settle(self) -> None:
        if self.stored is None and not self.is_known:
            self.flush()
        if self.stored is not None:
            self.stored.result()


@dataclass(slots=True, eq=False)
class _Followed:
    """A large file whose hash is taken from the tar."""

    entry: Entry
    follower: Follower

    @property
    def is_known(self) -> bool:
        return self.follower.is_known

    def settle(self) -> None:
        self.entry.sha256 = self.follower.digest()
        if not self.entry.sha256:
            raise OSError(errno.EIO, f"{self.entry.path!r} was cut off in it")


def _write_all(fd: int, data: bytes | memoryview, position: int) -> None:
    while data:
        count = os.pwrite(fd, data, position)
        data, position = data[count:], position + count
