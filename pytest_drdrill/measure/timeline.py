"""What happened when: the one timeline of a drill, which all of its parts write to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from pytest_drdrill.text import NAME_LIMIT, storable

if TYPE_CHECKING:
    from datetime import datetime

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.measure.outage import Outage
    from pytest_drdrill.measure.records import EventRecord

EVENT_LIMIT = 2_000
"""Events kept; a runaway loop must not fill the evidence. What came after is counted, and of it
only what a verdict rests on is kept."""


class Moment(NamedTuple):
    """One instant on both scales: ``at`` in monotonic seconds for spans, ``utc`` for comparison."""

    at: float
    utc: datetime


def now(clock: Clock) -> Moment:
    """A clock's present moment, on both scales."""
    return Moment(clock.monotonic(), clock.now())


class Timeline:
    """Events of one drill in the order they happened, in seconds since it started.

    Attributes:
        clock: where its time comes from.
        started: the drill's start.
        outages: each disaster and the recovery from it, in order.
    """

    __slots__ = ("_dropped", "_events", "clock", "outages", "started")

    def __init__(self, clock: Clock, started: Moment | None = None) -> None:
        self.clock = clock
        self._restart(started)

    def _restart(self, started: Moment | None = None) -> None:
        """Forget everything and start now, or have started at a moment that has passed."""
        self._events: list[EventRecord] = []
        self._dropped = 0
        self.outages: list[Outage] = []
        self.started = started or now(self.clock)

    @property
    def disasters(self) -> list[Moment]:
        """The moment of each disaster, in order."""
        return [outage.disaster for outage in self.outages]

    @property
    def recoveries(self) -> list[float]:
        """Monotonic seconds of the recovery from each disaster, as known by now; else infinity."""
        moments = (outage.recovered_at for outage in self.outages)
        return [math.inf if moment is None else moment for moment in moments]

    def moment(self) -> Moment:
        """Now, on both scales."""
        return now(self.clock)

    def record(
        self, event: str, detail: object = "", *, at: float | None = None, vital: bool = False
    ) -> None:
        """Add an event, now or at a moment of the monotonic clock (which may lie in the past).

        A vital one, on which a verdict rests, is kept even where the timeline is full.
        """
        if len(self._events) >= EVENT_LIMIT and not vital:
            self._dropped += 1
            return
        when = self.clock.monotonic() if at is None else at
        self._events.append(
            {
                "at_s": self.since_start(when),
                "event": storable(event, NAME_LIMIT),
                "detail": storable(detail),
            }
        )

    def since_start(self, at: float) -> float:
        """Seconds from the drill's start to a moment of the monotonic clock."""
        return max(0.0, round(at - self.started.at, 6))

    def events(self) -> list[EventRecord]:
        """All events by time; the last one says how many more there were beyond the limit."""
        events = sorted(self._events, key=lambda event: event["at_s"])
        if self._dropped:
            last: EventRecord = {
                "at_s": events[-1]["at_s"],
                "event": "timeline full",
                "detail": f"{self._dropped} later events were left out",
            }
            events.append(last)
        return events
