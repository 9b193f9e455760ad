"""Writing past the page cache, where the file system lets one (``O_DIRECT``, see open(2)).

Nobody needs a copy of a whole backup in memory, and what others have there stays. Reading it back
then reads the disk.
"""

from __future__ import annotations

import errno
import mmap
import os
from fcntl import F_GETFL, F_SETFL, fcntl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_drdrill.backup.background import Background

PAGE = mmap.PAGESIZE
"""Bytes to whole multiples of which buffers are written: their places too have to be such."""
_SYNC = 128 << 20
"""Bytes in the page cache after which they are brought to the disk while the next are read."""
_FLUSH = 16 << 20
"""Likewise where they go past it, into the disk's own cache, and the disk has time for that."""
_DIRECT = getattr(os, "O_DIRECT", 0)


class UncachedFile:
    """An open file that buffers are written to, past the page cache as far as that goes.

    Args:
        fd: its descriptor, open to be written and read.
        background: has the thread that brings it to the disk.

    Attributes:
        fd: as given.

    Every method raises ``OSError`` where the file can't be written.
    """

    def __init__(self, fd: int, background: Background) -> None:
        self.fd = fd
        self._background = background
        self._is_direct = _set_direct(fd, on=True)
        self._unsynced = 0

    def write(self, data: memoryview, position: int, *, is_idle: bool = False) -> None:
        """Write whole pages to a position that is a multiple of one.

        Args:
            data: what.
            position: where to.
            is_idle: whether the disk waited for it. A disk that falls behind is not held up.
        """
        while data:
            try:
                count = os.pwrite(self.fd, data, position)
            except OSError as error:
                # It wants larger multiples, or took a part; through the cache all goes.
                if error.errno != errno.EINVAL or not self._is_direct:
                    raise
                self._is_direct = _set_direct(self.fd, on=False)
                continue
            data, position = data[count:], position + count
            self._unsynced += count
        is_due = (
            is_idle and self._unsynced >= _FLUSH if self._is_direct else self._unsynced >= _SYNC
        )
        if is_due:
            self._background.sync(self.fd)
            self._unsynced = 0

    def write_odd(self, data: memoryview, position: int) -> None:
        """Write any bytes anywhere, while nobody else writes."""
        was_direct = self._is_direct
        self._is_direct = was_direct and _set_direct(self.fd, on=False)
        self.write(data, position)
        if was_direct:
            self._is_direct = _set_direct(self.fd, on=True)

    def read_page(self, page: memoryview, position: int) -> None:
        """Read one that was written whole."""
        if os.preadv(self.fd, [page], position) != len(page):
            raise OSError(errno.EIO, "it was cut off while it was written")

    def sync(self) -> None:
        """Bring all of it to the disk."""
        self._background.end_sync()
        os.fsync(self.fd)


def _set_direct(fd: int, *, on: bool) -> bool:
    """Have an open file go past the page cache, or not; returns whether it does."""
    flags = fcntl(fd, F_GETFL)
    try:
        fcntl(fd, F_SETFL, flags | _DIRECT if on else flags & ~_DIRECT)
    except OSError:  # this file system can't
        return False
    return on and bool(_DIRECT)


def page_aligned(size: int) -> memoryview:
    """A buffer that begins with a page, as a direct write has to."""
    return memoryview(mmap.mmap(-1, size))
