"""Which endpoint should be the active one: a pure function of what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from pytest_drdrill.failover.endpoint import HealthStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

Failback: TypeAlias = Literal["automatic", "delayed", "manual"]

RESOLUTION = 1e-6
"""Seconds below which a waiting time counts as over: what durations and virtual clocks resolve."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One endpoint, as the decision sees it.

    Attributes:
        status: what its checks say.
        steady_since: monotonic second since which the last checks alone would bring it back from
            an outage, or None while they would not.
    """

    status: HealthStatus
    steady_since: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now.

    Attributes:
        target: place of the endpoint that should be active, or None for no endpoint.
        kind: ``stay``, ``failover`` (the active one failed, or there was none) or ``failback`` (a
            preferred one is back).
        ask_again_in: seconds after which time alone may change the answer, or None.
    """

    target: int | None
    kind: Literal["stay", "failover", "failback"]
    ask_again_in: float | None = None


def decide(
    candidates: Sequence[Candidate], active: int | None, failback_after: float | None, now: float
) -> Decision:
    """Choose the endpoint that should be active.

    An active endpoint keeps the traffic until it is unhealthy; unknown is not unhealthy, since
    traffic that flows is not taken away for want of knowledge. One that is unhealthy gives it to
    the first healthy one, or to none. A preferred one gets it back once it has been steady for
    ``failback_after`` seconds.

    Args:
        candidates: the endpoints, the preferred one first.
        active: place of the active one among them, or None.
        failback_after: seconds, 0 for at once, None for never (an operator will say so).
        now: the monotonic second.
    """
    if active is None or candidates[active].status is HealthStatus.UNHEALTHY:
        target = first_healthy(candidates)
        return Decision(target, "stay" if target == active else "failover")
    waits: list[float] = []
    if failback_after is not None:
        for place, candidate in enumerate(candidates[:active]):
            if candidate.status is HealthStatus.HEALTHY and candidate.steady_since is not None:
                wait = candidate.steady_since + failback_after - now
                if wait < RESOLUTION:
                    return Decision(place, "failback")
                waits.append(wait)
    return Decision(active, "stay", min(waits, default=None))


def first_healthy(candidates: Sequence[Candidate]) -> int | None:
    """Place of the preferred one among the healthy, or None."""
    for place, candidate in enumerate(candidates):
        if candidate.status is HealthStatus.HEALTHY:
            return place
    return None
