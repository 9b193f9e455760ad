"""Creation: one backup made and published, or failed and cleared away."""

from __future__ import annotations

import os
import stat
from contextlib import closing
from typing import TYPE_CHECKING

from pytest_drdrill.backup.base import Base
from pytest_drdrill.backup.capture import Reading, capture
from pytest_drdrill.backup.errors import BackupError, BackupRefused
from pytest_drdrill.backup.full_disk import inodes_told, why
from pytest_drdrill.backup.job import MANIFEST, BackupJob, BackupStatus, BackupType, make_id
from pytest_drdrill.backup.parts import check_parts
from pytest_drdrill.backup.paths import absolute, refuse_overlap
from pytest_drdrill.backup.progress import Reporter
from pytest_drdrill.backup.source import Source
from pytest_drdrill.backup.store import TAR, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pytest_drdrill.backup.progress import BackupProgress
    from pytest_drdrill.clock import Clock


def create(  # noqa: PLR0913 - what a strategy decides, by keyword
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    backup_type: BackupType,
    clock: Clock,
    *,
    choose_base: Callable[[Sequence[BackupJob]], BackupJob | None] = lambda _: None,
    reading: Reading = Reading(),  # noqa: B008 - frozen
    progress: Callable[[BackupProgress], object] | None = None,
) -> BackupJob:
    """Make a backup, as ``BackupStrategy.create_backup`` describes.

    Args:
        source: the folder to read.
        destination: the folder that holds the backups.
        backup_type: what the job says it is, where it has a base.
        clock: where its moments come from.
        choose_base: which of the destination's backups, newest first, this one builds on; without
            one, or where quick verification finds that one damaged, it becomes a full backup.
            Called as the one writer.
        reading: how the source is read.
        progress: told how far it came.
    """
    created_at = clock.now()
    folder, store = absolute(source, "the source"), Store(destination)
    _check_source(folder)
    refuse_overlap(folder, store.path, "the source")
    with store.writing():
        earlier = store.jobs()
        _refuse_foreign(folder, earlier)
        store.clear_leftovers(earlier)
        number = store.next_number()
        base, warnings = Base(None), list[str]()
        if backup_type is not BackupType.FULL:
            base, warnings = _sound_base(store, choose_base(earlier), earlier)
        backup_type = BackupType.FULL if base.job is None else backup_type
        job = BackupJob(
            id=make_id(number, backup_type, created_at),
            backup_type=backup_type,
            source_path=folder,
            destination_path=store.path,
            created_at=created_at,
            warnings=warnings,
        )
        told = Reporter(progress, "backup", job.id)
        with told.unwrapping():
            try:
                with inodes_told(store.path):
                    with closing(base):
                        _run(job, store, clock, base, reading, told)
                    told.end()
                    job.completed_at = clock.now()
                    job.status = BackupStatus.COMPLETED
                    store.publish(job)
            except BaseException as error:
                store.discard(job.id)
                job.status = BackupStatus.FAILED
                job.completed_at = None
                job.error_message = str(error) or type(error).__name__
                if isinstance(error, BackupError):
                    error.job = job
                elif isinstance(error, OSError):
                    job.error_message = f"can't write backup {job.id} to {store.path}: {why(error)}"
                    raise BackupError(job.error_message, job=job) from error
                else:  # the caller's own, or an interrupt, which has no room for a job
                    error.add_note(f"backup {job.id} failed, and is not in {store.path}")
                raise
    return job


def _sound_base(
    store: Store, base: BackupJob | None, earlier: Sequence[BackupJob]
) -> tuple[Base, list[str]]:
    """The base if it can be relied on; else none, and why this backup has to be a full one."""
    if base is None:
        return Base(None), ["there was no backup to build on, so this one is full"]
    try:
        opened = Base(base)
        try:
            check_parts(store, base, earlier, manifest=False)
        except BaseException:
            opened.close()
            raise
    except BackupError as error:
        return Base(None), [f"{error}; so this one is full"]
    except OSError as error:
        reason = f"can't read backup {base.id}: {error.strerror or error}"
        return Base(None), [f"{reason}; so this one is full"]
    return opened, []


def _refuse_foreign(folder: Path, earlier: Sequence[BackupJob]) -> None:
    """Refuse a destination of another source: what changed since its backups says nothing."""
    real = os.path.realpath(folder)
    for job in earlier:
        if job.source_path != folder and os.path.realpath(job.source_path) != real:
            raise BackupRefused(
                f"{job.destination_path} holds backups of {job.source_path}; back up {folder} to a "
                "destination of its own"
            )


def _check_source(folder: Path) -> None:
    try:
        status = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise BackupRefused(f"the source {folder} does not exist") from None
    except OSError as error:
        raise BackupRefused(f"can't read the source {folder}: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise BackupRefused(f"the source {folder} is no folder")


def _run(  # noqa: PLR0913, PLR0917 - as create()
    job: BackupJob,
    store: Store,
    clock: Clock,
    base: Base,
    reading: Reading,
    progress: Reporter,
) -> None:
    job.started_at = clock.now()
    job.status = BackupStatus.RUNNING
    job.path.mkdir(mode=0o700)
    if base.job is not None:
        job.parent_id, job.parent_sha256 = base.job.id, base.job.manifest_sha256
    with (
        closing(Source(job.source_path)) as source,
        (job.path / TAR).open("x+b", buffering=0) as tar,
        (job.path / MANIFEST).open("xb") as manifest,
    ):
        job.recovery_point = clock.now()
        capture(source, job, tar, manifest, base, reading=reading, progress=progress)
        if base.job is not None and job.manifest_sha256 == base.job.manifest_sha256:
            store.drop_contents(job.id)
            job.manifest_id = base.job.manifest_id or base.job.id
            job.stored_bytes, job.bases = 0, []  # what it needs, that manifest's backup says
            return
        manifest.flush()
        os.fsync(manifest.fileno())
