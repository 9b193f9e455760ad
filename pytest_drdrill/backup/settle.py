"""Settling: what a restore laid beside its target goes, or goes back.

The same for a run that ended well, one that failed, and one that was killed, which the next restore
to the target settles: it is told by what is where, never by how far the code had come. A restore
that was not all in place is undone, so that the target is what it was before. It is in place from
its last rename on: then what it replaced is removed.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_drdrill.backup.exchange import sync_file_system
from pytest_drdrill.backup.journal import Journal
from pytest_drdrill.backup.remove import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_FILLED = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}
_log = logging.getLogger("pytest_drdrill.backup")


@contextlib.contextmanager
def settled(target: Path, warnings: list[str]) -> Iterator[Journal]:
    """Be the one that restores to a target; what was laid beside it is settled before and after.

    Args:
        target: the folder that is restored to.
        warnings: gets what could not be removed.

    Raises:
        BackupLocked: another run is restoring to the target.
        RestoreTargetError: what has the name of the journal is something else.
        OSError: the journal can't be written, or what a run that died left can't be settled: it is
            all left to the next run then.
    """
    journal = Journal.claim(target)
    try:
        _settle_dead(journal, warnings)
        try:
            yield journal
        except BaseException as error:
            _settle_failed(journal, error)
            raise
        warnings.extend(settle(journal).left)
        _remove(journal)
    finally:
        journal.close()


@dataclass(slots=True)
class Settlement:
    """What came of it.

    Attributes:
        undone: whether something went back to its place.
        kept: whether what was taken away is left beside the target, where it can't go back.
        left: what is still there, and why; a sentence each.
    """

    undone: bool = False
    kept: bool = False
    left: list[str] = field(default_factory=list)


def settle(journal: Journal) -> Settlement:
    """Undo a restore that is not all in place, and remove what is of no more use beside it.

    Raises:
        OSError: it can't be undone; where nothing else was done since, it still can be later.
    """
    done = Settlement()
    if journal.stage is None:
        return done
    # What was put aside first: while it is there, the stage tells how far the swap had come.
    if journal.aside is not None and is_there(journal.aside):
        if journal.units is None:
            _settle_tree(journal.stage, journal.aside, journal.target, done)
        else:
            _settle_paths(journal.stage, journal.aside, journal.target, journal.units, done)
        if done.kept:  # before the stage goes, without which it would look like what was replaced
            journal.give_up_aside()
    _drop(journal.stage, done)
    return done


def move_in(tree: Path, target: Path) -> bool:
    """Put a folder where nothing or an empty folder is, which gives way; whether that was so.

    The kernel decides, at the moment of the rename: what came there meanwhile stays.

    Raises:
        OSError: the rename was refused for another reason.
    """
    try:
        tree.rename(target)
    except OSError as error:
        if error.errno in _FILLED:
            return False
        raise
    return True


def is_there(path: Path) -> bool:
    """Whether there is anything at a path, be it a symlink to nowhere.

    Raises:
        OSError: that can't be told.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _settle_dead(journal: Journal, warnings: list[str]) -> None:
    if journal.stage is None:
        return
    try:
        done = settle(journal)
    except OSError as error:
        error.add_note(
            f"an earlier restore died midway, and what {journal.path} says of it can't be undone"
        )
        raise
    if done.undone:
        done.left.insert(0, f"an earlier restore to {journal.target} died midway and was undone")
    for warning in done.left:
        _log.warning("%s", warning)
    warnings.extend(done.left)
    journal.clear()


def _settle_failed(journal: Journal, error: BaseException) -> None:
    try:
        for left in settle(journal).left:
            _log.warning("%s", left)
            error.add_note(left)
    except OSError as late:
        error.add_note(
            f"what was to be replaced could not be put back ({late}); it is in {journal.aside}, "
            f"and the next restore to {journal.target} puts it back"
        )
        return
    _remove(journal)


def _remove(journal: Journal) -> None:
    try:
        journal.remove()
    except OSError as error:  # it names nothing that is still there
        _log.warning("the journal %s can't be removed: %s", journal.path, error.strerror)


def _settle_tree(stage: Path, aside: Path, target: Path, done: Settlement) -> None:
    if is_there(stage):  # the new is not in place, so the old is nowhere but aside
        if move_in(aside, target):
            done.undone = True
        else:
            _keep(aside, target, done)
    elif is_there(target):
        _drop_old(aside, done)
    else:
        _keep(aside, target, done)


def _settle_paths(
    stage: Path, aside: Path, target: Path, units: Sequence[str], done: Settlement
) -> None:
    if not any(is_there(stage / unit) for unit in units):
        _drop_old(aside, done)
        return
    # No unit lies in another one. Killed here too, what is where still tells how far it came.
    for number, unit in enumerate(units):
        new, old, place = stage / unit, aside / str(number), target / unit
        if not _leads_to(target, unit):
            continue
        if not is_there(new) and is_there(place):
            place.rename(new)
            done.undone = True
        if is_there(old) and not is_there(place):
            old.rename(place)
            done.undone = True
    if any(is_there(aside / str(number)) for number in range(len(units))):
        _keep(aside, target, done)
    else:
        aside.rmdir()


def _leads_to(target: Path, unit: str) -> bool:
    """Whether a path still leads through nothing but folders."""
    try:
        for folder in (target / unit).parents:
            if not stat.S_ISDIR(folder.lstat().st_mode):
                return False
            if folder == target:
                break
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _keep(aside: Path, target: Path, done: Settlement) -> None:
    done.kept = True
    done.left.append(
        f"{aside} holds what was taken from {target}, where it can't go back: it is left there"
    )


def _drop_old(aside: Path, done: Settlement) -> None:
    """Remove what was replaced, once the renames that replaced it are on the disk."""
    try:
        sync_file_system(aside)
    except OSError as error:
        done.left.append(f"{aside} is kept, as what replaced it may not be on the disk: {error}")
    else:
        _drop(aside, done)


def _drop(tree: Path, done: Settlement) -> None:
    try:
        if is_there(tree):
            remove_tree(tree)
    except OSError as error:
        done.left.append(f"the leftover {tree} of a restore can't be removed: {error.strerror}")
