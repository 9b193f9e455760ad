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
    """Seconds by which an endpoint's checks are shifted, from 0 to the jitter; same seed, same."""
    if not jitter:
        return 0.0
    return random.Random(f"{seed}:{name}").random() * jitter.total_seconds()  # noqa: S311 - no secret


def detection_bounds(
    failure_threshold: int,
    interval: timedelta,
    timeout: timedelta,
    jitter: timedelta,
    fast_interval: timedelta | None = None,
) -> tuple[timedelta, timedelta]:
    """Shortest and longest time from a disaster to its detection; see ``predicted_detection``."""
    more = failure_threshold - 1
    fast = interval if fast_interval is None else fast_interval
    # Checks of one endpoint never overlap, so a slow one makes the next one late.
    longest = interval + more * max(fast, timeout) + timeout + jitter
    return max(more * fast - jitter, timedelta(0)), longest
