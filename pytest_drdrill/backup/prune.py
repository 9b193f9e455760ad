"""Pruning: the backups that nothing keeps are removed, without harm to those that stay."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_drdrill.backup.errors import BackupError, BackupRefused
from pytest_drdrill.backup.job import BackupType, number_of
from pytest_drdrill.backup.paths import sync_folder
from pytest_drdrill.backup.retention import RetentionPolicy, chosen
from pytest_drdrill.backup.store import METADATA, TAR, Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from pytest_drdrill.backup.job import BackupJob
    from pytest_drdrill.clock import Clock

_log = logging.getLogger("pytest_drdrill.backup")


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What became of the backups of a destination, or would become in a dry run.

    Attributes:
        kept: the backups that stay, newest first: for each id why, as in ``("last 3", "daily
            2026-01-31", "needed by 000007-incremental-20260201T020000Z")``. Those with unreadable
            metadata stay too, and are named in the warnings.
        pruned: ids of the backups that are gone, newest first.
        freed_bytes: the ``stored_bytes`` of those, as far as their bytes are gone.
        dry_run: whether all this was only planned.
        warnings: what a reader should know: what could not be removed, what can't be read, and what
            stays for that.
    """

    kept: Mapping[str, tuple[str, ...]]
    pruned: tuple[str, ...]
    freed_bytes: int
    dry_run: bool = False
    warnings: tuple[str, ...] = ()


def prune(
    store: Store, policy: RetentionPolicy, clock: Clock, *, dry_run: bool = False
) -> PruneResult:
    """Remove what a policy does not keep, as ``BackupStrategy.prune_backups`` describes.

    Args:
        store: the destination.
        policy: what to keep.
        clock: what the ages of backups are told by.
        dry_run: whether it is only planned.
    """
    if not isinstance(policy, RetentionPolicy):
        raise TypeError(f"what to keep is said by a RetentionPolicy, not by {policy!r:.80}")
    store.names()  # refuses a folder that is not there, which writing() would make
    if dry_run:
        plan = _Plan(store, policy, clock.now())
        going = plan.going()
        freed = sum(job.stored_bytes for job in going)
        return plan.result([job.id for job in going], freed, dry_run=True)
    with store.writing():
        plan = _Plan(store, policy, clock.now())
        _clear_leftovers(store, plan)
        pruned, freed = _remove(store, plan)
    return plan.result(pruned, freed)


