"""What was measured: one drill's timeline, its timers and ledger, and the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.late import names_of
from pytest_drdrill.measure.drill import Drill
from pytest_drdrill.measure.ledger import LedgerLoss, WriteLedger
from pytest_drdrill.measure.outage import Outage
from pytest_drdrill.measure.rpo import RPOTimer
from pytest_drdrill.measure.rto import RTOTimer
from pytest_drdrill.measure.timeline import Timeline
from pytest_drdrill.measure.verdicts import (
    DisasterNotObserved,
    DrillFailure,
    DrillUsageError,
    MaxOutageExceeded,
    NotRecovered,
    ObjectiveNotMeasured,
    PreconditionNotMet,
    ReplayDiffers,
    RPOExceeded,
    RTOExceeded,
)

if TYPE_CHECKING:
    from pytest_drdrill.measure.canary import Canary
    from pytest_drdrill.measure.canary_client import CanaryClient
    from pytest_drdrill.measure.canary_result import CanaryResult, ReadersView

__all__ = [
    "Canary",
    "CanaryClient",
    "CanaryResult",
    "DisasterNotObserved",
    "Drill",
    "DrillFailure",
    "DrillUsageError",
    "LedgerLoss",
    "MaxOutageExceeded",
    "NotRecovered",
    "ObjectiveNotMeasured",
    "Outage",
    "PreconditionNotMet",
    "RPOExceeded",
    "RPOTimer",
    "RTOExceeded",
    "RTOTimer",
    "ReadersView",
    "ReplayDiffers",
    "Timeline",
    "WriteLedger",
]

# They need asyncio, 46 ms that a synchronous suite need not pay.
__getattr__ = names_of(
    __name__,
    {
        "canary": ("Canary",),
        "canary_client": ("CanaryClient",),
        "canary_result": ("CanaryResult", "ReadersView"),
    },
)
