"""Faults on files."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from typing import TYPE_CHECKING

from pytest_drdrill.faults.survey import (
    OWNERS,
    Steps,
    refuse_closed,
    refuse_names_elsewhere,
    refuse_owned_by_others,
    shown_path,
    survey,
)
from pytest_drdrill.faults.undo import FaultError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

LOCKED = ".locked"
"""What ransomware appends to the names of files that it has encrypted."""
_BLOCK = 1 << 20
_NAME_MAX = 255
_PATH_MAX = 4096


def encrypt_tree(root: Path, tell: Callable[[str], None]) -> int:
    """Encrypt every regular file below a folder in place, and rename it; how many there were.

    The cipher is SHAKE-128 as a key stream (FIPS 202), its key forgotten on return.

    Args:
        root: a folder, or a single file.
        tell: is told how far it got, should it fail half way.
    """
    found, _ = survey(root)
    plain = {path: status for path, status in found.items() if stat.S_ISREG(status.st_mode)}
    if not plain:
        raise FaultError(f"{root} holds no file, so there is nothing to encrypt")
    refuse_names_elsewhere(plain, root)
    refuse_owned_by_others(plain)
    refuse_closed({path.parent for path in plain})
    renamed = _locked_names(plain)
    key = secrets.token_bytes(32)
    with Steps("encrypted", root, len(plain), tell) as steps:
        # Backwards, so that "a.locked" has moved on before "a" takes its name.
        for number, (path, status) in enumerate(reversed(plain.items())):
            mode = stat.S_IMODE(status.st_mode)
            path.chmod(mode | OWNERS)
            _encrypt(path, key + number.to_bytes(8, "big"))
            path.chmod(mode)
            if path in renamed:
                path.rename(renamed[path])
            steps.done += 1
    return len(plain)


def delete_tree(target: Path, tell: Callable[[str], None]) -> int:
    """Delete a file, or everything in a folder but the folder itself; how many files there were.

    Args:
        target: a folder, or a single file.
        tell: is told how far it got, should it fail half way.
    """
    found, folders = survey(target)
    if not found:
        raise FaultError(f"{target} holds no file, so there is nothing to delete")
    refuse_closed({path.parent for path in [*found, *folders[1:]]})
    with Steps("deleted", target, len(found), tell) as steps:
        for path in found:
            path.unlink()
            steps.done += 1
        for folder in reversed(folders[1:]):
            folder.rmdir()
    return len(found)


def _locked_names(plain: Mapping[Path, os.stat_result]) -> dict[Path, Path]:
    """The new name of each file that can take one; refused where it is not free."""
    renamed = {}
    for path in plain:
        new = path.with_name(path.name + LOCKED)
        if len(os.fsencode(new.name)) <= _NAME_MAX and len(os.fsencode(new)) < _PATH_MAX:
            renamed[path] = new
    for path, new in renamed.items():
        if new not in renamed and os.path.lexists(new):
            raise FaultError(
                f"{shown_path(new)} is in the way of {shown_path(path.name)}, "
                "which would take its name; nothing was touched"
            )
    return renamed


def _encrypt(path: Path, key: bytes) -> None:
    with path.open("r+b") as file:
        block = 0
        while plain := file.read(_BLOCK):
            stream = hashlib.shake_128(key + block.to_bytes(8, "big")).digest(len(plain))
            mixed = int.from_bytes(plain, "big") ^ int.from_bytes(stream, "big")
            file.seek(-len(plain), os.SEEK_CUR)
            file.write(mixed.to_bytes(len(plain), "big"))
            block += 1