class _Plan:
    """What stays and why; all else may go."""

    def __init__(self, store: Store, policy: RetentionPolicy, now: datetime) -> None:
        self._store = store
        self._jobs, self._unreadable = store.survey()
        self._by_id = {job.id: job for job in self._jobs}
        self._staying: set[str] = set()
        self._reasons: dict[str, list[str]] = {job.id: [] for job in self._jobs}
        self._dependents: dict[str, list[str]] = {}
        self._unknown: dict[str, str] = {}  # why not all can be told, and the newest it is true of
        self._open: list[BackupJob] = []  # stay, and what they need was not looked at yet
        self._failures: list[str] = []
        for job, reason in chosen(self._jobs, policy, now):
            self.keep(job, reason)
        self._doubts = list(self._keep_what_may_be_verified())
        for job_id, error in self._unreadable.items():
            # It may be whole, and readable again later; a full one needs no other.
            if BackupType.FULL not in job_id:
                self._hold_before(job_id, str(error))
        self._follow()
        for job in self._jobs:
            if len(self._staying) >= policy.min_count:
                break
            if job.id not in self._staying:
                self.keep(job, "minimum count")
                self._follow()

    def keep(self, job: BackupJob, reason: str) -> None:
        """Have a backup stay; what it needs follows."""
        self._reasons[job.id].append(reason)
        self._stay(job)

    def going(self) -> list[BackupJob]:
        """What may go, newest first."""
        return [job for job in self._jobs if job.id not in self._staying]

    def spares(self, job_id: str) -> bool:
        """Whether a backup, or the leftover of one, has to stay."""
        return job_id in self._staying or self._held_by(job_id) != ""

    def is_leftover(self, name: str) -> bool:
        """Whether a folder holds no backup, not even an unreadable one."""
        return name not in self._by_id and name not in self._unreadable

    def failed(self, job: BackupJob, failure: str, *, listed: bool) -> None:
        """Note that a backup could not be removed whole; what it needs stays with it.

        Args:
            job: the backup.
            failure: what happened, as a sentence.
            listed: whether it still is a backup.
        """
        self.warn(failure)
        if listed:
            self.keep(job, "could not be removed")
        else:
            # Nor does its base go: after a power cut it might be a backup again.
            self._open.append(job)
        self._follow()

    def warn(self, failure: str) -> None:
        """Add a warning, which the log gets too."""
        _log.warning("%s", failure)
        self._failures.append(failure)

    def result(self, pruned: list[str], freed: int, *, dry_run: bool = False) -> PruneResult:
        """What became of it."""
        kept = {
            job.id: (*self._reasons[job.id], *self._further_reasons(job.id))
            for job in self._jobs
            if job.id in self._staying
        }
        unreadable = [
            f"backup {name} is left alone: {self._unreadable[name]}"
            for name in sorted(self._unreadable, key=number_of, reverse=True)
        ]
        newest_first = sorted(
            self._unknown.items(), key=lambda item: number_of(item[1]), reverse=True
        )
        unknown = [f"nothing before backup {name} goes: {why}" for why, name in newest_first]
        warnings = (*unreadable, *unknown, *self._doubts, *self._failures)
        return PruneResult(kept, tuple(pruned), freed, dry_run, warnings)

    def _further_reasons(self, job_id: str) -> Iterator[str]:
        if dependents := self._dependents.get(job_id):
            more = f" and {len(dependents) - 1} more" if len(dependents) > 1 else ""
            yield f"needed by {max(dependents, key=number_of)}{more}"
        if holder := self._held_by(job_id):
            yield f"before {holder}, of which not all that it needs can be told"

    def _held_by(self, job_id: str) -> str:
        """The newest backup of unknown needs that a backup lies before, or nothing."""
        newest = max(self._unknown.values(), key=number_of, default="")
        return newest if newest and number_of(job_id) < number_of(newest) else ""

    def _keep_what_may_be_verified(self) -> Iterator[str]:
        """Keep each backup that may be the newest verified one for all that can be told."""
        for job in self._jobs:
            if job.verified_at is not None:
                return
            try:
                self._store.verified_at(job)
            except BackupError as error:
                self.keep(job, "it may be the newest verified")
                yield f"backup {job.id} stays, as it can't be told whether it was verified: {error}"

    def _stay(self, job: BackupJob) -> None:
        if job.id not in self._staying:
            self._staying.add(job.id)
            self._open.append(job)

    def _hold_before(self, job_id: str, reason: str) -> None:
        known = self._unknown.get(reason, job_id)
        self._unknown[reason] = max(known, job_id, key=number_of)
        for job in self._jobs:
            if number_of(job.id) < number_of(job_id):
                self._stay(job)

    def _follow(self) -> None:
        """Have stay what those need that stay: one that is listed has to be whole."""
        while self._open:
            job = self._open.pop()
            try:
                needed = self._store.needed(job)
            except BackupError as error:
                self._hold_before(job.id, str(error))
                continue
            for base in needed:
                self._dependents.setdefault(base, []).append(job.id)
                if base in self._by_id:
                    self._stay(self._by_id[base])
                elif base not in self._unreadable:
                    # It can't be restored: what is older may be the best there is.
                    self._hold_before(job.id, f"it needs backup {base}, which is not there")


def _clear_leftovers(store: Store, plan: _Plan) -> None:
    """Remove what a pruning or a backup that died left behind, if nothing that stays needs it."""
    for name in store.names():
        if plan.spares(name) or not plan.is_leftover(name):
            continue
        try:
            store.remove(name)
        except OSError as error:
            folder = store.path / name
            plan.warn(f"the leftover {folder} can't be removed: {error.strerror}")


def _remove(store: Store, plan: _Plan) -> tuple[list[str], int]:
    """Remove what may go: the ids of what is gone, newest first, and the bytes that it held.

    A backup goes before those that it needs, which are older.
    """
    pruned: list[str] = []
    freed = 0
    going = plan.going()
    if going:
        try:
            sync_folder(store.path)  # what another run removed is off the disk before its bases go
        except OSError as error:
            raise BackupRefused(f"can't write to {store.path}: {error.strerror}") from error
    for job in going:
        if plan.spares(job.id):
            continue  # one that could not be removed needs it
        try:
            store.remove(job.id)
        except OSError as error:
            listed = not _is_gone(job.path / METADATA)
            what = "can't be removed" if listed else "is gone, but not all of its folder"
            plan.failed(job, f"backup {job.id} {what}: {error.strerror}", listed=listed)
            if listed:
                continue
        pruned.append(job.id)
        freed += job.stored_bytes if _is_gone(job.path / TAR) else 0
    if pruned:
        try:
            sync_folder(store.path)
        except OSError as error:
            plan.warn(f"that backups were removed may not be on the disk yet: {error.strerror}")
    return pruned, freed


def _is_gone(path: Path) -> bool:
    """Whether a file is known not to be there; one that can't be looked at may be."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False
