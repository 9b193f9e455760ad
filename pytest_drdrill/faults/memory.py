"""System V shared memory, which no kernel takes back when its last process is killed."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_IPC_RMID = 0
_KEY_LINE = 6
"""Of ``postmaster.pid``, counted from 0: the key and the id of the segment."""


def free_shared_memory(data: Path) -> None:
    """Give back the segment of a PostgreSQL server that was killed; again, nothing happens.

    Args:
        data: its data folder, whose ``postmaster.pid`` names the segment.

    Raises:
        OSError: the file can't be read, or the segment is somebody else's.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        lines = (data / "postmaster.pid").read_text("utf-8", "replace").splitlines()
        numbers = lines[_KEY_LINE].split() if len(lines) > _KEY_LINE else []
        if len(numbers) == 2 and all(each.lstrip("-").isdigit() for each in numbers):  # noqa: PLR2004
            _remove(*map(int, numbers))


def _remove(key: int, number: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    # Numbers are used again: only a segment that still has both is that server's.
    if libc.shmget(ctypes.c_int(key), ctypes.c_size_t(0), 0) != number:
        return
    if libc.shmctl(number, _IPC_RMID, None) == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
