"""Strategies: how a folder is backed up. What any of them wrote, each of them restores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from pytest_drdrill.backup.capture import Reading
from pytest_drdrill.backup.create import create
from pytest_drdrill.backup.errors import BackupDamaged, BackupRefused, RestoreTargetError
from pytest_drdrill.backup.job import MANIFEST, BackupJob, BackupStatus, BackupType
from pytest_drdrill.backup.maker import UsableSpan, when_completed
from pytest_drdrill.backup.paths import absolute
from pytest_drdrill.backup.progress import Reporter
from pytest_drdrill.backup.store import Store
from pytest_drdrill.clock import RealClock

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence

    from pytest_drdrill.backup.progress import BackupProgress
    from pytest_drdrill.backup.prune import PruneResult
    from pytest_drdrill.backup.restore import RestoreResult
    from pytest_drdrill.backup.retention import RetentionPolicy
    from pytest_drdrill.backup.verify import VerifyResult
    from pytest_drdrill.clock import Clock

    Tell = Callable[[BackupProgress], object]


class BackupStrategy(ABC):
    """Backs up a folder into a destination that may hold backups of every type.

    A destination holds a folder for each backup, readable without this program: ``data.tar``,
    which ``tar xf`` unpacks, ``manifest.jsonl`` with a line for each entry of the whole tree, and
    ``metadata.json``. It holds the backups of one source. One run writes to a destination at a
    time; reading needs no lock.

    Args:
        clock: where the moments of jobs come from; the real clock by default.
        on_event: told what was done, as ``("backup completed", "000001-full-...: 3 files ...")``.
        unreadable: what becomes of a backup whose source holds a file or folder that can't be read:
            ``"fail"``: the job fails, naming it; ``"skip"``: it is left out, a folder with all that
            it holds, and a warning of the completed job names it.

    Raises:
        BackupRefused: ``unreadable`` is neither.
    """

    backup_type: ClassVar[BackupType]

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        on_event: Callable[[str, str], object] | None = None,
        unreadable: Literal["fail", "skip"] = "fail",
    ) -> None:
        if unreadable not in ("fail", "skip"):
            raise BackupRefused(f"unreadable is 'fail' or 'skip', not {unreadable!r:.80}")
        self.unreadable = unreadable
        self.clock: Clock = RealClock() if clock is None else clock
        self._on_event = on_event

    @abstractmethod
    def choose_base(self, earlier: Sequence[BackupJob]) -> BackupJob | None:
        """The backup that a new one builds on: what did not change since is not stored again.

        Args:
            earlier: the completed backups of the destination, of every type, newest first.
        """

    def create_backup(
        self,
        source: str | os.PathLike[str],
        destination: str | os.PathLike[str],
        *,
        paranoid: bool = False,
        progress: Tell | None = None,
    ) -> BackupJob:
        """Back up a folder.

        What changed since an earlier backup is told by size, times to the nanosecond, inode, links,
        mode and owner; what had changed within a tick of the clock before it was read is compared
        by its content and attributes.

        Args:
            source: the folder to read.
            destination: the folder that holds the backups; made if it is missing.
            paranoid: compare every file by its hash, for a file system whose times can't be relied
                on.
            progress: told how far it came, some times a second. What it raises ends the run: the
                job failed, nothing of it stays, and a note on what was raised names it.

        Returns:
            The completed job, published and on the disk. Its warnings name what a reader should
            know: files that vanished or kept changing while they were read; FIFOs, sockets and
            devices, which are recorded and can't be restored; what was skipped; and why it is a
            full backup, where it was to build on an earlier one that is missing or damaged.

        Raises:
            TypeError: a path is no text.
            BackupRefused: the source is no folder, it overlaps with the destination, or the
                destination can't be written to, holds the backups of another source or a leftover
                that can't be removed. Nothing was backed up.
            BackupLocked: another run is writing to the destination.
            BackupError: something in the source can't be read (see ``unreadable``), or the
                destination can't take it; carries the job, its status failed. Earlier backups are
                untouched.
        """
        job = create(
            source,
            destination,
            self.backup_type,
            self.clock,
            choose_base=self.choose_base,
            reading=Reading(paranoid, self.unreadable == "skip"),
            progress=progress,
        )
        self._tell("backup completed", f"{job.id}: {_size(job)}")
        return job

    def restore_backup(
        self,
        job: BackupJob,
        restore_path: str | os.PathLike[str],
        *,
        replace: bool = False,
        paths: Iterable[str | os.PathLike[str]] | None = None,
        progress: Tell | None = None,
    ) -> RestoreResult:
        """Restore a backup, of whatever type, to what it was at its recovery point.

        Every hash is checked while the tree is written beside ``restore_path``; only then is it
        moved there. On any failure ``restore_path`` is what it was before. Modes, times to the
        nanosecond, symlinks and hard links come back; owners do when run as
        root; without its owner, an entry loses its setuid and setgid bits.

        A run that is killed leaves ``restore_path`` as it was or as it was to be; but several
        ``paths`` take their places one after the other, so some may be new and some old then, and
        where the file system can't have two paths change places, what is replaced may be missing.
        The next restore to ``restore_path``, whatever it is to bring, undoes such a run before
        anything else, even if it is then refused, and clears what it left beside ``restore_path``,
        where a file ``.NAME.restore-...`` says what that is. Until then, leave that file and what
        has a name such as ``.NAME.replaced-...`` alone: it may hold the only copy of the old.

        Args:
            job: what to restore, from ``create_backup`` or ``list_backups``.
            restore_path: the folder to restore to: missing (its parents are made) or empty.
            replace: replace what ``restore_path`` holds. All of it goes once the restored tree is
                in place; with ``paths``, only those paths are replaced and the rest stays.
            paths: restore these paths alone, relative to the backed-up folder, folders with all
                that they hold.
            progress: told how far it came, some times a second. What it raises ends the restore,
                and ``restore_path`` is what it was.

        Raises:
            TypeError: ``job`` is no BackupJob, or a path is no text.
            RestoreTargetError: ``restore_path`` is not empty (be it that it was filled during the
                restore), no folder, a symlink, out of reach, or overlaps with the backups; or it
                is a mount point, or one lies where something would be replaced; or what has the
                name of its journal is none.
            BackupLocked: another run is restoring to ``restore_path``.
            BackupNotFound: the backup is not there.
            BackupRefused: the job was never completed, its id or a path could lead elsewhere, or
                the backup holds no such path.
            BackupDamaged: what is on the disk is not what was backed up; names it.
            BackupError: the restored tree can't be written.
        """
        from pytest_drdrill.backup.restore import restore
        from pytest_drdrill.backup.selection import Selection

        selection = Selection(paths)
        stored = self._stored(job)
        try:
            target = absolute(restore_path, "the restore path")
        except BackupRefused as error:
            raise RestoreTargetError(str(error)) from None
        self._tell("restore started", stored.id)
        told = Reporter(progress, "restore", stored.id)
        with told.unwrapping():
            result = restore(stored, target, replace=replace, selection=selection, progress=told)
        self._tell("restore completed", f"{stored.id}: verified and swapped in")
        return result

    def verify_backup(
        self, job: BackupJob, *, quick: bool = False, progress: Tell | None = None
    ) -> VerifyResult:
        """Hold a backup against what was written.

        In full: every byte that it needs is read again, those in earlier backups included. When all
        is intact, that is kept in the destination, where it can be written to (``verified_at`` of
        the job); when not, it no longer counts as verified.

        Args:
            job: what to verify, from ``create_backup`` or ``list_backups``.
            quick: look at presence, sizes, and the hashes of manifests only. Never counts as
                verified.
            progress: told how far it came, some times a second.

        Returns:
            What was read, if all of it is intact; it never returns on damage.

        Raises:
            TypeError: ``job`` is no BackupJob.
            BackupDamaged: its ``damaged`` lists all that is damaged, by name, ``dependents`` the
                other backups that this concerns, and ``intact`` those that it leaves alone.
            BackupNotFound: the backup is not there.
            BackupRefused: the job was never completed, or its id could lead elsewhere.
        """
        from pytest_drdrill.backup.verify import verify

        stored = self._stored(job)
        store = Store(stored.destination_path)
        told = Reporter(progress, "verify", stored.id)
        began = self.clock.now()
        try:
            with told.unwrapping():
                result = verify(stored, quick=quick, progress=told)
                told.end()
        except BackupDamaged:
            store.note_verified(stored, None)
            raise
        if not quick:
            store.note_verified(stored, began)
            job.verified_at = stored.verified_at
        self._tell("backup verified", f"{stored.id}{' (quick)' if quick else ''}")
        return result

    def list_backups(self, destination: str | os.PathLike[str]) -> list[BackupJob]:
        """The completed backups in a destination, of every type, newest first.

        One with damaged metadata or of another format is left out, with a warning of the logger
        ``pytest_drdrill.backup`` that names it: no run may take it for the newest backup.

        Raises:
            BackupRefused: there is no such folder, or it can't be read.
        """
        return Store(destination).jobs()

    def usable(self, job: BackupJob) -> UsableSpan:
        """From when until when a backup can be restored, as far as is known: once it is completed.

        For a strategy of your own whose backups count only elsewhere, as when they are copied to
        another place.
        """
        return when_completed(job)

    def prune_backups(
        self,
        destination: str | os.PathLike[str],
        policy: RetentionPolicy,
        *,
        dry_run: bool = False,
    ) -> PruneResult:
        """Remove the backups that a policy does not keep, of every type.

        Whatever the policy says, these stay: the newest verified backup, and one that may be it for
        all that can be told; every backup that one which stays needs (nothing is consolidated: its
        base stays as it is); one whose metadata can't be read, and all that lies before a backup of
        which it can't be told what it needs.
        A run that dies midway leaves every backup that is still listed whole.

        Args:
            destination: the folder that holds the backups.
            policy: what to keep.
            dry_run: change nothing on the disk and take no lock; only say what would be done.

        Returns:
            What stays, each with the reasons, and what was removed. What could not be removed is
            named in its warnings.

        Raises:
            TypeError: ``policy`` is no RetentionPolicy, or the destination is no text.
            BackupRefused: there is no such folder, or it can't be read or written to.
            BackupLocked: another run is writing to the destination.
        """
        from pytest_drdrill.backup.prune import prune

        result = prune(Store(destination), policy, self.clock, dry_run=dry_run)
        if not dry_run:
            for warning in result.warnings:
                self._tell("pruning warned", warning)
            total = len(result.kept) + len(result.pruned)
            freed = f"{result.freed_bytes:,} bytes freed"
            self._tell("backups pruned", f"{len(result.pruned)} of {total} removed, {freed}")
        return result

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

    def _tell(self, event: str, detail: str) -> None:
        if self._on_event is not None:
            self._on_event(event, detail)


class FullBackupStrategy(BackupStrategy):
    """Every backup holds all of the source and needs no other one."""

    backup_type = BackupType.FULL

    def choose_base(self, earlier: Sequence[BackupJob]) -> BackupJob | None:  # noqa: ARG002 - none is right
        """None: it builds on no other."""
        return None


class IncrementalBackupStrategy(BackupStrategy):
    """A backup holds what changed since the last one, of whatever type; the first one holds all."""

    backup_type = BackupType.INCREMENTAL

    def choose_base(self, earlier: Sequence[BackupJob]) -> BackupJob | None:
        """The newest backup."""
        return earlier[0] if earlier else None


class DifferentialBackupStrategy(BackupStrategy):
    """A backup holds what changed since the last full one; the first one holds all."""

    backup_type = BackupType.DIFFERENTIAL

    def choose_base(self, earlier: Sequence[BackupJob]) -> BackupJob | None:
        """The newest full backup."""
        return next((job for job in earlier if job.backup_type is BackupType.FULL), None)


def _size(job: BackupJob) -> str:
    files = f"{job.file_count:,} file{'s' if job.file_count != 1 else ''}"
    if job.size_bytes < 1_000_000:  # noqa: PLR2004 - a megabyte
        return f"{files}, {job.size_bytes:,} bytes"
    return f"{files}, {job.size_bytes / 1e6:,.1f} MB"
