"""Backups of folders: made, verified, restored; interruptible at any moment."""

from pytest_drdrill.backup.errors import (
    BackupDamaged,
    BackupError,
    BackupLocked,
    BackupNotFound,
    BackupRefused,
    RestoreTargetError,
)
from pytest_drdrill.backup.job import BackupJob, BackupStatus, BackupType
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

__all__ = [
    "BackupAlert",
    "BackupDamaged",
    "BackupError",
    "BackupHealth",
    "BackupJob",
    "BackupLocked",
    "BackupMonitor",
    "BackupNotFound",
    "BackupProgress",
    "BackupRefused",
    "BackupSchedule",
    "BackupStatus",
    "BackupStrategy",
    "BackupType",
    "DifferentialBackupStrategy",
    "FullBackupStrategy",
    "IncrementalBackupStrategy",
    "PruneResult",
    "RestoreResult",
    "RestoreTargetError",
    "RetentionPolicy",
    "VerifyResult",
]
