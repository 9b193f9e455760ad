"""The tar that a backup writes: members one after another, through a few buffers.

A file is read straight into a buffer behind its header. A full buffer is hashed and written by
threads while the next one fills; what is hashed are the very bytes that are written, so what a
manifest says is what a restore will find, whatever happens to the source meanwhile.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from pytest_drdrill.backup.direct import PAGE, UncachedFile, page_aligned
from pytest_drdrill.backup.errors import BackupError
from pytest_drdrill.backup.tar import END, header, padding

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from hashlib import _Hash
    from typing import BinaryIO

    from pytest_drdrill.backup.background import Background
    from pytest_drdrill.backup.entry import Entry

    Read = Callable[[memoryview], int]
    """Fills a buffer from a source file; the number of bytes, fewer only at its end."""

LARGE = 1 << 20
"""Bytes from which on a file may be spread over buffers."""
_ROOM = 2 << 20
"""Bytes of a buffer."""
_BUFFERS = 4
"""With so many the next files are read while a disk takes its time to empty its cache."""
_WORTH_A_THREAD = 1 << 16
"""Bytes from which on another thread takes a file's hash."""


class Hashing(Protocol):
    """Who takes the hash of a new entry, and when it will be known."""

    @property
    def is_known(self) -> bool:
        """Whether nobody need wait for it."""
        ...

    def settle(self) -> None:
        """Wait until the entry has its hash.

        Raises:
            OSError: something could not be written.
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
        self._file = UncachedFile(file.fileno(), background)
        self._hashes = background.lane()
        self._writes = background.lane()
        self._flushed = 0  # where in the file the buffer begins
        self._filled = 0
        self._batch = _Batch(page_aligned(_ROOM), self._take_hashes)
        self._handed_over: deque[_Batch] = deque()  # to threads, the oldest first

    @property
    def position(self) -> int:
        """Where the next byte goes."""
        return self._flushed + self._filled

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        while len(data) > (room := _ROOM - self._filled):
            self._append(data[:room])
            self._flush()
            data = data[room:]
        self._append(data)

    def _append(self, data: bytes | memoryview) -> None:
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
        if room > _ROOM - self._filled:
            if room > _ROOM - PAGE:  # a header may hold a lot of attributes
                return self.add_large(entry, read, lambda _: None)
            self._flush()
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
        self._filled = start + count
        content = None
        if count >= _WORTH_A_THREAD and entry.nlink == 1:  # others may ask for it soon
            content = _Content(entry, batch)
            batch.pieces.append(_Piece(content, start, start + count, is_last=True))
        else:
            entry.sha256 = sha256(data).hexdigest()
        self.write(padding(count))
        return content

    def add_large(self, entry: Entry, read: Read, tell: Callable[[int], object]) -> Hashing:
        """A member with a file's content of any size; sets size and offset.

        Args:
            entry: whose size is the most that is taken; should it be less, it is set.
            read: reads the content.
            tell: told after each piece how many bytes are read.

        Returns:
            Who sets the hash, in time.

        Raises:
            Shrank: so that its header would have another length.
        """
        head = header(entry)
        begin = self.position
        self.write(head)
        entry.offset = self.position
        content = _Content(entry, self._batch)
        left = entry.size  # what a growing file gains meanwhile is left for the next backup
        while left:
            if self._filled == _ROOM:
                self._flush()
            batch, start = self._batch, self._filled
            count = read(batch.buffer[start : min(start + left, _ROOM)])
            if not count:
                break
            self._filled += count
            left -= count
            batch.pieces.append(_Piece(content, start, self._filled))
            tell(entry.size - left)
        # So that the last piece is known to be it, wherever the file ended.
        content.batch = self._batch
        self._batch.pieces.append(_Piece(content, self._filled, self._filled, is_last=True))
        if left:  # it shrank: its header has to say so
            entry.size -= left
            shorter = header(entry)
            if len(shorter) != len(head):
                raise Shrank(f"can't read {entry.path!r}: it shrinks while it is read")
            self._overwrite(begin, shorter)
        self.write(padding(entry.size))
        return content

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
        if position < self._flushed:
            self._wait(most=0)
            begin = position - position % PAGE
            self._file.read_page(self._batch.buffer[:PAGE], begin)
            os.ftruncate(self._file.fd, begin)
            self._flushed = begin
        # The pieces of what is dropped stay, and give hashes that nobody asks for.
        self._filled = position - self._flushed

    def end(self) -> None:
        """Write the end of a tar, and bring all of it to the disk."""
        self.write(END)
        if self._flushed:  # a small tree is written at once, and needs no thread
            self._flush()
        self._wait(most=0)
        self._batch.take_hashes()
        self._file.write_odd(self._batch.buffer[: self._filled], self._flushed)
        self._file.sync()

    def _flush(self) -> None:
        """Hand the buffer over to threads, all but what is left over beyond whole pages."""
        batch = self._batch
        size = self._filled - self._filled % PAGE
        if batch.pieces:
            batch.hashed = self._hashes.run(batch.take_hashes)
        is_idle = all(each.is_written for each in self._handed_over)
        batch.written = self._writes.run(
            partial(self._file.write, is_idle=is_idle), batch.buffer[:size], self._flushed
        )
        self._handed_over.append(batch)
        free = self._wait(most=_BUFFERS - 1)
        self._batch = _Batch(page_aligned(_ROOM) if free is None else free, self._take_hashes)
        self._flushed += size
        rest = batch.buffer[size : self._filled]
        self._filled = 0
        self._append(rest)

    def _wait(self, *, most: int) -> memoryview | None:
        """Wait until so few batches are with threads; gives a buffer that is free then, if any."""
        free = None
        while len(self._handed_over) > most:
            batch = self._handed_over.popleft()
            batch.end()
            free = batch.buffer
        return free

    def _take_hashes(self) -> None:
        """Hash what the buffer holds by now, as somebody waits for that."""
        for batch in self._handed_over:
            if batch.hashed is not None:
                batch.hashed.result()
        self._batch.take_hashes()

    def _overwrite(self, position: int, data: bytes) -> None:
        """Other bytes in the place of as many that are there."""
        flushed = min(len(data), max(0, self._flushed - position))
        if flushed:
            self._wait(most=0)  # they may still be to be written
            self._file.write_odd(memoryview(data)[:flushed], position)
        begin = max(0, position - self._flushed)
        self._batch.buffer[begin : begin + len(data) - flushed] = data[flushed:]


@dataclass(slots=True, eq=False)
class _Batch:
    """A buffer that is hashed and written at once.

    Attributes:
        buffer: what is written.
        finish: has what is in it hashed, as long as no thread has it.
        pieces: what of files is still to be hashed.
        hashed: once a thread has them, when that is done.
        written: likewise for the buffer.
    """

    buffer: memoryview
    finish: Callable[[], None]
    pieces: list[_Piece] = field(default_factory=list)
    hashed: Future[None] | None = None
    written: Future[None] | None = None

    @property
    def is_written(self) -> bool:
        """Whether a thread has written it."""
        return self.written is not None and self.written.done()

    def take_hashes(self) -> None:
        """Hash the pieces; after those of all earlier batches."""
        for piece in self.pieces:
            piece.content.update(self.buffer[piece.start : piece.end])
            if piece.is_last:
                piece.content.end()
        self.pieces.clear()

    def end(self) -> None:
        """Wait until nobody needs the buffer."""
        for job in (self.hashed, self.written):
            if job is not None:
                job.result()


@dataclass(slots=True, eq=False)
class _Piece:
    """Where in a buffer a part of a file is."""

    content: _Content
    start: int
    end: int
    is_last: bool = False


@dataclass(slots=True, eq=False)
class _Content:
    """A file whose hash is taken as its pieces come; a ``Hashing``.

    Attributes:
        entry: gets the hash.
        batch: has its last piece.
    """

    entry: Entry
    batch: _Batch
    _digest: _Hash | None = None

    def update(self, data: memoryview) -> None:
        if self._digest is None:
            self._digest = sha256(data)
        else:
            self._digest.update(data)

    def end(self) -> None:
        assert self._digest is not None
        self.entry.sha256 = self._digest.hexdigest()

    @property
    def is_known(self) -> bool:
        return self.entry.sha256 is not None

    def settle(self) -> None:
        if self.batch.hashed is not None:
            self.batch.hashed.result()
        elif not self.is_known:
            self.batch.finish()
