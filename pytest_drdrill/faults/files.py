"""Faults on files."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_drdrill.faults.undo import FaultError
from pytest_drdrill.text import storable

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCKED = ".locked"
"""What ransomware appends to the names of files that it has encrypted."""
_BLOCK = 1 << 20
_NAME_MAX = 255
_OWNERS = stat.S_IRUSR | stat.S_IWUSR


def encrypt_tree(root: Path) -> int:
    """Encrypt every regular file below a folder in place, and rename it; how many there were.

    The cipher is SHAKE-128 as a key stream (FIPS 202), its key forgotten on return.
    """
    paths = [path for path in _files(root) if stat.S_ISREG(path.lstat().st_mode)]
    if not paths:
        raise FaultError(f"{root} holds no file, so there is nothing to encrypt")
    _refuse_names_elsewhere(paths, root)
    key = secrets.token_bytes(32)
    # Backwards, so that "a.locked" has moved on before "a" takes its name.
    for number, path in enumerate(reversed(paths)):
        mode = stat.S_IMODE(path.lstat().st_mode)
        path.chmod(mode | _OWNERS)
        _encrypt(path, key + number.to_bytes(8, "big"))
        path.chmod(mode)
        if len(os.fsencode(path.name)) + len(LOCKED) <= _NAME_MAX:
            path.rename(path.with_name(path.name + LOCKED))
    return len(paths)


def delete_tree(target: Path) -> int:
    """Delete a file, or everything in a folder but the folder itself; how many files there were."""
    paths = list(_files(target))
    if not paths:
        raise FaultError(f"{target} holds no file, so there is nothing to delete")
    for path in paths:
        path.unlink()
    for folder, _, _ in os.walk(target, topdown=False):
        if folder != os.fspath(target):
            Path(folder).rmdir()
    return len(paths)


def _files(root: Path) -> Iterator[Path]:
    """A file itself, or all that is no folder below one, links to folders included; sorted."""
    if not root.is_dir():
        yield root
        return
    for folder, folders, names in os.walk(root):
        folders.sort()
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for name in sorted([*names, *links]):
            yield Path(folder, name)


def _refuse_names_elsewhere(paths: list[Path], root: Path) -> None:
    """A hard link shares its bytes: encrypting it in place would reach beyond the folder."""
    found = [path.lstat() for path in paths]
    here = Counter((status.st_dev, status.st_ino) for status in found)
    for path, status in zip(paths, found, strict=True):
        if status.st_nlink > here[status.st_dev, status.st_ino]:
            raise FaultError(
                f"{storable(path)} is a hard link to a file with another name outside {root}, "
                "and the fault would reach it there"
            )


def _encrypt(path: Path, key: bytes) -> None:
    with path.open("r+b") as file:
        block = 0
        while plain := file.read(_BLOCK):
            stream = hashlib.shake_128(key + block.to_bytes(8, "big")).digest(len(plain))
            mixed = int.from_bytes(plain, "big") ^ int.from_bytes(stream, "big")
            file.seek(-len(plain), os.SEEK_CUR)
            file.write(mixed.to_bytes(len(plain), "big"))
            block += 1
