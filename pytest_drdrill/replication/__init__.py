"""Replication: regions, the changes between them, promotion and fencing.

The names load on first use, so that a suite without such a drill pays for none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.late import names_of

if TYPE_CHECKING:
    from pytest_drdrill.replication.changes import (
        Change,
        ChangeLog,
        ChangeSink,
        ChangeStore,
        History,
        Snapshot,
    )
    from pytest_drdrill.replication.errors import (
        CatchUpTimeoutError,
        DivergedError,
        IndeterminateWriteError,
        NotReplicatingError,
        PromotionFailed,
        RegionUnreachableError,
        ReplicationError,
        ReplicationFailed,
        StaleEpochError,
        WriteRefusedError,
    )
    from pytest_drdrill.replication.events import (
        Acknowledgement,
        Lag,
        Promotion,
        Rejoin,
        ReplicationAlert,
        ReplicationEvent,
    )
    from pytest_drdrill.replication.memory import MemoryStore
    from pytest_drdrill.replication.network import LocalNetwork, Network
    from pytest_drdrill.replication.region import Region
    from pytest_drdrill.replication.replication import CrossRegionReplication
    from pytest_drdrill.replication.sqlite import SQLiteStore

_HOMES = {
    "changes": ("Change", "ChangeLog", "ChangeSink", "ChangeStore", "History", "Snapshot"),
    "errors": (
        "CatchUpTimeoutError",
        "DivergedError",
        "IndeterminateWriteError",
        "NotReplicatingError",
        "PromotionFailed",
        "RegionUnreachableError",
        "ReplicationError",
        "ReplicationFailed",
        "StaleEpochError",
        "WriteRefusedError",
    ),
    "events": (
        "Acknowledgement",
        "Lag",
        "Promotion",
        "Rejoin",
        "ReplicationAlert",
        "ReplicationEvent",
    ),
    "memory": ("MemoryStore",),
    "network": ("LocalNetwork", "Network"),
    "region": ("Region",),
    "replication": ("CrossRegionReplication",),
    "sqlite": ("SQLiteStore",),
}

__all__ = [
    "Acknowledgement",
    "CatchUpTimeoutError",
    "Change",
    "ChangeLog",
    "ChangeSink",
    "ChangeStore",
    "CrossRegionReplication",
    "DivergedError",
    "History",
    "IndeterminateWriteError",
    "Lag",
    "LocalNetwork",
    "MemoryStore",
    "Network",
    "NotReplicatingError",
    "Promotion",
    "PromotionFailed",
    "Region",
    "RegionUnreachableError",
    "Rejoin",
    "ReplicationAlert",
    "ReplicationError",
    "ReplicationEvent",
    "ReplicationFailed",
    "SQLiteStore",
    "Snapshot",
    "StaleEpochError",
    "WriteRefusedError",
]


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
