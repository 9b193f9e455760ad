"""What can go wrong with a backup, one class for each thing a caller may want to tell apart."""
# ruff: noqa: N818 - named for what happened, like the verdicts RTOExceeded and its siblings

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
    """Another run is writing to the destination, or restoring to the folder; one does at a time."""


class RestoreTargetError(BackupRefused):
    """The restore path can't take the restored tree (not empty, a file, a symlink ...)."""


class BackupDamaged(BackupError):
    """What is on disk is not what was backed up.

    Attributes:
        damaged: what is damaged, by name: paths inside the backup, or the file of the backup
            itself (``manifest.jsonl``, ``metadata.json``, ``data.tar``), those of an earlier backup
            that it needs behind that one's id.
        dependents: ids of other backups that can't be restored whole for the same damage, the
            newest first.
        intact: ids of other backups of the destination that this damage leaves alone and that quick
            verification finds whole, the newest first.
        reason: what is wrong with it, in a clause.
    """

    def __init__(  # noqa: PLR0913 - what is known of the damage, by keyword
        self,
        message: str,
        *,
        damaged: Sequence[str] = (),
        dependents: Sequence[str] = (),
        intact: Sequence[str] = (),
        reason: str = "",
        job: BackupJob | None = None,
    ) -> None:
        super().__init__(message, job=job)
        self.damaged = tuple(damaged)
        self.reason = reason or message
        self.dependents = tuple(dependents)
        self.intact = tuple(intact)

    @classmethod
    def naming(
        cls,
        job: BackupJob,
        damaged: Iterable[str] | Mapping[str, str],
        *,
        dependents: Sequence[str] = (),
        intact: Sequence[str] = (),
    ) -> BackupDamaged:
        """The error that lists what is damaged in a job, the first twenty in its message.

        Args:
            job: whose backup it is.
            damaged: names, with a reason for each where they are the keys of a mapping.
            dependents: as the attribute.
            intact: as the attribute.
        """
        reasons = damaged if isinstance(damaged, Mapping) else dict.fromkeys(damaged, "")
        named = [f"{name!r} ({why})" if why else repr(name) for name, why in reasons.items()]
        text = f"backup {job.id} is damaged: {_listed(named)}"
        if dependents:
            text += f"; the same damage is in {_listed(dependents)}"
        if intact:
            text += f"; the newest that it leaves alone is {intact[0]}"
        return cls(text, damaged=[*reasons], dependents=dependents, intact=intact, job=job)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


for _error in (
    BackupError,
    BackupRefused,
    BackupNotFound,
    BackupLocked,
    RestoreTargetError,
    BackupDamaged,
):
    _error.__module__ = "pytest_drdrill"  # where it is imported from, which tracebacks then show
