"""Dumps of a user's own databases: the newest one found, restored, tried, and judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.late import names_of

if TYPE_CHECKING:
    from pytest_drdrill.live.dumps.errors import (
        DumpError,
        DumpNotFound,
        DumpRefused,
        DumpUnfinished,
        RecoveryPointUnknown,
        RestoreFailed,
        RestoreUnsound,
    )
    from pytest_drdrill.live.dumps.findings import RestoreFinding
    from pytest_drdrill.live.dumps.latest import latest_backup
    from pytest_drdrill.live.dumps.restore import restore_dump
    from pytest_drdrill.live.dumps.restored import RestoredDump

_HOMES = {
    "errors": (
        "DumpError",
        "DumpNotFound",
        "DumpRefused",
        "DumpUnfinished",
        "RecoveryPointUnknown",
        "RestoreFailed",
        "RestoreUnsound",
    ),
    "findings": ("RestoreFinding",),
    "latest": ("latest_backup",),
    "restore": ("restore_dump",),
    "restored": ("RestoredDump",),
}

__all__ = [
    "DumpError",
    "DumpNotFound",
    "DumpRefused",
    "DumpUnfinished",
    "RecoveryPointUnknown",
    "RestoreFailed",
    "RestoreFinding",
    "RestoreUnsound",
    "RestoredDump",
    "latest_backup",
    "restore_dump",
]

__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
