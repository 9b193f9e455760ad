"""When checks happen, and how long an outage stays unnoticed between them: arithmetic only."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class CheckGrid:
    """The starts of one endpoint's checks: ``start + k x interval``, whatever a check takes.

    Attributes:
        start: monotonic second of the first check.
        interval: seconds from the start of a check to the start of the next, above zero.
    """

    start: float
    interval: float

    def at(self, slot: int) -> float:
        """Monotonic second of a check, counted from 0; not a running sum, which would drift."""
        return self.start + slot * self.interval

    def after(self, slot: int, now: float) -> int:
        """The check to make after that of ``slot``, done by ``now``.

        It is the next one, even when it is due already. Of several that were missed, because the
        process was suspended, only the latest is made up for: a burst would count one mishap
        several times.
        """
        return max(slot + 1, int((now - self.start) // self.interval))

    def slot_at(self, moment: float) -> int:
        """The last check that this grid has at a moment or before it."""
        # A part in a million of the interval is what sums of floats are off by, and no more.
        return int((moment - self.start) / self.interval + 1e-6)


def phase(seed: int | str, name: str, jitter: timedelta) -> float:
    """Seconds by which an endpoint's checks are shifted, from 0 to the jitter; same seed, same.

    They are whole microseconds, so that checks lie on the grid of a virtual clock.
    """
    if not jitter:
        return 0.0
    drawn = random.Random(f"{seed}:{name}").random()  # noqa: S311 - no secret
    return round(drawn * jitter.total_seconds(), 6)


def detection_bounds(  # noqa: PLR0913 - the settings that matter
    failure_threshold: int,
    interval: timedelta,
    timeout: timedelta,
    jitter: timedelta,
    fast_interval: timedelta | None = None,
    *,
    watch: bool = False,
    by_watch: bool = False,
) -> tuple[timedelta, timedelta]:
    """Shortest and longest time from a disaster to its detection; see ``predicted_detection``."""
    more = failure_threshold - 1
    fast = interval if fast_interval is None else fast_interval
    shortest = more * fast
    if watch and fast_interval is None:
        # A check that was called up is beside the grid, so the next one may follow at once.
        shortest -= min(more, 1) * interval
    # Checks of one endpoint never overlap, so a slow one makes the next one late.
    longest = more * max(fast, timeout) + timeout
    if by_watch:
        return shortest, longest
    return max(shortest - jitter, timedelta(0)), interval + longest + jitter
