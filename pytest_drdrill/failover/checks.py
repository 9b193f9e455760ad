"""The endless checking of one endpoint, at a fixed rate, each check bounded by its timeout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.failover.decision import Candidate
from pytest_drdrill.failover.health import HealthTracker
from pytest_drdrill.failover.prober import ProbeResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.failover.endpoint import ServiceEndpoint
    from pytest_drdrill.failover.prober import Prober
    from pytest_drdrill.failover.timing import CheckGrid


class WatchedEndpoint:
    """An endpoint and what its checks have said so far.

    Attributes:
        endpoint: the endpoint, the very object that the manager was given.
        timeout: seconds that a check may take.
        tracker: its counts and its status.
        candidate: the same, as the decision needs it.
        last_failure: why its last failed check failed.
    """

    __slots__ = ("_thresholds", "candidate", "endpoint", "last_failure", "timeout", "tracker")

    def __init__(
        self, endpoint: ServiceEndpoint, timeout: float, thresholds: tuple[int, int]
    ) -> None:
        self.endpoint = endpoint
        self.timeout = timeout
        self._thresholds = thresholds
        self.forget()

    def forget(self) -> None:
        """Go back to unknown."""
        self.tracker = HealthTracker(*self._thresholds)
        self.candidate = Candidate(self.tracker.status)
        self.last_failure = ""

    def observe(self, result: ProbeResult, now: float) -> tuple[bool, bool]:
        """Take in one result; returns whether the status changed, and whether the candidate did."""
        tracker = self.tracker
        changed = tracker.observe(result.healthy)
        if not result.healthy:
            self.last_failure = result.reason
        turned = tracker.steady is (self.candidate.steady_since is None)
        if changed or turned:
            self.candidate = Candidate(tracker.status, now if tracker.steady else None)
        return changed, changed or turned


async def probe_in_time(watched: WatchedEndpoint, prober: Prober, clock: Clock) -> ProbeResult:
    """One check, failed when it takes longer than the timeout or ends in an ``OSError``."""
    try:
        async with clock.timeout(watched.timeout) as limit:
            return await prober.probe(watched.endpoint)
    except OSError as error:  # TimeoutError is one
        if limit.expired():
            reason = f"no answer within {format_seconds(watched.timeout)}"
        else:
            reason = str(error) or type(error).__name__
        return ProbeResult(healthy=False, reason=reason)


async def check_forever(
    watched: WatchedEndpoint,
    grid: CheckGrid,
    prober: Prober,
    clock: Clock,
    report: Callable[[WatchedEndpoint, ProbeResult], None],
) -> None:
    """Check one endpoint at every point of its grid and report each result, until cancelled."""
    slot = 0
    while True:
        wait = grid.at(slot) - clock.monotonic()
        if wait > 0:
            await clock.sleep(wait)
        report(watched, await probe_in_time(watched, prober, clock))
        slot = grid.after(slot, clock.monotonic())
