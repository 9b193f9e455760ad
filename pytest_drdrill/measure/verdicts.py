"""What a drill raises: broken promises, and measurements that were never taken."""

from __future__ import annotations

import unittest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta


class DrillFailure(AssertionError):  # noqa: N818 - a verdict, not an error of the program
    """A promise was broken, or could not be shown to hold. Base of the verdicts below.

    Attributes:
        target: what was promised, or None.
        actual: what was measured, or None when there is no number (never recovered, unbounded).
    """

    def __init__(
        self, message: str, *, target: timedelta | None = None, actual: timedelta | None = None
    ) -> None:
        super().__init__(message)
        self.target = target
        self.actual = actual


class RTOExceeded(DrillFailure):
    """The outage lasted longer than the recovery time objective."""


class RPOExceeded(DrillFailure):
    """More acknowledged work was lost than the recovery point objective allows."""


class NotRecovered(DrillFailure):
    """An outage was still open when the drill, or the patience of ``until``, ended."""


class DisasterNotObserved(DrillFailure):
    """The watched check never failed after the disaster: the fault missed."""


class ObjectiveNotMeasured(DrillFailure):
    """An objective was declared, by the drill or its tier, and nothing measured it."""


class ReplayDiffers(DrillFailure):
    """A simulated drill went another way with the same seed, so no run of it can be replayed."""


class MaxOutageExceeded(DrillFailure):
    """A live drill took longer than its longest outage: it was ended, and its faults undone."""


class PreconditionNotMet(unittest.SkipTest):
    """What a drill needs before it can begin does not hold: the drill is not verified.

    A ``SkipTest``, since that is what every test runner takes for "did not run".
    """


class DrillUsageError(RuntimeError):
    """A timer or the drill was used in a way that means nothing: a recovery before any disaster."""


for _error in (
    DrillFailure,
    RTOExceeded,
    RPOExceeded,
    NotRecovered,
    DisasterNotObserved,
    ObjectiveNotMeasured,
    ReplayDiffers,
    MaxOutageExceeded,
    PreconditionNotMet,
    DrillUsageError,
):
    _error.__module__ = "pytest_drdrill"  # where it is imported from, which tracebacks then show
