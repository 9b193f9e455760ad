"""The endless checking of one endpoint, at a fixed rate, each check bounded by its timeout."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.failover.damping import FlapDamping, FlapPenalty
from pytest_drdrill.failover.decision import Candidate
from pytest_drdrill.failover.endpoint import HealthStatus
from pytest_drdrill.failover.health import HealthTracker
from pytest_drdrill.failover.prober import ProbeResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.failover.endpoint import ServiceEndpoint
    from pytest_drdrill.failover.prober import Prober
    from pytest_drdrill.failover.timing import CheckGrid


class Observation(NamedTuple):
    """What one check changed: the status, the trust in the endpoint, anything for a decision."""

    changed: bool
    suppressed: bool
    matters: bool


class WatchedEndpoint:
    """An endpoint and what its checks have said so far.

    Attributes:
        endpoint: the endpoint, the very object that the manager was given.
        timeout: seconds that a check may take.
        tracker: its counts and its status.
        candidate: the same, as the decision needs it.
        last_failure: why its last failed check failed.
        penalty: for how often it went down, or None without flap damping.
    """

    __slots__ = (
        "_damping",
        "_thresholds",
        "candidate",
        "endpoint",
        "last_failure",
        "penalty",
        "timeout",
        "tracker",
    )

    def __init__(
        self,
        endpoint: ServiceEndpoint,
        timeout: float,
        thresholds: tuple[int, int],
        damping: FlapDamping | None,
    ) -> None:
        self.endpoint = endpoint
        self.timeout = timeout
        self._thresholds = thresholds
        self._damping = damping
        self.forget()

    def forget(self) -> None:
        """Go back to unknown."""
        self.tracker = HealthTracker(*self._thresholds)
        self.candidate = Candidate(self.tracker.status)
        self.last_failure = ""
        self.penalty = None if self._damping is None else FlapPenalty(self._damping)

    def observe(self, result: ProbeResult, now: float) -> Observation:
        """Take in one result."""
        tracker, before = self.tracker, self.tracker.status
        changed = tracker.observe(result.healthy)
        if not result.healthy:
            self.last_failure = result.reason
        suppressed = (
            changed
            and before is HealthStatus.HEALTHY
            and self.penalty is not None
            and self.penalty.went_down(now)
        )
        matters = changed or tracker.steady is (self.candidate.steady_since is None)
        if matters:
            until = None if self.penalty is None else self.penalty.suppressed_until
            self.candidate = Candidate(tracker.status, now if tracker.steady else None, until)
        return Observation(changed, suppressed, matters)


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


async def check_forever(  # noqa: PLR0913, PLR0917 - wired once
    watched: WatchedEndpoint,
    grid: CheckGrid,
    prober: Prober,
    clock: Clock,
    report: Callable[[WatchedEndpoint, ProbeResult], None],
    fast_interval: float | None = None,
) -> None:
    """Check one endpoint at every point of its grid and report each result, until cancelled.

    While it is in transition the next check starts ``fast_interval`` seconds after the last one
    did, wherever the grid lies; then its checks are on the grid again.
    """
    slot = 0
    start = grid.at(slot)
    while True:
        wait = start - clock.monotonic()
        if wait > 0:
            await clock.sleep(wait)
        else:
            start -= wait  # it starts late
        report(watched, await probe_in_time(watched, prober, clock))
        now = clock.monotonic()
        if fast_interval is not None and watched.tracker.in_transition:
            start = max(start + fast_interval, now)
            slot = grid.slot_at(start)
        else:
            slot = grid.after(slot, now)
            start = grid.at(slot)
