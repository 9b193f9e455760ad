"""Mount points: where a folder tree ends and another file system, or a part of one, begins."""

from __future__ import annotations

import os
import re

_TABLE = "/proc/self/mountinfo"
_POINT = 4
"""The field of a line of that table, counted from 0, that holds the mount point."""
_ESCAPE = re.compile(rb"\\([0-7]{3})")


def mounts_within(folder: str | os.PathLike[str]) -> list[str]:
    """The mount points at a folder and below it, sorted; by their real paths.

    The kernel's own table knows bind mounts of the same device too, which no status tells. Where
    there is none, only the folder itself is looked at: whoever walks the tree compares devices.
    """
    root = os.path.realpath(folder)
    try:
        with open(_TABLE, "rb") as table:  # noqa: PTH123 - read at every removal, so kept plain
            points = [line.split(b" ")[_POINT] for line in table]
    except FileNotFoundError:
        return [root] if os.path.ismount(root) else []
    found = (os.fsdecode(_ESCAPE.sub(lambda c: bytes([int(c[1], 8)]), point)) for point in points)
    return sorted({point for point in found if is_within(point, root)})


def is_within(path: str, folder: str) -> bool:
    """Whether a path is a folder's own or lies below it; of real paths."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
