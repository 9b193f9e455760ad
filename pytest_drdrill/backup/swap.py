"""Swap: what was restored beside the target takes its place; what was there goes, or comes back.

Nothing but renames happens until the new is in place; what was replaced is removed last.
"""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_drdrill.backup.errors import RestoreTargetError
from pytest_drdrill.backup.remove import remove_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

_FILLED = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}
_NAME = 100
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
_CANNOT_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}


def move_in(stage: Path, target: Path) -> bool:
    """Put a folder where nothing or an empty folder is, which gives way; whether that was so.

    The kernel decides, at the moment of the rename: what came there meanwhile stays.

    Raises:
        OSError: the rename was refused for another reason.
    """
    try:
        stage.rename(target)
    except OSError as error:
        if error.errno in _FILLED:
            return False
        raise
    return True


def swap_tree(stage: Path, target: Path, warnings: list[str]) -> None:
    """Put a folder in the place of another one, which may be missing.

    Raises:
        OSError: a rename was refused; the target is what it was. Should it not have been possible
            to put it back, a note on the error says where it is: it is never removed then.
    """
    is_free = not target.exists() or not any(target.iterdir())
    if is_free and move_in(stage, target):
        return
    if os.path.lexists(target) and exchange(stage, target):
        _drop(stage, warnings)
        return
    # Beside it, not below: to move a folder into another one takes the right to write to it.
    aside = beside(target, "replaced")
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
    aside = beside(target, "replaced")
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


def beside(target: Path, purpose: str) -> Path:
    """A new folder beside another one, hidden, named for it and for what it is there for."""
    # File systems count bytes, not characters.
    name = os.fsencode(target.name)[:_NAME].decode(errors="ignore")
    return Path(tempfile.mkdtemp(prefix=f".{name}.{purpose}-", dir=target.parent))


def exchange(one: Path, other: Path) -> bool:
    """Have two paths change places in one step, so that neither is ever missing; whether they did.

    Not every file system can.

    Raises:
        OSError: it was refused for another reason.
    """
    renameat2 = getattr(_libc(), "renameat2", None)
    if renameat2 is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    if renameat2(_HERE, names[0], _HERE, names[1], _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def sync_file_system(path: Path) -> None:
    """Bring all that was written to a folder's file system to the disk.

    Raises:
        OSError: it could not be written.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        libc = _libc()  # Python has no call for it; os.sync() would wait for every disk there is
        if not hasattr(libc, "syncfs"):
            os.sync()
        elif libc.syncfs(fd):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
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


def _drop(aside: Path, warnings: list[str]) -> None:
    try:
        remove_tree(aside)
    except FileNotFoundError:
        return  # it went back to its place
    except OSError as error:
        warnings.append(f"what was replaced could not be removed from {aside}: {error.strerror}")
