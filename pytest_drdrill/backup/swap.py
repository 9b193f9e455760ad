"""Swap: what was restored beside the target takes its place.

Nothing but renames happens here. What was replaced, or what a failure left, is settled afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.backup.errors import RestoreTargetError
from pytest_drdrill.backup.exchange import exchange
from pytest_drdrill.backup.settle import is_there, move_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_drdrill.backup.journal import Journal


def swap_tree(journal: Journal, stage: Path, target: Path) -> None:
    """Put a folder in the place of another one, which may be missing.

    In one step where the file system can have the two change places; else in two renames, between
    which the old is nowhere but aside, as the journal says before the first one.

    Raises:
        OSError: a rename was refused.
    """
    is_free = not target.exists() or not any(target.iterdir())
    if is_free and move_in(stage, target):
        return
    if is_there(target) and exchange(stage, target):
        return
    aside = journal.set_aside()
    target.rename(aside)
    stage.rename(target)


def swap_paths(journal: Journal, stage: Path, target: Path, paths: Sequence[str]) -> None:
    """Put single paths from one folder in their place in another, the rest of which stays.

    One path in one step, where the file system can; else one rename after the other. The journal
    says which before the first one.

    Raises:
        RestoreTargetError: something other than a folder is where a path's folder should be.
        OSError: a rename was refused.
    """
    # A folder that two of the paths share, and the target lacks, brings both.
    chosen = dict.fromkeys(_unit(target, path) for path in paths)
    units = [unit for unit in chosen if is_there(stage / unit)]  # a FIFO, say, is only recorded
    if len(units) == 1 and _swap_one(stage / units[0], target / units[0]):
        return
    aside = journal.set_aside(units)
    aside.mkdir(0o700)
    for number, unit in enumerate(units):
        place = target / unit
        if is_there(place):
            place.rename(aside / str(number))
        (stage / unit).rename(place)


def _swap_one(new: Path, place: Path) -> bool:
    if is_there(place):
        return exchange(new, place)
    new.rename(place)
    return True


def _unit(target: Path, path: str) -> str:
    """The path itself, or the topmost of its folders that the target does not have."""
    parts = path.split("/")
    for length in range(1, len(parts)):
        folder = "/".join(parts[:length])
        place = target / folder
        if not is_there(place):
            return folder
        if place.is_symlink() or not place.is_dir():
            raise RestoreTargetError(f"can't restore {path!r}: {str(place)!r} is no folder")
    return path
