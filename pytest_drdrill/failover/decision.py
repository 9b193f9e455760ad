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
        suppressed_until: monotonic second until which its health is not trusted, since it flaps,
            or None.
    """

    status: HealthStatus
    steady_since: float | None = None
    suppressed_until: float | None = None


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
    candidates: Sequence[Candidate],
    active: int | None,
    failback_after: float | None,
    now: float,
    not_before: float = 0.0,
) -> Decision:
    """Choose the endpoint that should be active.

    An active endpoint keeps the traffic until it is unhealthy; unknown is not unhealthy, since
    traffic that flows is not taken away for want of knowledge. One that is unhealthy gives it to
    the first healthy one that is not suppressed, else to the first healthy one, or to none. A
    preferred one gets it back once it has been steady for ``failback_after`` seconds and is not
    suppressed.

    Args:
        candidates: the endpoints, the preferred one first.
        active: place of the active one among them, or None.
        failback_after: seconds, 0 for at once, None for never (an operator will say so).
        now: the monotonic second.
        not_before: monotonic second before which no failback is tried, as one has failed.
    """
    if active is None or candidates[active].status is HealthStatus.UNHEALTHY:
        trusted = [each if is_trusted(each, now) else _UNTRUSTED for each in candidates]
        target = first_healthy(trusted)
        if target is None:
            target = first_healthy(candidates)
        return Decision(target, "stay" if target == active else "failover")
    waits: list[float] = []
    if failback_after is not None:
        for place, candidate in enumerate(candidates[:active]):
            if candidate.status is HealthStatus.HEALTHY and candidate.steady_since is not None:
                moments = (
                    candidate.steady_since + failback_after,
                    candidate.suppressed_until or 0.0,
                    not_before,
                )
                wait = max(moments) - now
                if wait < RESOLUTION:
                    return Decision(place, "failback")
                waits.append(wait)
    return Decision(active, "stay", min(waits, default=None))


_UNTRUSTED = Candidate(HealthStatus.UNKNOWN)


def is_trusted(candidate: Candidate, now: float) -> bool:
    """Whether its health counts, as it does not flap."""
    until = candidate.suppressed_until
    return until is None or until - now < RESOLUTION


def first_healthy(candidates: Sequence[Candidate]) -> int | None:
    """Place of the preferred one among the healthy, or None."""
    for place, candidate in enumerate(candidates):
        if candidate.status is HealthStatus.HEALTHY:
            return place
    return None
