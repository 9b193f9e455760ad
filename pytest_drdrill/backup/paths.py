"""Folders that a caller names: made absolute, kept apart, their names brought to the disk."""

from __future__ import annotations

import os
from pathlib import Path

from pytest_drdrill.backup.errors import BackupRefused


def absolute(path: str | os.PathLike[str], what: str) -> Path:
    """The path from the root, without ``..``; symlinks after the last one stay as they are written.

    Args:
        path: what the caller gave.
        what: what it is to them, for the message.

    Raises:
        TypeError: it is no text.
        BackupRefused: it is empty, or holds a NUL, which no path can.
    """
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"{what} is a text or a Path, not {text!r:.80}")
    if not text:
        raise BackupRefused(f"{what} is an empty path, which names no folder")
    if "\0" in text:
        raise BackupRefused(f"{what} {text!r:.80} holds a NUL, which no path can")
    full = Path.cwd() / text
    if ".." not in full.parts:
        return full
    # As the kernel does: above what a symlink points to, not above the symlink.
    last = len(full.parts) - full.parts[::-1].index("..")
    return Path(os.path.realpath(Path(*full.parts[:last])), *full.parts[last:])


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def refuse_overlap(folder: Path, destination: Path, what: str) -> None:
    """Refuse a folder that holds the destination, or lies in it, by whatever name.

    Raises:
        BackupRefused: they overlap.
    """
    inner, outer = Path(os.path.realpath(folder)), Path(os.path.realpath(destination))
    if inner == outer:
        raise BackupRefused(f"{what} and the destination are the same folder: {folder}")
    if outer in inner.parents:
        raise BackupRefused(f"{what} {folder} lies inside the destination {destination}")
    if inner in outer.parents:
        raise BackupRefused(f"the destination {destination} lies inside {what} {folder}")


def is_missing(path: Path) -> bool:
    """Whether nothing has that name, not even a dangling symlink; false if it can't be told."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False
