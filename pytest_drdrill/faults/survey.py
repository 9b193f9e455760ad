"""What a fault on files would reach: looked at as a whole before anything is touched."""

from __future__ import annotations

import os
import stat
from collections import Counter
from typing import TYPE_CHECKING, Self

from pytest_drdrill.faults.undo import FaultError
from pytest_drdrill.text import NAME_LIMIT, storable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

OWNERS = stat.S_IRUSR | stat.S_IWUSR
"""The mode bits that a file needs, for its owner to read and to change it."""
_EFFECTIVE = os.access in os.supports_effective_ids


class Steps:
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
            message = f"{self._verb} {self.done} of {self._of}, then failed: {reason(error)}"
            self._tell(message)
            raise FaultError(message) from error


def survey(root: Path) -> tuple[dict[Path, os.stat_result], list[Path]]:
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
                        f"{shown_path(item.path)} is on another file system, which the fault would "
                        "reach; nothing was touched"
                    )
    except OSError as error:
        raise FaultError(f"can't look at {reason(error)}; nothing was touched") from error
    return found, folders


def refuse_names_elsewhere(plain: Mapping[Path, os.stat_result], root: Path) -> None:
    """A hard link shares its bytes: encrypting it in place would reach beyond the folder."""
    here = Counter((status.st_dev, status.st_ino) for status in plain.values())
    for path, status in plain.items():
        if status.st_nlink > here[status.st_dev, status.st_ino]:
            raise FaultError(
                f"{shown_path(path)} is a hard link to a file with another name outside {root}, "
                "and the fault would reach it there"
            )


def refuse_owned_by_others(plain: Mapping[Path, os.stat_result]) -> None:
    """To make a file accessible takes its owner, or root."""
    user = os.geteuid()
    for path, status in plain.items():
        if user not in {0, status.st_uid}:
            raise FaultError(f"{shown_path(path)} belongs to another user; nothing was touched")


def refuse_closed(folders: set[Path]) -> None:
    """Names are made and removed by who may write to the folder."""
    for folder in sorted(folders):
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=_EFFECTIVE):
            raise FaultError(f"{shown_path(folder)} can't be written to; nothing was touched")


def reason(error: OSError) -> str:
    """Why something failed, and with which file, without Python's number of it."""
    return (
        f"{error.strerror}"
        if error.filename is None
        else f"{shown_path(error.filename)}: {error.strerror}"
    )


def shown_path(path: object) -> str:
    """A path, or a name, of a bounded length and without what no file of evidence can hold."""
    return storable(path, NAME_LIMIT)
