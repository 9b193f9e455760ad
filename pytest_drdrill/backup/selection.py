"""Which entries of a backup a restore is about: all, or single paths."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pytest_drdrill.backup.entry import ROOT
from pytest_drdrill.backup.errors import BackupRefused

if TYPE_CHECKING:
    from pytest_drdrill.backup.entry import Entry
    from pytest_drdrill.backup.job import BackupJob


class Selection:
    """All of a backup, or single paths, each with what lies below and the folders above it.

    Args:
        paths: relative to the backed-up folder; None for all.

    Raises:
        TypeError: something that is no path.
        BackupRefused: no path at all, or one that is empty, absolute or holds ``..``.
    """

    def __init__(self, paths: Iterable[str | os.PathLike[str]] | None) -> None:
        if isinstance(paths, str | bytes | os.PathLike):
            raise BackupRefused(f"paths is a list of paths, not the single path {paths!r}")
        if paths is not None and not isinstance(paths, Iterable):
            raise TypeError(f"paths is a list of paths, not {paths!r:.80}")
        chosen = {ROOT} if paths is None else {_normal(path) for path in paths}
        if not chosen:
            raise BackupRefused("paths names nothing to restore")
        # A path below another chosen one is there anyway.
        self.paths = sorted(path for path in chosen if chosen.isdisjoint(_above(path)))
        self.is_all = ROOT in chosen
        self._chosen = chosen
        self._on_the_way = {folder for path in chosen for folder in _above(path)}
        self._found: set[str] = set()

    def wants(self, entry: Entry) -> bool:
        """Whether an entry is to be restored."""
        if entry.path in self._chosen:
            self._found.add(entry.path)
            return True
        if self.is_all:
            return True
        if entry.path in self._on_the_way:
            return entry.type == "folder"
        return not self._chosen.isdisjoint(_above(entry.path))

    def check_found(self, job: BackupJob) -> None:
        """Refuse paths that the backup, now read to its end, does not hold.

        Raises:
            BackupRefused: names them.
        """
        if missing := sorted(self._chosen - self._found):
            names = ", ".join(repr(path) for path in missing)
            raise BackupRefused(f"backup {job.id} holds no {names}", job=job)


def _normal(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise TypeError(f"paths holds texts and Paths, not {path!r:.80}")
    if not text:
        raise BackupRefused("paths holds an empty path, which names nothing")
    pure = PurePosixPath(text)
    if pure.is_absolute() or ".." in pure.parts:
        raise BackupRefused(f"paths are relative to the backed-up folder; {str(pure)!r} is not")
    return str(pure)


def _above(path: str) -> list[str]:
    if path == ROOT:
        return []
    found = [ROOT]
    at = path.find("/")
    while at >= 0:
        found.append(path[:at])
        at = path.find("/", at + 1)
    return found
