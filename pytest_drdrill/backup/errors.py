"""What can go wrong with a backup, one class for each thing a caller may want to tell apart."""
# ruff: noqa: N818 - named for what happened, like the verdicts RTOExceeded and its siblings

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_drdrill.backup.job import BackupJob

_NAMED = 20


class BackupError(Exception):
    """A backup, restore or verification that failed; the message is one sentence for a reader.

    Attributes:
        job: the job that failed, its status ``failed`` when it was being created; None when the
            work was refused before there was a job.
    """

    def __init__(self, message: str, *, job: BackupJob | None = None) -> None:
        super().__init__(message)
        self.job = job


class BackupRefused(BackupError):
    """The input can't be served (a missing source, a foreign format ...); nothing was changed."""


class BackupNotFound(BackupRefused):
    """The destination holds no completed backup of that id."""


class BackupLocked(BackupRefused):
    """Another run is writing to the destination; there is one writer at a time."""


class RestoreTargetError(BackupRefused):
    """The restore path can't take the restored tree (not empty, a file, a symlink ...)."""


class BackupDamaged(BackupError):
    """What is on disk is not what was backed up.

    Attributes:
        damaged: what is damaged, by name: paths inside the backup, or the file of the backup
            itself (``manifest.jsonl``, ``metadata.json``, ``data.tar``).
    """

    def __init__(
        self, message: str, *, damaged: Sequence[str] = (), job: BackupJob | None = None
    ) -> None:
        super().__init__(message, job=job)
        self.damaged = tuple(damaged)

    @classmethod
    def naming(cls, job: BackupJob, damaged: Sequence[str]) -> BackupDamaged:
        """The error that lists what is damaged in a job, the first twenty in its message."""
        shown = ", ".join(repr(name) for name in damaged[:_NAMED])
        more = f" and {len(damaged) - _NAMED} more" if len(damaged) > _NAMED else ""
        return cls(f"backup {job.id} is damaged: {shown}{more}", damaged=damaged, job=job)


for _error in (
    BackupError,
    BackupRefused,
    BackupNotFound,
    BackupLocked,
    RestoreTargetError,
    BackupDamaged,
):
    _error.__module__ = "pytest_drdrill"  # where it is imported from, which tracebacks then show
