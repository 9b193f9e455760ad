"""What a failover manager or a cluster did, as plain data that a timeline can show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime

EventKind: TypeAlias = Literal[
    "monitoring_started",
    "monitoring_stopped",
    "monitoring_failed",
    "endpoint_healthy",
    "endpoint_unhealthy",
    "endpoint_suppressed",
    "connection_lost",
    "endpoint_unwatched",
    "endpoint_fenced",
    "endpoint_promoted",
    "traffic_switched",
    "failover",
    "failback",
    "no_healthy_endpoint",
    "failover_failed",
    "failover_undone",
    "endpoint_added",
    "endpoint_draining",
    "endpoint_removed",
    "panic_started",
    "panic_ended",
    "switch_failed",
    "callback_failed",
]


@dataclass(frozen=True, slots=True)
class FailoverEvent:
    """One thing that happened to the watched endpoints or to the traffic.

    Attributes:
        moment: when, in UTC, aware; for people.
        monotonic: when, in seconds of the manager's clock; the difference of two is a span.
        kind: ``monitoring_started``, ``monitoring_stopped``, ``monitoring_failed``,
            ``endpoint_healthy``, ``endpoint_unhealthy`` (an outage was detected),
            ``endpoint_suppressed`` (it flaps, and is not trusted for a while), ``connection_lost``
            (the one that watches it; a check follows at once), ``endpoint_unwatched`` (it holds no
            connection, so its checks alone tell), ``endpoint_fenced`` (with the proof as the
            reason), ``endpoint_promoted``, ``traffic_switched`` (the switch sends it the traffic),
            ``failover`` (traffic left an endpoint that failed), ``failback`` (traffic went back to
            a preferred one), ``no_healthy_endpoint`` (nothing is active any more),
            ``failover_failed`` (a switch did not succeed), ``failover_undone`` (one that was done
            in part was undone, and the active one leads again), ``endpoint_added`` (traffic is
            shared with it from now on), ``endpoint_draining``, ``endpoint_removed`` (no traffic
            goes to it any more), ``panic_started`` (too few are healthy for health to count),
            ``panic_ended``, ``switch_failed`` (a change of the rotation did not succeed) or
            ``callback_failed``.
        endpoint: name of the endpoint that it is about; None where traffic moves, or nothing does.
        old: name of the endpoint that was active before, or None.
        new: name of the endpoint that is active from now on (that was to be, for
            ``failover_failed``), or None.
        reason: why, as a sentence for a reader; may be empty.
    """

    moment: datetime
    monotonic: float
    kind: EventKind
    endpoint: str | None = None
    old: str | None = None
    new: str | None = None
    reason: str = ""


class Record(Protocol):
    """Where what happens is written down."""

    def __call__(
        self,
        kind: EventKind,
        *,
        endpoint: str | None = None,
        old: str | None = None,
        new: str | None = None,
        reason: str = "",
    ) -> None:
        """Record one event, now."""
        ...
