"""What was measured: one drill's timeline, its timers and ledger, and the verdict."""

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
    NotRecovered,
    ObjectiveNotMeasured,
    PreconditionNotMet,
    RPOExceeded,
    RTOExceeded,
)

__all__ = [
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
]
