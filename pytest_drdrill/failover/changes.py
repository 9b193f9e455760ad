"""What is told of an endpoint whose health has changed: the events, and a reason for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.failover.endpoint import HealthStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.failover.checks import Observation, WatchedEndpoint
    from pytest_drdrill.failover.events import EventKind


def told_changes(
    watched: WatchedEndpoint, seen: Observation, clock: Clock
) -> Iterator[tuple[EventKind, str]]:
    """The kind and the reason of each event that a change of health comes to, in order.

    Args:
        watched: the endpoint, which has observed the check already.
        seen: what that check has changed.
        clock: asked only when a suppression is told of, so that it tells what is left by then.
    """
    tracker = watched.tracker
    if tracker.status is HealthStatus.HEALTHY:
        yield "endpoint_healthy", f"{_count(tracker.successes, 'good check')} in a row"
        return
    failed = _count(tracker.failures, "failed check")
    yield "endpoint_unhealthy", f"{failed} in a row: {watched.last_failure}"
    if seen.suppressed:
        penalty = watched.penalty
        assert penalty is not None
        assert penalty.suppressed_until is not None
        now = clock.monotonic()
        left = format_seconds(penalty.suppressed_until - now)
        flaps = f"it flaps, with a penalty of {penalty.value(now):.2f}"
        yield "endpoint_suppressed", f"{flaps}: not trusted for {left}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
