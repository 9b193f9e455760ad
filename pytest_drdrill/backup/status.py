"""What the status of a file says: its entry, whether that is another one's, how far to trust it."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from pytest_drdrill.backup.entry import Entry
from pytest_drdrill.backup.source import TYPES

if TYPE_CHECKING:
    import os

_COARSE_NS = 20_000_000
"""Nanoseconds by which a file's times may lag: a tick of the kernel is up to ten milliseconds."""


def entry_of(
    path: str, status: os.stat_result, backup: str, *, size: int = 0, target: str | None = None
) -> Entry:
    """The entry of what has this status, held by a backup; its content is still to come."""
    mode = status.st_mode
    return Entry(
        path=path,
        type=TYPES[stat.S_IFMT(mode)],
        size=size,
        mode=stat.S_IMODE(mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        ino=status.st_ino,
        nlink=status.st_nlink,
        target=target,
        backup=backup,
    )


def is_same(entry: Entry, status: os.stat_result) -> bool:
    """Whether a status is that of an entry, as far as one can tell by it."""
    return (
        TYPES[stat.S_IFMT(status.st_mode)] == entry.type
        and stat.S_IMODE(status.st_mode) == entry.mode
        and (entry.type != "file" or status.st_size == entry.size)
        and status.st_mtime_ns == entry.mtime_ns
        and status.st_ctime_ns == (entry.ctime_ns or status.st_ctime_ns)
        and status.st_ino == entry.ino
        and status.st_nlink == entry.nlink
        and status.st_uid == entry.uid
        and status.st_gid == entry.gid
    )


def moments(status: os.stat_result) -> tuple[int, int, int]:
    """What changes with a file's content: its size and its times."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def doubt_times(entry: Entry, began: int) -> None:
    """The kernel's own times are coarse: what is changed from now on may bear the one seen."""
    if entry.ctime_ns > began - _COARSE_NS:
        entry.ctime_ns = 0
