"""Swap: what was restored beside the target takes its place; what was there goes, or comes back.

Nothing but renames happens until the new is in place; what was replaced is removed last.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_drdrill.backup.errors import RestoreTargetError

if TYPE_CHECKING:
    from collections.abc import Sequence


def swap_tree(stage: Path, target: Path, warnings: list[str]) -> None:
    """Put a folder in the place of another one, which may be missing.

    Raises:
        OSError: a rename was refused; the target is what it was. Should it not have been possible
            to put it back, a note on the error says where it is: it is never removed then.
    """
    if not target.exists() or not any(target.iterdir()):
        stage.rename(target)  # an empty folder gives way
        return
    # Beside it, not below: to move a folder into another one takes the right to write to it.
    aside = _aside(target)
    moved: list[tuple[Path, Path]] = []
    try:
        _move(target, aside, moved)
        _move(stage, target, moved)
    except BaseException as error:
        _put_back(moved, aside, error)
        raise
    _drop(aside, warnings)


def swap_paths(stage: Path, target: Path, paths: Sequence[str], warnings: list[str]) -> None:
    """Put single paths from one folder in their place in another, the rest of which stays.

    Raises:
        RestoreTargetError: something other than a folder is where a path's folder should be.
        OSError: a rename was refused. In both cases the target is what it was.
    """
    units = [_unit(target, path) for path in paths]
    aside = _aside(target)
    moved: list[tuple[Path, Path]] = []
    try:
        for number, unit in enumerate(units):
            new, place = stage / unit, target / unit
            if not os.path.lexists(new):
                continue  # came along with a folder that two of the paths share
            if os.path.lexists(place):
                _move(place, aside / str(number), moved)
            _move(new, place, moved)
    except BaseException as error:
        _put_back(moved, aside, error)
        raise
    _drop(aside, warnings)


def remove_tree(path: Path) -> None:
    """Remove a folder with all that it holds, folders without write permission included.

    Raises:
        OSError: something can't be removed.
    """
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        # Not recursive: a tree may be deeper than Python's stack.
        folders = ["."]
        for folder in folders:
            folders += _clear(root, folder)
        for folder in reversed(folders[1:]):
            os.rmdir(folder, dir_fd=root)
    finally:
        os.close(root)
    path.rmdir()


def _clear(root: int, folder: str) -> list[str]:
    """Remove the files in a folder; the paths of the folders in it."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        fd = os.open(folder, flags, dir_fd=root)
    except PermissionError:
        os.chmod(folder, 0o700, dir_fd=root)
        fd = os.open(folder, flags, dir_fd=root)
    try:
        if not os.fstat(fd).st_mode & stat.S_IWUSR:
            os.fchmod(fd, 0o700)
        inner = []
        with os.scandir(fd) as found:
            for item in found:
                if item.is_dir(follow_symlinks=False):
                    inner.append(f"{folder}/{item.name}")
                else:
                    os.unlink(item.name, dir_fd=fd)
        return inner
    finally:
        os.close(fd)


def _unit(target: Path, path: str) -> str:
    """The path itself, or the topmost of its folders that the target does not have."""
    parts = path.split("/")
    for length in range(1, len(parts)):
        folder = "/".join(parts[:length])
        place = target / folder
        if not os.path.lexists(place):
            return folder
        if place.is_symlink() or not place.is_dir():
            raise RestoreTargetError(f"can't restore {path!r}: {str(place)!r} is no folder")
    return path


def _move(old: Path, new: Path, moved: list[tuple[Path, Path]]) -> None:
    old.rename(new)
    moved.append((old, new))


def _put_back(moved: Sequence[tuple[Path, Path]], aside: Path, error: BaseException) -> None:
    """Undo moves, the last first. What can't be put back stays where it is, and is named."""
    try:
        for old, new in reversed(moved):
            new.rename(old)
        if aside.exists():
            aside.rmdir()
    except OSError as late:
        error.add_note(f"what was to be replaced could not be put back ({late}); it is in {aside}")


def _aside(target: Path) -> Path:
    name = f".{target.name[:100]}.replaced-"
    return Path(tempfile.mkdtemp(prefix=name, dir=target.parent))


def _drop(aside: Path, warnings: list[str]) -> None:
    try:
        remove_tree(aside)
    except FileNotFoundError:
        return  # it went back to its place
    except OSError as error:
        warnings.append(f"what was replaced could not be removed from {aside}: {error.strerror}")
