"""Strategies: how a folder is backed up. What any of them wrote, each of them restores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from pytest_drdrill.backup.create import create
from pytest_drdrill.backup.errors import BackupDamaged, BackupRefused, RestoreTargetError
from pytest_drdrill.backup.job import BackupJob, BackupStatus, BackupType
from pytest_drdrill.backup.manifest import MANIFEST
from pytest_drdrill.backup.restore import RestoreResult, restore
from pytest_drdrill.backup.selection import Selection
from pytest_drdrill.backup.store import Store, absolute
from pytest_drdrill.backup.verify import VerifyResult, verify
from pytest_drdrill.clock import RealClock

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from pytest_drdrill.clock import Clock


class BackupStrategy(ABC):
    """Backs up a folder into a destination that may hold backups of every type.

    A destination holds a folder for each backup, readable without this program: ``data.tar``,
    which ``tar xf`` unpacks, ``manifest.jsonl`` with a line for each entry, and ``metadata.json``.
    One run writes to a destination at a time; reading needs no lock.

    Args:
        clock: where the moments of jobs come from; the real clock by default.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self.clock: Clock = RealClock() if clock is None else clock

    @abstractmethod
    def create_backup(
        self, source: str | os.PathLike[str], destination: str | os.PathLike[str]
    ) -> BackupJob:
        """Back up a folder.

        Args:
            source: the folder to read.
            destination: the folder that holds the backups; made if it is missing.

        Returns:
            The completed job, published and on the disk. Its warnings name what a reader should
            know: files that vanished or kept changing while they were read, FIFOs, sockets and
            devices, which are left out.

        Raises:
            TypeError: a path is no text.
            BackupRefused: the source is no folder, it overlaps with the destination, or the
                destination can't be written to or holds a leftover that can't be removed. Nothing
                was backed up.
            BackupLocked: another run is writing to the destination.
            BackupError: something in the source can't be read, or the destination can't take it;
                carries the job, its status failed. Earlier backups are untouched.
        """

    def restore_backup(
        self,
        job: BackupJob,
        restore_path: str | os.PathLike[str],
        *,
        replace: bool = False,
        paths: Iterable[str | os.PathLike[str]] | None = None,
    ) -> RestoreResult:
        """Restore a backup, of whatever type, to what it was at its recovery point.

        Every hash is checked while the tree is written beside ``restore_path``; only then is it
        moved there. On any failure ``restore_path`` is what it was before. Modes, times to the
        nanosecond, symlinks and hard links come back; owners do when run as
        root; without its owner, an entry loses its setuid and setgid bits.

        Args:
            job: what to restore, from ``create_backup`` or ``list_backups``.
            restore_path: the folder to restore to: missing (its parents are made) or empty.
            replace: replace what ``restore_path`` holds. All of it goes once the restored tree is
                in place; with ``paths``, only those paths are replaced and the rest stays.
            paths: restore these paths alone, relative to the backed-up folder, folders with all
                that they hold.

        Raises:
            TypeError: ``job`` is no BackupJob, or a path is no text.
            RestoreTargetError: ``restore_path`` is not empty (be it that it was filled during the
                restore), no folder, a symlink, out of reach, or overlaps with the backups; or it
                is a mount point, or one lies where something would be replaced.
            BackupNotFound: the backup is not there.
            BackupRefused: the job was never completed, its id or a path could lead elsewhere, or
                the backup holds no such path.
            BackupDamaged: what is on the disk is not what was backed up; names it.
            BackupError: the restored tree can't be written.
        """
        selection = Selection(paths)
        stored = self._stored(job)
        try:
            target = absolute(restore_path, "the restore path")
        except BackupRefused as error:
            raise RestoreTargetError(str(error)) from None
        return restore(stored, target, replace=replace, selection=selection)

    def verify_backup(self, job: BackupJob) -> VerifyResult:
        """Read again every byte that a backup needs, and hold it against its hashes.

        Returns:
            What was read, if all of it is intact; it never returns on damage.

        Raises:
            TypeError: ``job`` is no BackupJob.
            BackupDamaged: its ``damaged`` lists all that is damaged, by name.
            BackupNotFound: the backup is not there.
            BackupRefused: the job was never completed, or its id could lead elsewhere.
        """
        return verify(self._stored(job))

    def list_backups(self, destination: str | os.PathLike[str]) -> list[BackupJob]:
        """The completed backups in a destination, of every type, newest first.

        One with damaged metadata or of another format is left out, with a warning of the logger
        ``pytest_drdrill.backup`` that names it: no run may take it for the newest backup.

        Raises:
            BackupRefused: there is no such folder, or it can't be read.
        """
        return Store(destination).jobs()

    def _stored(self, job: BackupJob) -> BackupJob:
        """The job as it stands in its destination, if it is the one in hand."""
        if not isinstance(job, BackupJob):
            raise TypeError(
                f"a backup is named by its BackupJob, from create_backup or list_backups, not by "
                f"{job!r:.80}"
            )
        if job.status is not BackupStatus.COMPLETED:
            raise BackupRefused(f"backup {job.id} is {job.status}, not completed", job=job)
        stored = Store(job.destination_path).load(job.id)
        if stored.manifest_sha256 != job.manifest_sha256:
            raise BackupDamaged(
                f"backup {job.id} is not the one that this job made: its manifest differs",
                damaged=[MANIFEST],
                job=job,
            )
        return stored


class FullBackupStrategy(BackupStrategy):
    """Every backup holds all of the source and needs no other one."""

    def create_backup(
        self, source: str | os.PathLike[str], destination: str | os.PathLike[str]
    ) -> BackupJob:
        """Back up all of a folder; see ``BackupStrategy.create_backup``."""
        return create(source, destination, BackupType.FULL, self.clock)
