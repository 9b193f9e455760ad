"""What a failover manager did, as plain data that a timeline can show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime

EventKind: TypeAlias = Literal[
    "monitoring_started",
    "monitoring_stopped",
    "monitoring_failed",
    "endpoint_healthy",
    "endpoint_unhealthy",
    "failover",
    "failback",
    "no_healthy_endpoint",
    "failover_failed",
    "callback_failed",
]


@dataclass(frozen=True, slots=True)
class FailoverEvent:
    """One thing that happened to the watched endpoints or to the traffic.

    Attributes:
        moment: when, in UTC, aware; for people.
        monotonic: when, in seconds of the manager's clock; the difference of two is a span.
        kind: ``monitoring_started``, ``monitoring_stopped``, ``monitoring_failed``,
            ``endpoint_healthy``, ``endpoint_unhealthy`` (an outage was detected), ``failover``
            (traffic left an endpoint that failed), ``failback`` (traffic went back to a preferred
            one), ``no_healthy_endpoint`` (nothing is active any more), ``failover_failed`` (a
            switch did not succeed) or ``callback_failed``.
        endpoint: name of the endpoint whose health changed; None for all other kinds.
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
