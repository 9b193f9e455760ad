"""What a schedule needs of what makes its backups, and what it keeps of a run that gave none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from pytest_drdrill.backup.job import recovery_point_of

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Sequence
    from datetime import datetime

    from pytest_drdrill.backup.job import BackupJob
    from pytest_drdrill.clock import Clock


class UsableSpan(NamedTuple):
    """From when until when a backup can be restored.

    Attributes:
        since: the first moment, in UTC; None where it never can be.
        until: the moment at which it is lost or damaged, from which on it can't; None: none known.
    """

    since: datetime | None
    until: datetime | None = None


def when_completed(job: BackupJob) -> UsableSpan:
    """From when until when a backup can be restored where it was made: once it is completed."""
    return UsableSpan(job.completed_at or recovery_point_of(job))


@runtime_checkable
class BackupMaker(Protocol):
    """What makes backups again and again: any ``BackupStrategy``, or a simulated one.

    Attributes:
        clock: its time, which is that of the schedule.
    """

    clock: Clock

    def create_backup(
        self, source: str | os.PathLike[str], destination: str | os.PathLike[str], /
    ) -> BackupJob | Awaitable[BackupJob]:
        """Make a backup: the completed job, or, where others go on meanwhile, what to await for it.

        Raises:
            Exception: there is none; an attribute ``job`` is the one that failed.
        """
        ...

    def list_backups(self, destination: str | os.PathLike[str], /) -> Sequence[BackupJob]:
        """The completed backups of a destination, newest first; what it lacks was lost or pruned.

        Raises:
            BackupRefused: there is no such folder, or it can't be read.
        """
        ...

    def usable(self, job: BackupJob, /) -> UsableSpan:
        """From when until when a backup that it made can be restored, as far as it knows."""
        ...


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A run of a schedule that gave no backup.

    Attributes:
        moment: when it began, in UTC.
        error: what it raised.
        job: the job that failed, or None where it was refused before there was one.
    """

    moment: datetime
    error: Exception
    job: BackupJob | None
