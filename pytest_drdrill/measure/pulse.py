"""Whether an event loop keeps time; a pure account, which knows no clock."""

from __future__ import annotations

import math


class Pulse:
    """A beat that is due at fixed times; where it comes late, the loop stood still.

    As while a drill calls something that blocks: what came meanwhile is seen late, and what was to
    be given up meanwhile may have been answered.

    Args:
        interval: seconds by which a beat may be late and tell nothing.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._due = math.inf
        self._stood = (math.inf, -math.inf)

    def rest(self, due: float) -> None:
        """The next beat is due at a moment of the clock."""
        self._due = due

    def stop(self) -> None:
        """No further beat is due."""
        self._due = math.inf

    def beat(self, now: float) -> float:
        """It has come; returns for how many seconds the loop stood still, 0.0 if it kept time."""
        late = now - self._due
        if late <= self._interval:
            return 0.0
        self._stood = (self._due, now)
        return late

    def hid(self, deadline: float, now: float, least: float) -> bool:
        """Whether the loop stood still up to a deadline, and for so many seconds before it.

        Args:
            deadline: which has just been noticed to have passed.
            now: when it was.
            least: that many seconds.
        """
        since, until = self._stood
        if now - self._due > self._interval:  # it goes on again, and the beat is yet to come
            since, until = self._due, now
        return since <= deadline - least and deadline <= until
