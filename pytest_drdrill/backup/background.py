"""Work beside that of the main thread: hashes of large files, many small ones, syncing.

It is such that mostly does not hold Python's lock. Threads are started when there is something for
them; a small tree never has one.
"""

from __future__ import annotations

import errno
import os
import threading
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future
    from queue import SimpleQueue

T = TypeVar("T")

_BLOCK = 1 << 20
_WORKERS = 2
_BEHIND = 512 << 20
"""Bytes by which hashes may lag behind: what was just written is in memory, later it may not be."""


class Background:
    """Threads for one run; at its end, whichever, none of them is left.

    Only the thread that made it may call its methods.
    """

    def __init__(self) -> None:
        self._workers: Executor | None = None
        self._syncer: Executor | None = None
        self._syncing: Future[None] | None = None
        self._lanes: list[Lane] = []
        self._open: list[Follower] = []
        self._behind = _Behind()

    def close(self) -> None:
        """Wait until no thread is left, whatever they were at."""
        for follower in self._open:
            follower.give_up()
        for lane in self._lanes:
            lane.close()
        if self._workers is not None:
            self._workers.shutdown(cancel_futures=True)
        for follower in self._open:
            follower.let_go()  # of one that no thread could be started for
        if self._syncer is not None:
            self._syncer.shutdown()  # what is under way has a descriptor to close

    def _executor(self) -> Executor:
        if self._workers is None:
            self._workers = _threads(_WORKERS)
        return self._workers

    def follow(self, fd: int, *, close: bool = False) -> Follower:
        """A hash of what is in an open file, as far as one says that it is written.

        Args:
            fd: open for reading until the hash is known.
            close: whether it is closed then.
        """
        self._open = [other for other in self._open if not other.is_known]
        follower = Follower(fd, self._behind, close=close)
        self._open.append(follower)  # before it starts: whatever happens then, it is ended
        follower.start(self._executor())
        return follower

    def run(self, function: Callable[..., T], *args: object) -> Future[T]:
        """Call a function in a thread.

        Raises:
            OSError: the machine has no more threads.
        """
        return _submit(self._executor(), function, *args)

    def lane(self) -> Lane:
        """A thread of its own, for what has to be done in order."""
        lane = Lane()
        self._lanes.append(lane)
        return lane

    def sync(self, fd: int) -> None:
        """Begin to bring what was written to a file to the disk, unless that is under way.

        Args:
            fd: may be closed at once.

        Raises:
            OSError: the last time, it could not be written.
        """
        if self._syncing is not None:
            if not self._syncing.done():
                return
            self._syncing.result()
        if self._syncer is None:
            self._syncer = _threads(1)
        copy = os.dup(fd)
        try:
            self._syncing = _submit(self._syncer, _sync, copy)
        except BaseException:
            os.close(copy)
            raise

    def end_sync(self) -> None:
        """Wait for what ``sync`` began.

        Raises:
            OSError: it could not be written. The kernel tells that once: nobody else will hear it.
        """
        if self._syncing is not None:
            self._syncing.result()
            self._syncing = None


class Lane:
    """One thread that does one thing after another; it starts with the first."""

    def __init__(self) -> None:
        self._executor: Executor | None = None

    def run(self, function: Callable[..., T], *args: object) -> Future[T]:
        """Call a function after all that came before it.

        Raises:
            OSError: the machine has no more threads.
        """
        if self._executor is None:
            self._executor = _threads(1)
        return _submit(self._executor, function, *args)

    def close(self) -> None:
        """Wait for what is under way, and forget what is not begun."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)


class Follower:
    """The hash of a file's bytes, taken by another thread as they are written."""

    def __init__(self, fd: int, behind: _Behind, *, close: bool) -> None:
        from queue import SimpleQueue

        self._fd = fd
        self._close = close
        self._behind = behind
        self._given_up = False
        self._left = 0  # bytes of the present range that are not hashed yet
        self._ranges: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
        self._digest: Future[str] | None = None

    def start(self, executor: Executor) -> None:
        """Begin, in one of these threads."""
        self._digest = _submit(executor, self._run)

    def wrote(self, start: int, end: int) -> None:
        """These bytes are in the file, the next to be hashed."""
        self._behind.add(end - start)
        self._ranges.put((start, end))

    def end(self) -> None:
        """No more will be written."""
        self._ranges.put(None)

    def give_up(self) -> None:
        """Nobody asks for the hash any more; waits until the file is no longer read."""
        self._given_up = True
        self.end()
        if self._digest is not None:
            self._digest.exception()

    @property
    def is_known(self) -> bool:
        """Whether the hash can be asked for without waiting."""
        return self._digest is not None and self._digest.done()

    def digest(self) -> str:
        """The hash as hexadecimal digits, waited for; empty if the file ended too early.

        Raises:
            OSError: the file can't be read.
        """
        assert self._digest is not None
        return self._digest.result()

    def _run(self) -> str:
        try:
            return self._hash()
        except BaseException:
            self._behind.add(-self._left)
            while (piece := self._ranges.get()) is not None:  # nobody is to wait for them
                self._behind.add(piece[0] - piece[1])
            raise
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Close the file, once, where it was said to be closed; no thread may read it."""
        if self._close:
            self._close = False
            os.close(self._fd)

    def _hash(self) -> str:
        digest = sha256()
        buffer = memoryview(bytearray(_BLOCK))
        is_whole = True
        while (piece := self._ranges.get()) is not None:
            start, end = piece
            self._left = end - start
            while self._left and is_whole and not self._given_up:
                count = os.preadv(self._fd, [buffer[: self._left]], end - self._left)
                digest.update(buffer[:count])
                is_whole = count > 0
                self._left -= count
                self._behind.add(-count)
            self._behind.add(-self._left)
            self._left = 0
        return digest.hexdigest() if is_whole else ""


class _Behind:
    """How many bytes wait for their hash; who adds to them waits where there are too many."""

    def __init__(self) -> None:
        self._bytes = 0
        self._less = threading.Condition()

    def add(self, count: int) -> None:
        with self._less:
            if count > 0:
                self._less.wait_for(lambda: self._bytes <= _BEHIND)
            self._bytes += count
            if self._bytes <= _BEHIND:
                self._less.notify()


def _sync(fd: int) -> None:
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)


def _submit(executor: Executor, function: Callable[..., T], *args: object) -> Future[T]:
    try:
        return executor.submit(function, *args)
    except RuntimeError as error:  # Python's own, which does not say which resource it was
        raise OSError(errno.EAGAIN, str(error)) from error


def _threads(count: int) -> Executor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(count, "drdrill-backup")
