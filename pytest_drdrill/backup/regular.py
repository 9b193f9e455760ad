"""The files of a backup, opened so that nothing in their place can stall or mislead a reader."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def size_of(path: Path) -> int:
    """The size of a regular file in bytes.

    Raises:
        OSError: as ``open_regular``.
    """
    fd = open_regular(path)
    try:
        return os.fstat(fd).st_size
    finally:
        os.close(fd)


def open_regular(path: Path) -> int:
    """A descriptor to read a regular file.

    Raises:
        OSError: it can't be opened, or is a symlink, a FIFO or anything else than a file.
    """
    # O_NONBLOCK: opening a FIFO would wait for a writer, for ever.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))  # noqa: TRY301 - closed below
    except BaseException:
        os.close(fd)
        raise
    return fd
