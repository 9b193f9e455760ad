"""What those who watch an outage enter into it: looks, a recovery, or patience that has ended."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_duration, format_seconds, parse_duration
from pytest_drdrill.measure.outage import not_recovered
from pytest_drdrill.measure.watch import default_deadline
from pytest_drdrill.text import one_line, storable

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_drdrill.measure.outage import Outage, Recovery
    from pytest_drdrill.measure.timeline import Timeline
    from pytest_drdrill.measure.verdicts import NotRecovered, RTOExceeded
    from pytest_drdrill.objectives import Objectives


class OutageWatches:
    """The book that the watches of a drill's outages keep: ``until``, and every canary.

    Every watch has a say. Of several the latest recovery decides, and one that gave up leaves the
    outage unrecovered, unless a watch that was begun after that has seen the service hold.

    Args:
        timeline: of the drill.
        objectives: what was promised.
        assumed: gives the time that people would need.
    """

    def __init__(
        self, timeline: Timeline, objectives: Objectives, assumed: Callable[[], timedelta]
    ) -> None:
        self._timeline = timeline
        self._objectives = objectives
        self._assumed = assumed

    def hold_s(self, hold: str | timedelta | None) -> float:
        """Seconds that a recovery has to hold: as asked for, else as the ``rto`` marker says."""
        held = self._objectives.hold if hold is None else parse_duration(hold)
        return held.total_seconds() if held is not None else 0.0

    def deadline(self, outage: Outage, timeout: str | timedelta | None) -> float:
        """Monotonic seconds at which patience with an outage ends that is looked at from now on.

        Args:
            outage: an open one.
            timeout: from now on; None as of ``until``.
        """
        now = self._timeline.clock.monotonic()
        if timeout is not None:
            return now + parse_duration(timeout).total_seconds()
        return default_deadline(now, outage.disaster.at, self._target(outage))

    def attend(self, outage: Outage) -> int:
        """Begin a watch, without whose end the outage is not measured; returns its place."""
        outage.watches += 1
        outage.watching += 1
        return outage.watches

    def looked(self, outage: Outage, *, passed: bool, why: str = "a watched check failed") -> None:
        """Enter what one look saw, now; the first one that failed is on the timeline."""
        if passed:
            outage.down_seen = bool(outage.down_seen)
        elif not outage.down_seen:
            outage.down_seen = True
            self._timeline.record("down", why, vital=True)

    def settle(self, outage: Outage, place: int, recovery: Recovery, blind: float) -> None:
        """End a watch that saw the service back; of several, the latest recovery decides.

        Args:
            outage: what it watched.
            place: of the watch, as ``attend`` gave it.
            recovery: what it saw.
            blind: seconds of the longest time in which nobody looked.
        """
        began, resolution, held = recovery
        outage.watching = max(0, outage.watching - 1)
        if place > outage.gave_up:
            outage.gave_up = 0  # the service was down then, and this one has seen it back since
        if not outage.down_seen and not outage.expect_downtime:
            # It never went down: no outage, to within the longest time that nobody looked.
            began, resolution = outage.disaster.at, blind
        # A later watch of the same outage can only prolong it, and blur it.
        if resolution is not None and outage.recovered_at == began:
            outage.resolution = max(resolution, outage.resolution or 0.0)
        if outage.recovered_at is None or began > outage.recovered_at:
            outage.recovered_at, outage.resolution = began, resolution
        outage.held = held if outage.held is None else min(outage.held, held)
        self._timeline.record("recovered", outage.name, at=began, vital=True)
        if held:
            self._timeline.record("held", f"for {format_seconds(held)}")

    def gave_up(
        self, outage: Outage, now: float, error: BaseException | None
    ) -> RTOExceeded | NotRecovered:
        """End a watch that lost patience; the verdict that it raises.

        Args:
            outage: what it watched.
            now: monotonic seconds at which it gave up.
            error: what the last look raised, or None.
        """
        # What other watches saw does not stand: the service is down.
        outage.recovered_at = outage.resolution = outage.held = None
        outage.watching, outage.gave_up = max(0, outage.watching - 1), outage.watches
        elapsed = timedelta(seconds=now - outage.disaster.at)
        last = ""
        if error is not None:
            last = one_line(f"; the last check raised {type(error).__name__}: {storable(error)}")
        self._timeline.record("gave up waiting", f"after {format_duration(elapsed)}{last}")
        return not_recovered(elapsed, self._assumed(), self._target(outage), last)

    def _target(self, outage: Outage) -> timedelta | None:
        return self._objectives.rto if outage.target is None else outage.target
