"""Mount points: where a folder tree ends and another file system, or a part of one, begins."""

from __future__ import annotations

import os
import re

_TABLE = "/proc/self/mountinfo"
_DISK, _POINT = 2, 4
"""The fields of a line of that table, counted from 0, with the device and the mount point."""
_ESCAPE = re.compile(rb"\\([0-7]{3})")


def mounts_within(folder: str | os.PathLike[str]) -> list[str]:
    """The mount points at a folder and below it, sorted; by their real paths.

    The kernel's own table knows bind mounts of the same device too, which no status tells. Where
    there is none, only the folder itself is looked at: whoever walks the tree compares devices.
    """
    root = os.path.realpath(folder)
    table = _table()
    if table is None:
        return [root] if os.path.ismount(root) else []
    return sorted({point for _, point in table if is_within(point, root)})


def mounts_of_disk(path: str | os.PathLike[str]) -> list[str]:
    """All mount points of the file system that a path lies on, sorted; none where nobody knows."""
    real = os.path.realpath(path)
    table = _table() or []
    above = [entry for entry in table if is_within(real, entry[1])]
    if not above:
        return []
    # The deepest mount point; of several at one place the last, which hides the others.
    disk, _ = max(reversed(above), key=lambda entry: len(entry[1]))
    return sorted({point for each, point in table if each == disk})


def _table() -> list[tuple[bytes, str]] | None:
    """Device and mount point of each mount; None where the system has no such table."""
    try:
        with open(_TABLE, "rb") as table:  # noqa: PTH123 - read at every removal, so kept plain
            fields = [line.split(b" ", _POINT + 1) for line in table]
    except FileNotFoundError:
        return None
    return [
        (each[_DISK], os.fsdecode(_ESCAPE.sub(lambda c: bytes([int(c[1], 8)]), each[_POINT])))
        for each in fields
    ]


def is_within(path: str, folder: str) -> bool:
    """Whether a path is a folder's own or lies below it; of real paths."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
