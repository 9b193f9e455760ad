"""Faults on files."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections import Counter
from typing import TYPE_CHECKING, Self

from pytest_drdrill.faults.undo import FaultError
from pytest_drdrill.text import NAME_LIMIT, storable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

LOCKED = ".locked"
"""What ransomware appends to the names of files that it has encrypted."""
_BLOCK = 1 << 20
_NAME_MAX = 255
_PATH_MAX = 4096
_OWNERS = stat.S_IRUSR | stat.S_IWUSR
_EFFECTIVE = os.access in os.supports_effective_ids


def encrypt_tree(root: Path, tell: Callable[[str], None]) -> int:
    """Encrypt every regular file below a folder in place, and rename it; how many there were.

    The cipher is SHAKE-128 as a key stream (FIPS 202), its key forgotten on return.

    Args:
        root: a folder, or a single file.
        tell: is told how far it got, should it fail half way.
    """
    found, _ = _survey(root)
    plain = {path: status for path, status in found.items() if stat.S_ISREG(status.st_mode)}
    if not plain:
        raise FaultError(f"{root} holds no file, so there is nothing to encrypt")
    _refuse_names_elsewhere(plain, root)
    _refuse_owned_by_others(plain)
    _refuse_closed({path.parent for path in plain})
    renamed = _locked_names(plain)
    key = secrets.token_bytes(32)
    with _Steps("encrypted", root, len(plain), tell) as steps:
        # Backwards, so that "a.locked" has moved on before "a" takes its name.
        for number, (path, status) in enumerate(reversed(plain.items())):
            mode = stat.S_IMODE(status.st_mode)
            path.chmod(mode | _OWNERS)
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
    found, folders = _survey(target)
    if not found:
        raise FaultError(f"{target} holds no file, so there is nothing to delete")
    _refuse_closed({path.parent for path in [*found, *folders[1:]]})
    with _Steps("deleted", target, len(found), tell) as steps:
        for path in found:
            path.unlink()
            steps.done += 1
        for folder in reversed(folders[1:]):
            folder.rmdir()
    return len(found)


class _Steps:
    """Counts the files that a fault has struck, and says so if it fails half way."""

    def __init__(self, verb: str, root: Path, count: int, tell: Callable[[str], None]) -> None:
        self.done = 0
        self._of = f"{count} files in {root}"
        self._verb = verb
        self._tell = tell

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            message = f"{self._verb} {self.done} of {self._of}, then failed: {_reason(error)}"
            self._tell(message)
            raise FaultError(message) from error


def _survey(root: Path) -> tuple[dict[Path, os.stat_result], list[Path]]:
    """A file itself, or all that is no folder below one, links to folders included; the folders.

    In both, what holds something comes before it, and names are sorted.
    """
    found: dict[Path, os.stat_result] = {}
    try:
        status = root.lstat()
        if not stat.S_ISDIR(status.st_mode):
            return {root: status}, []
        device = status.st_dev
        folders = [root]
        for folder in folders:  # which grows: a tree may be deeper than Python's stack
            with os.scandir(folder) as listing:
                items = sorted(listing, key=lambda item: item.name)
            for item in items:
                status = item.stat(follow_symlinks=False)
                if not stat.S_ISDIR(status.st_mode):
                    found[folder / item.name] = status
                elif status.st_dev == device:
                    folders.append(folder / item.name)
                else:
                    raise FaultError(
                        f"{_shown(item.path)} is on another file system, which the fault would "
                        "reach; nothing was touched"
                    )
    except OSError as error:
        raise FaultError(f"can't look at {_reason(error)}; nothing was touched") from error
    return found, folders


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
                f"{_shown(new)} is in the way of {_shown(path.name)}, which would take its name; "
                "nothing was touched"
            )
    return renamed


def _refuse_names_elsewhere(plain: Mapping[Path, os.stat_result], root: Path) -> None:
    """A hard link shares its bytes: encrypting it in place would reach beyond the folder."""
    here = Counter((status.st_dev, status.st_ino) for status in plain.values())
    for path, status in plain.items():
        if status.st_nlink > here[status.st_dev, status.st_ino]:
            raise FaultError(
                f"{_shown(path)} is a hard link to a file with another name outside {root}, "
                "and the fault would reach it there"
            )


def _refuse_owned_by_others(plain: Mapping[Path, os.stat_result]) -> None:
    """To make a file accessible takes its owner, or root."""
    user = os.geteuid()
    for path, status in plain.items():
        if user not in {0, status.st_uid}:
            raise FaultError(f"{_shown(path)} belongs to another user; nothing was touched")


def _refuse_closed(folders: set[Path]) -> None:
    for folder in sorted(folders):
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=_EFFECTIVE):
            raise FaultError(f"{_shown(folder)} can't be written to; nothing was touched")


def _reason(error: OSError) -> str:
    return (
        f"{error.strerror}"
        if error.filename is None
        else f"{_shown(error.filename)}: {error.strerror}"
    )


def _shown(path: object) -> str:
    return storable(path, NAME_LIMIT)


def _encrypt(path: Path, key: bytes) -> None:
    with path.open("r+b") as file:
        block = 0
        while plain := file.read(_BLOCK):
            stream = hashlib.shake_128(key + block.to_bytes(8, "big")).digest(len(plain))
            mixed = int.from_bytes(plain, "big") ^ int.from_bytes(stream, "big")
            file.seek(-len(plain), os.SEEK_CUR)
            file.write(mixed.to_bytes(len(plain), "big"))
            block += 1
