"""Clocks that drift: the time of one host, which runs fast or slow and can be set."""

from __future__ import annotations

import copy
import math
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from pytest_drdrill.durations import format_duration, parse_duration
from pytest_drdrill.simulation.clock import VIRTUAL_EPOCH
from pytest_drdrill.simulation.place import MICROSECOND, now_in
from pytest_drdrill.simulation.steps import Steps

if TYPE_CHECKING:
    import asyncio
    from datetime import datetime

    from pytest_drdrill.simulation.world import SimulatedWorld

_MILLION = 1_000_000


class DriftingClock:
    """The clock of a host, over the time of its world: right until told otherwise; a ``Clock``.

    It runs fast or slow by parts per million, as quartz does (tens of them; a few hundred where it
    is warm), and its calendar can be set, as by an operator or by NTP; as on a real machine, what
    it measures spans by is never set.

    A wait by it lasts as long as the clock thinks, at the rate that it has when the wait begins.

    Args:
        world: whose time it tells, after its own fashion.
        name: of the host.
    """

    def __init__(self, world: SimulatedWorld, name: str) -> None:
        self._world = world
        self._name = name
        # What it shows at a moment from which on it runs at a rate.
        self._rate: Steps[tuple[int, Fraction, Fraction]] = Steps((0, Fraction(), Fraction()))
        self._ahead = timedelta()

    # What a drill tells it.

    def drift(self, ppm: float) -> None:
        """It gains so many microseconds a second from now on; a negative number loses them.

        Raises:
            TypeError: no number.
            ValueError: it would stand still or run backwards, or no finite number.
        """
        if isinstance(ppm, bool) or not isinstance(ppm, int | float):
            raise TypeError(f"drift() takes parts per million such as -200, not {ppm!r:.80}")
        rate = Fraction(ppm).limit_denominator(1000) if math.isfinite(ppm) else None
        if rate is None or rate <= -_MILLION:  # as rounded, which is the rate that it has
            raise ValueError(f"drift({ppm!r}): a clock runs forward, at -999999.999 ppm or more")
        now = now_in(self._world)
        self._rate.set(now, (now, self._shown(now), rate))
        self._world.plan(now, self._name, "clock drifts", f"{ppm:+g} ppm")

    def step(self, by: str | timedelta) -> None:
        """Its calendar is set forward, or with a leading ``-`` back; spans are as they were.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration.
        """
        told = _signed(by)
        self._ahead += told
        sign = "-" if told < timedelta() else "+"
        self._world.plan(
            now_in(self._world), self._name, "clock is set", f"{sign}{format_duration(abs(told))}"
        )

    # A clock.

    def now(self) -> datetime:
        """The moment that it shows, in UTC, aware."""
        return VIRTUAL_EPOCH + self._ahead + math.floor(self._now()) * MICROSECOND

    def monotonic(self) -> float:
        """Seconds by its own count; never goes back, and is never set."""
        return float(self._now()) / 1e6

    async def sleep(self, seconds: float) -> None:
        """Wait for seconds by its own count."""
        await self._world.clock.sleep(self._true(seconds))

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        """Bound asynchronous code by seconds of its own count."""
        return self._world.clock.timeout(None if seconds is None else self._true(seconds))

    def block(self, seconds: float) -> None:
        """Let seconds by its own count pass in synchronous code."""
        self._world.clock.block(self._true(seconds))

    @property
    def era(self) -> object:
        """What it counts from: another thing once its world has begun anew."""
        return self._world.clock.era

    @property
    def error(self) -> timedelta:
        """By how much it is ahead of the world's time, all told; negative where it is behind."""
        return self.now() - self._world.clock.now()

    # Inside.

    def _now(self) -> Fraction:
        return self._shown(now_in(self._world))

    def _shown(self, moment: int) -> Fraction:
        since, shown, ppm = self._rate.at(moment)
        passed = moment - since
        return shown + passed + passed * ppm / _MILLION

    def _true(self, seconds: float) -> float:
        """How long a span by its own count takes in truth: to the microsecond, never less."""
        _, _, ppm = self._rate.at(now_in(self._world))
        if seconds <= 0 or not math.isfinite(seconds):
            return seconds
        return math.ceil(Fraction(round(seconds * 1e6)) / (1 + ppm / _MILLION)) / 1e6

    # What its world keeps of it.

    def kept(self) -> Any:
        """A copy of how it is now, for a world that begins anew."""
        return copy.deepcopy(self._rate), self._ahead

    def begin_anew(self, kept: Any) -> None:
        """Be again as it was when that copy was made."""
        rate, self._ahead = kept
        self._rate = copy.deepcopy(rate)


def _signed(by: str | timedelta) -> timedelta:
    if isinstance(by, timedelta):
        return by
    if isinstance(by, str) and by.strip().startswith("-"):
        return -parse_duration(by.strip()[1:])
    return parse_duration(by.strip().removeprefix("+") if isinstance(by, str) else by)
