"""Disaster-recovery drills as ordinary pytest tests: measured, judged, with evidence.

A drill breaks something and brings it back; markers say what was promised, timers measure what
happened, and the test fails when the promise was broken or nothing showed that it holds. Names load
on first use, so that a suite without drills pays for none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.late import names_of

if TYPE_CHECKING:
    from pytest_drdrill.backup import (
        BackupAlert,
        BackupDamaged,
        BackupError,
        BackupHealth,
        BackupJob,
        BackupLocked,
        BackupMonitor,
        BackupNotFound,
        BackupProgress,
        BackupRefused,
        BackupSchedule,
        BackupStatus,
        BackupStrategy,
        BackupType,
        DifferentialBackupStrategy,
        FullBackupStrategy,
        IncrementalBackupStrategy,
        PruneResult,
        RestoreResult,
        RestoreTargetError,
        RetentionPolicy,
        VerifyResult,
    )
    from pytest_drdrill.clock import Clock, RealClock
    from pytest_drdrill.durations import format_duration, parse_duration
    from pytest_drdrill.evidence.schema import load_schema
    from pytest_drdrill.failover import (
        FailoverError,
        FailoverEvent,
        FailoverFailed,
        FailoverManager,
        FailoverTimeoutError,
        HealthStatus,
        HttpProber,
        MonitoringFailed,
        NotMonitoringError,
        Prober,
        ProbeResult,
        ServiceEndpoint,
    )
    from pytest_drdrill.faults import Fault, FaultError, FaultInjector, UndoFailed, UndoStack
    from pytest_drdrill.measure import (
        DisasterNotObserved,
        Drill,
        DrillFailure,
        DrillUsageError,
        LedgerLoss,
        NotRecovered,
        ObjectiveNotMeasured,
        Outage,
        PreconditionNotMet,
        RPOExceeded,
        RPOTimer,
        RTOExceeded,
        RTOTimer,
        Timeline,
        WriteLedger,
    )
    from pytest_drdrill.objectives import Objectives, RecoveryMetrics, ServiceTiers

_HOMES = {
    "backup": (
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
    ),
    "clock": ("Clock", "RealClock"),
    "durations": ("format_duration", "parse_duration"),
    "evidence.schema": ("load_schema",),
    "failover": (
        "FailoverError",
        "FailoverEvent",
        "FailoverFailed",
        "FailoverManager",
        "FailoverTimeoutError",
        "HealthStatus",
        "HttpProber",
        "MonitoringFailed",
        "NotMonitoringError",
        "ProbeResult",
        "Prober",
        "ServiceEndpoint",
    ),
    "faults": ("Fault", "FaultError", "FaultInjector", "UndoFailed", "UndoStack"),
    "measure": (
        "DisasterNotObserved",
        "Drill",
        "DrillFailure",
        "DrillUsageError",
        "LedgerLoss",
        "NotRecovered",
        "ObjectiveNotMeasured",
        "Outage",
        "PreconditionNotMet",
        "RPOExceeded",
        "RPOTimer",
        "RTOExceeded",
        "RTOTimer",
        "Timeline",
        "WriteLedger",
    ),
    "objectives": ("Objectives", "RecoveryMetrics", "ServiceTiers"),
}

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
    "Clock",
    "DifferentialBackupStrategy",
    "DisasterNotObserved",
    "Drill",
    "DrillFailure",
    "DrillUsageError",
    "FailoverError",
    "FailoverEvent",
    "FailoverFailed",
    "FailoverManager",
    "FailoverTimeoutError",
    "Fault",
    "FaultError",
    "FaultInjector",
    "FullBackupStrategy",
    "HealthStatus",
    "HttpProber",
    "IncrementalBackupStrategy",
    "LedgerLoss",
    "MonitoringFailed",
    "NotMonitoringError",
    "NotRecovered",
    "ObjectiveNotMeasured",
    "Objectives",
    "Outage",
    "PreconditionNotMet",
    "ProbeResult",
    "Prober",
    "PruneResult",
    "RPOExceeded",
    "RPOTimer",
    "RTOExceeded",
    "RTOTimer",
    "RealClock",
    "RecoveryMetrics",
    "RestoreResult",
    "RestoreTargetError",
    "RetentionPolicy",
    "ServiceEndpoint",
    "ServiceTiers",
    "Timeline",
    "UndoFailed",
    "UndoStack",
    "VerifyResult",
    "WriteLedger",
    "format_duration",
    "load_schema",
    "parse_duration",
]


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
