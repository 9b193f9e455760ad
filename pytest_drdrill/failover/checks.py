"""The endless checking of one endpoint, at a fixed rate, each check bounded by its timeout."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.failover.damping import FlapDamping, FlapPenalty
from pytest_drdrill.failover.decision import Candidate
from pytest_drdrill.failover.endpoint import HealthStatus
from pytest_drdrill.failover.foresight import foresight_of
from pytest_drdrill.failover.health import HealthTracker
from pytest_drdrill.failover.prober import ProbeResult
from pytest_drdrill.failover.shortage import refuse_shortage

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.failover.endpoint import ServiceEndpoint
    from pytest_drdrill.failover.foresight import Lull
    from pytest_drdrill.failover.pause import Pause
    from pytest_drdrill.failover.prober import Prober
    from pytest_drdrill.failover.timing import CheckGrid
    from pytest_drdrill.failover.watching import Watch


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
        watch: its held connection, or None where it is not watched.
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
        "watch",
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
        self.watch: Watch | None = None

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

    @property
    def is_settled(self) -> bool:
        """Whether another result like the last one would change nothing but its count."""
        tracker = self.tracker
        if tracker.status is HealthStatus.HEALTHY:
            return tracker.steady
        return tracker.status is HealthStatus.UNHEALTHY and not tracker.successes

    async def pass_over(self, lull: Lull) -> int:
        """Count what a lull passes over as if it were checked; returns how much that was."""
        try:
            await lull
        finally:
            self.tracker.repeat(lull.passed)
        return lull.passed


async def probe_in_time(watched: WatchedEndpoint, prober: Prober, clock: Clock) -> ProbeResult:
    """One check, failed when it takes longer than the timeout or ends in an ``OSError``.

    Raises:
        MonitorShortageError: the monitor itself lacks what the check takes.
    """
    try:
        async with clock.timeout(watched.timeout) as limit:
            return await prober.probe(watched.endpoint)
    except OSError as error:  # TimeoutError is one
        if limit.expired():
            return no_answer_within(watched.timeout)
        refuse_shortage(error, watched.endpoint.name)
        return ProbeResult(healthy=False, reason=str(error) or type(error).__name__)


def no_answer_within(timeout: float) -> ProbeResult:
    """What a check has found when its time was over."""
    return ProbeResult(healthy=False, reason=f"no answer within {format_seconds(timeout)}")


async def _answer(
    pause: Pause, watched: WatchedEndpoint, prober: Prober, clock: Clock
) -> ProbeResult:
    """One check, which answers a call of before; a failing one, of meanwhile too."""
    pause.forget()
    result = await probe_in_time(watched, prober, clock)
    if not result.healthy:
        pause.forget()
    return result


async def check_forever(  # noqa: PLR0913, PLR0917 - wired once
    watched: WatchedEndpoint,
    grid: CheckGrid,
    prober: Prober,
    clock: Clock,
    report: Callable[[WatchedEndpoint, ProbeResult], None],
    fast_interval: float | None = None,
    pause: Pause | None = None,
) -> None:
    """Check one endpoint at every point of its grid and report each result, until cancelled.

    While it is in transition the next check starts ``fast_interval`` seconds after the last one
    did, wherever the grid lies; then its checks are on the grid again. So they are after a check
    for which the pause before it was cut short; without a pause nobody can do that. A call is
    answered by any check that begins after it and by a failing one that was under way, since what
    follows that is settled; so it is while checks are fast already, which keep their distance.
    """
    take_turn = getattr(prober, "take_turn", None)  # of a PacedProber
    probe = probe_in_time if pause is None else partial(_answer, pause)
    foresight = foresight_of(prober, watched.endpoint, clock) if pause is None else None
    slot, result = 0, None
    start = grid.at(slot)
    is_fast = False
    while True:
        wait = start - clock.monotonic()
        if pause is not None and not is_fast and await pause.until(start):
            start = clock.monotonic()  # called up
            slot = grid.slot_at(start)
        elif wait <= 0:
            start -= wait  # it starts late
        elif (
            foresight is not None
            and result is not None
            and watched.is_settled
            and (lull := foresight.lull(result, wait, grid.interval, watched.timeout))
        ):
            slot += await watched.pass_over(lull)
            start = grid.at(slot)
        elif pause is None or is_fast:
            await clock.sleep(wait)
        if take_turn is not None:
            await take_turn()
            start = max(start, clock.monotonic())
        result = None if foresight is None else foresight.answer()
        if result is None:
            result = await probe(watched, prober, clock)
        report(watched, result)
        now = clock.monotonic()
        if fast_interval is not None and watched.tracker.in_transition:
            is_fast = True
            start = max(start + fast_interval, now)
            slot = grid.slot_at(start)
        else:
            is_fast = False
            slot = grid.after(slot, now)
            start = grid.at(slot)
