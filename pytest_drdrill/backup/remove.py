"""Removal of a folder with all that it holds, and of nothing that only seems to be in it."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from pytest_drdrill.mounts import mounts_within

if TYPE_CHECKING:
    from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def remove_tree(path: Path) -> None:
    """Remove a folder with all that it holds, folders without write permission included.

    What is mounted below it is another's: then nothing is removed.

    Raises:
        OSError: something can't be removed.
    """
    if mounts := mounts_within(path):
        raise OSError(errno.EBUSY, f"{mounts[0]} is a mount point", mounts[0])
    try:
        fd = os.open(path, _FOLDER)
    except PermissionError:
        path.chmod(0o700)
        fd = os.open(path, _FOLDER)
    try:
        device = os.fstat(fd).st_dev
        # Not recursive, and by single names: a tree may be deeper than Python's stack, and its
        # paths longer than the kernel takes. For each folder on the way: which it is, what is left.
        left = [(_identity(fd), _clear(fd, device))]
        names: list[str] = []
        while left[-1][1] or names:
            if folders := left[-1][1]:
                names.append(folders.pop())
                fd = _replace(fd, _open(names[-1], fd))
                left.append((_identity(fd), _clear(fd, device)))
                continue
            left.pop()
            fd = _replace(fd, os.open("..", _FOLDER, dir_fd=fd))
            if _identity(fd) != left[-1][0]:
                raise OSError(errno.EBUSY, "it was moved while it was removed", str(path))
            os.rmdir(names.pop(), dir_fd=fd)
    finally:
        os.close(fd)
    path.rmdir()


def _clear(fd: int, device: int) -> list[str]:
    """Remove the files in an open folder; the names of the folders in it."""
    status = os.fstat(fd)
    if status.st_dev != device:
        raise OSError(errno.EXDEV, "another file system is mounted in it")
    if status.st_mode & stat.S_IRWXU != stat.S_IRWXU:
        os.fchmod(fd, 0o700)
    folders = []
    with os.scandir(fd) as found:
        for item in found:
            if item.is_dir(follow_symlinks=False):
                folders.append(item.name)
            else:
                os.unlink(item.name, dir_fd=fd)
    return folders


def _open(name: str, folder: int) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=folder)
        return os.open(name, _FOLDER, dir_fd=folder)


def _replace(old: int, new: int) -> int:
    os.close(old)
    return new


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino
