"""Backups of folders: made, verified, restored; interruptible at any moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.late import names_of

if TYPE_CHECKING:
    from pytest_drdrill.backup.errors import (
        BackupDamaged,
        BackupError,
        BackupLocked,
        BackupNotFound,
        BackupRefused,
        RestoreTargetError,
    )
    from pytest_drdrill.backup.exposure import BackupExposure, backup_exposure
    from pytest_drdrill.backup.job import BackupJob, BackupStatus, BackupType
    from pytest_drdrill.backup.maker import BackupMaker, FailedRun, UsableSpan
    from pytest_drdrill.backup.monitor import BackupAlert, BackupHealth, BackupMonitor
    from pytest_drdrill.backup.progress import BackupProgress
    from pytest_drdrill.backup.prune import PruneResult
    from pytest_drdrill.backup.restore import RestoreResult
    from pytest_drdrill.backup.retention import RetentionPolicy
    from pytest_drdrill.backup.schedule import BackupSchedule
    from pytest_drdrill.backup.strategy import (
        BackupStrategy,
        DifferentialBackupStrategy,
        FullBackupStrategy,
        IncrementalBackupStrategy,
    )
    from pytest_drdrill.backup.verify import VerifyResult

_HOMES = {
    "errors": (
        "BackupDamaged",
        "BackupError",
        "BackupLocked",
        "BackupNotFound",
        "BackupRefused",
        "RestoreTargetError",
    ),
    "exposure": ("BackupExposure", "backup_exposure"),
    "job": ("BackupJob", "BackupStatus", "BackupType"),
    "maker": ("BackupMaker", "FailedRun", "UsableSpan"),
    "monitor": ("BackupAlert", "BackupHealth", "BackupMonitor"),
    "progress": ("BackupProgress",),
    "prune": ("PruneResult",),
    "restore": ("RestoreResult",),
    "retention": ("RetentionPolicy",),
    "schedule": ("BackupSchedule",),
    "strategy": (
        "BackupStrategy",
        "DifferentialBackupStrategy",
        "FullBackupStrategy",
        "IncrementalBackupStrategy",
    ),
    "verify": ("VerifyResult",),
}

__all__ = [
    "BackupAlert",
    "BackupDamaged",
    "BackupError",
    "BackupExposure",
    "BackupHealth",
    "BackupJob",
    "BackupLocked",
    "BackupMaker",
    "BackupMonitor",
    "BackupNotFound",
    "BackupProgress",
    "BackupRefused",
    "BackupSchedule",
    "BackupStatus",
    "BackupStrategy",
    "BackupType",
    "DifferentialBackupStrategy",
    "FailedRun",
    "FullBackupStrategy",
    "IncrementalBackupStrategy",
    "PruneResult",
    "RestoreResult",
    "RestoreTargetError",
    "RetentionPolicy",
    "UsableSpan",
    "VerifyResult",
    "backup_exposure",
]

__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
