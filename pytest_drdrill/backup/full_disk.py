"""A full disk says the same whether it lacks room or inodes; who reads it has to know which."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NO_INODE = "no inode is left"


@contextmanager
def inodes_told(folder: Path) -> Iterator[None]:
    """Note on an error of a full disk that its inodes are what it lacks, before any are freed.

    Args:
        folder: where is written to; it may be missing yet.
    """
    try:
        yield
    except OSError as error:
        noted = _NO_INODE in getattr(error, "__notes__", ())
        if error.errno == errno.ENOSPC and not noted and _lacks_inodes(folder):
            error.add_note(_NO_INODE)
        raise


def why(error: OSError) -> str:
    """What the system says of an error, and what was noted on it, in a clause."""
    return "; ".join([error.strerror or str(error), *getattr(error, "__notes__", ())])


def _lacks_inodes(folder: Path) -> bool:
    with suppress(OSError):
        room = os.statvfs(next(each for each in (folder, *folder.parents) if each.exists()))
        # A file system that makes inodes as it needs them says that it has none at all.
        return room.f_files > 0 and room.f_favail == 0
    return False
