"""Creation: one backup made and published, or failed and cleared away."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from pytest_drdrill.backup.capture import capture
from pytest_drdrill.backup.errors import BackupError, BackupRefused
from pytest_drdrill.backup.job import BackupJob, BackupStatus, BackupType, make_id
from pytest_drdrill.backup.manifest import MANIFEST, read_manifest
from pytest_drdrill.backup.source import Source
from pytest_drdrill.backup.store import TAR, Store, absolute, refuse_overlap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pytest_drdrill.clock import Clock

_BUFFER = 1 << 20


def create(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    backup_type: BackupType,
    clock: Clock,
    choose_base: Callable[[Sequence[BackupJob]], BackupJob | None] = lambda _: None,
) -> BackupJob:
    """Make a backup, as ``BackupStrategy.create_backup`` describes.

    Args:
        source: the folder to read.
        destination: the folder that holds the backups.
        backup_type: what the job says it is.
        clock: where its moments come from.
        choose_base: which of the destination's backups, newest first, this one builds on; none
            makes it self-contained. Called as the one writer.
    """
    created_at = clock.now()
    folder, store = absolute(source, "the source"), Store(destination)
    _check_source(folder)
    refuse_overlap(folder, store.path, "the source")
    with store.writing():
        earlier = store.jobs()
        store.clear_leftovers()
        job = BackupJob(
            id=make_id(store.next_number(), backup_type, created_at),
            backup_type=backup_type,
            source_path=folder,
            destination_path=store.path,
            created_at=created_at,
        )
        try:
            _run(job, store, clock, choose_base(earlier))
        except BaseException as error:
            store.discard(job.id)
            job.status = BackupStatus.FAILED
            job.completed_at = None
            job.error_message = str(error) or type(error).__name__
            if isinstance(error, BackupError):
                error.job = job
            elif isinstance(error, OSError):
                job.error_message = f"can't write backup {job.id} to {store.path}: {error.strerror}"
                raise BackupError(job.error_message, job=job) from error
            raise
    return job


def _check_source(folder: Path) -> None:
    try:
        status = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise BackupRefused(f"the source {folder} does not exist") from None
    except OSError as error:
        raise BackupRefused(f"can't read the source {folder}: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise BackupRefused(f"the source {folder} is no folder")


def _run(job: BackupJob, store: Store, clock: Clock, base: BackupJob | None) -> None:
    job.started_at = clock.now()
    job.status = BackupStatus.RUNNING
    job.path.mkdir(mode=0o700)
    if base is not None:
        job.parent_id = base.id
    with (
        Source(job.source_path) as source,
        (job.path / TAR).open("xb", _BUFFER) as tar,
        (job.path / MANIFEST).open("xb", _BUFFER) as manifest,
    ):
        job.recovery_point = clock.now()
        capture(source, job, tar, manifest, () if base is None else read_manifest(base))
        for file in (tar, manifest):
            file.flush()
            os.fsync(file.fileno())
    job.completed_at = clock.now()
    job.status = BackupStatus.COMPLETED
    store.publish(job)
