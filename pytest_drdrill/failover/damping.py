"""Flap damping: an endpoint that goes down again and again is not trusted for a while."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_duration, parse_duration

if TYPE_CHECKING:
    from datetime import timedelta


@dataclass(frozen=True)
class FlapDamping:
    """How often an endpoint may go down before its recoveries count for nothing for a while.

    Each time that a healthy endpoint goes down adds one to its penalty, which halves with every
    half-life. From ``suppress_at`` on it is suppressed: traffic does not go back to it, and a
    failover takes it only where no other one is healthy. That ends when the penalty has fallen to
    ``reuse_at``, after ``half_life x log2(penalty / reuse_at)``, or after ``max_suppress``, the
    ceiling that the penalty never exceeds.

    Attributes:
        suppress_at: the penalty, a number of outages, from which an endpoint is suppressed.
        reuse_at: the penalty at which it is no longer; above zero and below ``suppress_at``.
        half_life: in which a penalty halves; a timedelta, or a duration such as ``"15m"``.
        max_suppress: the longest time for which one outage can suppress.

    Source: RFC 2439, BGP Route Flap Damping; the defaults are those of Cisco IOS, which counts 1000
    for each flap, suppresses at 2000 and reuses at 750, with a half-life of 15 minutes and at most
    an hour.

    Raises:
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: a number out of its range, or no duration above zero.
    """

    suppress_at: float = 2.0
    reuse_at: float = 0.75
    half_life: timedelta = "15m"  # type: ignore[assignment] # parsed below; __init__ is typed there
    max_suppress: timedelta = "1h"  # type: ignore[assignment] # likewise

    if TYPE_CHECKING:
        # What a caller may pass; the fields above say what is kept.
        def __init__(
            self,
            suppress_at: float = 2.0,
            reuse_at: float = 0.75,
            half_life: str | timedelta = "15m",
            max_suppress: str | timedelta = "1h",
        ) -> None: ...

    def __post_init__(self) -> None:
        for name in ("suppress_at", "reuse_at"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"flap damping: {name} must be a number, not {value!r}")
        if not 0 < self.reuse_at < self.suppress_at < math.inf:
            raise ValueError(
                "flap damping: reuse_at must be above zero and below suppress_at, not "
                f"{self.reuse_at} and {self.suppress_at}"
            )
        for name in ("half_life", "max_suppress"):
            try:
                span = parse_duration(getattr(self, name))
            except (TypeError, ValueError) as error:
                raise type(error)(f"flap damping: {name}: {error}") from None
            if not span:
                raise ValueError(f"flap damping: {name} must be above zero")
            object.__setattr__(self, name, span)
        if self.ceiling < self.suppress_at:
            raise ValueError(
                f"flap damping: max_suppress of {format_duration(self.max_suppress)} is shorter "
                "than the time from suppress_at to reuse_at, so nothing would ever be suppressed"
            )

    @property
    def ceiling(self) -> float:
        """The penalty that is never exceeded, from which it takes ``max_suppress`` to be reused."""
        halvings = self.max_suppress / self.half_life
        # Beyond a thousand halvings a float would overflow, and nobody lives to see it.
        return self.reuse_at * math.exp2(min(halvings, 1000.0))


class FlapPenalty:
    """The penalty of one endpoint.

    Attributes:
        suppressed_until: the monotonic second until which it is suppressed, or None.
    """

    __slots__ = ("_at", "_damping", "_value", "suppressed_until")

    def __init__(self, damping: FlapDamping) -> None:
        self._damping = damping
        self._value = 0.0
        self._at = 0.0
        self.suppressed_until: float | None = None

    def value(self, now: float) -> float:
        """The penalty at a monotonic second."""
        half_lives = (now - self._at) / self._damping.half_life.total_seconds()
        # Where a float is at its end, so is the penalty.
        return self._value * math.exp2(-min(half_lives, 1000.0))

    def went_down(self, now: float) -> bool:
        """Count one outage; returns whether that suppresses the endpoint, or does so for longer."""
        damping = self._damping
        self._value = min(self.value(now) + 1, damping.ceiling)
        self._at = now
        suppressed = self.suppressed_until is not None and now < self.suppressed_until
        if not suppressed and self._value < damping.suppress_at:
            return False
        halvings = math.log2(self._value / damping.reuse_at)
        self.suppressed_until = now + halvings * damping.half_life.total_seconds()
        return True
