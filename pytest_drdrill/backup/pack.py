"""The tar that a backup writes: members one after another, small ones through a buffer.

A small file is read straight into the buffer behind its header and hashed there. A large one is
copied by the kernel from file to file, and its hash is that of what then is in the tar: so what a
manifest says is what a restore will find, whatever happens to the source meanwhile.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING

from pytest_drdrill.backup.errors import BackupError
from pytest_drdrill.backup.tar import END, header, padding

if TYPE_CHECKING:
    from collections.abc import Callable
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
_SYNC = 128 << 20
"""Bytes after which they are brought to the disk while the next are read."""


class Pack:
    """A tar that grows.

    Args:
        file: where to; a new file, open to be written and read, without a buffer of its own.
        background: takes the hashes of large files.

    Every method raises ``OSError`` where the file can't be written.
    """

    def __init__(self, file: BinaryIO, background: Background) -> None:
        self._fd = file.fileno()
        self._background = background
        self._buffer = memoryview(bytearray(2 * LARGE))
        self._filled = 0
        self._flushed = 0  # where in the file the buffer begins
        self._unsynced = 0

    @property
    def position(self) -> int:
        """Where the next byte goes."""
        return self._flushed + self._filled

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        if len(data) > len(self._buffer) - self._filled:
            self._flush()
            if len(data) > len(self._buffer):
                self._put(memoryview(data))
                return
        end = self._filled + len(data)
        self._buffer[self._filled : end] = data
        self._filled = end

    def add_small(self, entry: Entry, read: Read) -> None:
        """A member with a file's content, below ``LARGE``; sets size, hash and offset.

        Args:
            entry: whose size is the one expected; should it be less, it is set.
            read: reads the content.
        """
        head = header(entry)
        room = len(head) + entry.size
        if room > len(self._buffer) - self._filled:
            self._flush()
            if room > len(self._buffer):  # a header may hold a lot of attributes
                self._buffer = memoryview(bytearray(room))
        start = self._filled + len(head)
        data = self._buffer[start : self._filled + room]
        count = read(data)
        if count < entry.size:
            data = data[:count]
            entry.size = count
            head = header(entry)
        self._buffer[self._filled : start] = head
        entry.sha256 = sha256(data).hexdigest()
        entry.offset = self._flushed + start
        self._filled = start + count
        self.write(padding(count))

    def add_large(
        self, entry: Entry, copy: Copy, read: Read, tell: Callable[[int], object]
    ) -> Follower:
        """A member with a file's content, from ``LARGE`` up; sets size and offset.

        Args:
            entry: whose size is the most that is taken; should it be less, it is set.
            copy: copies from it.
            read: reads it, where that can't be.
            tell: told after each piece how many bytes are copied.

        Returns:
            What gives the hash, in time.

        Raises:
            BackupError: it shrank so that its header would have another length.
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
                raise BackupError(f"can't read {entry.path!r}: it shrinks while it is read")
            _write_all(self._fd, shorter, begin)
        self.write(padding(entry.size))
        return follower

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
            return
        os.ftruncate(self._fd, position)
        os.lseek(self._fd, position, os.SEEK_SET)
        self._flushed, self._filled = position, 0

    def end(self) -> None:
        """Write the end of a tar, and bring all of it to the disk."""
        self.write(END)
        self._flush()
        self._background.end_sync()
        os.fsync(self._fd)

    def _copy(self, copy: Copy, read: Read, most: int) -> int:
        if count := copy(self._fd, most):
            self._wrote(count)
            return count
        data = self._buffer[:most]
        data = data[: read(data)]
        self._put(data)
        return len(data)

    def _flush(self) -> None:
        data = self._buffer[: self._filled]
        self._filled = 0
        self._put(data)

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


def _write_all(fd: int, data: bytes, position: int) -> None:
    while data:
        count = os.pwrite(fd, data, position)
        data, position = data[count:], position + count
