"""Repeated checks of a service: a pure account of success runs, and how one check is run."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_drdrill.clock import Clock

DEFAULT_PATIENCE = timedelta(minutes=1)
"""How long ``until`` waits where neither a timeout nor an RTO says."""
PATIENCE_PAST_RTO = (timedelta(seconds=10), timedelta(minutes=1))
"""How long ``until`` goes on past a broken RTO, to measure by how much it was broken: as long as
the RTO itself, within these bounds."""


def default_deadline(now: float, struck: float, target: timedelta | None) -> float:
    """Monotonic seconds at which patience ends where nobody says.

    Args:
        now: when the watch begins.
        struck: when the disaster struck.
        target: the recovery time objective, or None.
    """
    if target is None:
        return now + DEFAULT_PATIENCE.total_seconds()
    least, most = PATIENCE_PAST_RTO
    patience = target + min(max(target, least), most)
    return max(now + least.total_seconds(), struck + patience.total_seconds())


@dataclass(slots=True)
class Watch:
    """What a series of checks says; knows no clock, is told each check's begin and end.

    Attributes:
        since: monotonic seconds from which on the service is suspect: the disaster.
        interval: seconds from the start of one check to the start of the next.
        hold: seconds that a success run must last.
        deadline: monotonic seconds at which patience ends.
        grace: whether a success run that began before the deadline may finish its hold after it.
        failures: checks that failed.
        run_began: end of the first check of the present success run, or None.
        resolution: seconds from the begin of the last failed check (else the disaster) to
            ``run_began``: the recovery happened somewhere in there.
        held: how long the run had lasted when it was long enough, or None.
        blind: seconds of the longest time in which nobody looked: from the begin of one look (at
            first the disaster) to the end of the next.
        place: among the watches of its outage.
    """

    since: float
    interval: float
    hold: float
    deadline: float
    grace: bool
    failures: int = 0
    run_began: float | None = None
    resolution: float | None = None
    held: float | None = None
    blind: float = 0.0
    place: int = 0
    _looked: float | None = None

    def enter(self, begun: float, ended: float, *, passed: bool) -> float | None:
        """Enter one check.

        Returns:
            Seconds to pause before the next check, or None when there is none: either ``held`` is
            set, or patience has ended.
        """
        self.blind = max(self.blind, ended - (self.since if self._looked is None else self._looked))
        self._looked = begun
        if passed:
            if self.run_began is None:
                self.run_began = ended
                self.resolution = ended - self.since
            if ended - self.run_began >= self.hold and self._in_time(ended):
                self.held = ended - self.run_began
                return None
        else:
            self.failures += 1
            self.since = begun
            self.run_began = self.resolution = None
        if ended >= self.deadline and not self._in_grace():
            return None
        pause = max(0.0, begun + self.interval - ended)
        if self._in_grace():
            return pause
        # The last look is at the deadline itself, not one interval before it.
        return min(pause, max(0.0, self.deadline - ended))

    def patience(self, begun: float) -> float:
        """Seconds that a check beginning now may take."""
        left = self.deadline - begun
        if self._in_grace() and self.run_began is not None:
            left = max(left, self.run_began + self.hold + self.interval - begun)
        return max(left, 0.001)

    def _in_grace(self) -> bool:
        return self.grace and self.run_began is not None and self.run_began <= self.deadline

    def _in_time(self, ended: float) -> bool:
        return ended <= self.deadline or self._in_grace()


def run_check(check: Callable[[], Any]) -> tuple[bool, BaseException | None]:
    """Run a plain check: whether it passed, and what it raised.

    Raises:
        TypeError: the check is asynchronous.
    """
    try:
        outcome = check()
    except Exception as error:  # noqa: BLE001 - during an outage a check may raise anything
        return False, error
    if inspect.isawaitable(outcome):
        if inspect.iscoroutine(outcome):
            outcome.close()
        raise TypeError("wait_until() takes a plain check; await rto_timer.until(check) instead")
    return bool(outcome), None


async def run_check_async(
    check: Callable[[], Any], patience: float, clock: Clock
) -> tuple[bool, BaseException | None]:
    """Run a plain or asynchronous check, cancelled after ``patience`` seconds of a clock."""
    try:
        outcome = check()
        if inspect.isawaitable(outcome):
            async with clock.timeout(patience):
                outcome = await outcome
    except Exception as error:  # noqa: BLE001 - during an outage a check may raise anything
        return False, error
    return bool(outcome), None
