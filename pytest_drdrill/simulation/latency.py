"""How long a message is under way: the distributions that the field measures, drawn by a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

from pytest_drdrill.durations import format_duration, parse_duration

if TYPE_CHECKING:
    import random

_Shape: TypeAlias = Literal["constant", "uniform", "normal", "exponential", "lognormal"]

_MICROSECOND = timedelta(microseconds=1)
_Z99 = 2.3263478740408408
"""The 99th percentile of the standard normal distribution."""


@dataclass(frozen=True, slots=True)
class Latency:
    """A distribution of how long messages are under way.

    Made by one of its class methods. ``Latency.constant("20ms")`` takes always as long;
    ``uniform``, ``normal`` and ``exponential`` are those of ``tc netem`` and of queues, and
    ``lognormal``, whose long tail measured round trips have, is given by the two figures that
    dashboards show: the median and the 99th percentile. Whatever is drawn is zero or more, in whole
    microseconds.
    """

    _shape: _Shape
    _first: int
    _second: int = 0

    @classmethod
    def constant(cls, latency: str | timedelta) -> Latency:
        """Always the same.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration.
        """
        return cls("constant", _microseconds("latency", latency))

    @classmethod
    def uniform(cls, least: str | timedelta, most: str | timedelta) -> Latency:
        """Anything between two bounds, each as likely as the other.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, or the least is more than the most.
        """
        low, high = _microseconds("least", least), _microseconds("most", most)
        if low > high:
            raise ValueError(f"the least latency, {least!r}, is more than the most, {most!r}")
        return cls("uniform", low, high)

    @classmethod
    def normal(cls, mean: str | timedelta, deviation: str | timedelta) -> Latency:
        """Around a mean, with a standard deviation; what would be below zero is zero.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration.
        """
        return cls("normal", _microseconds("mean", mean), _microseconds("deviation", deviation))

    @classmethod
    def exponential(cls, mean: str | timedelta, *, least: str | timedelta = "0s") -> Latency:
        """A least that the distance takes, and a queue on top of it that empties at random.

        Args:
            mean: of all of it.
            least: the part that never varies.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, or a mean below the least.
        """
        low, middle = _microseconds("least", least), _microseconds("mean", mean)
        if middle < low:
            raise ValueError(f"the mean latency, {mean!r}, is below the least, {least!r}")
        return cls("exponential", low, middle - low)

    @classmethod
    def lognormal(cls, median: str | timedelta, p99: str | timedelta) -> Latency:
        """Half of the messages take less than the median, and one in a hundred more than the p99.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, a median of zero, or a 99th percentile below it.
        """
        middle, high = _microseconds("median", median), _microseconds("p99", p99)
        if not middle:
            raise ValueError("a lognormal latency needs a median above zero")
        if high < middle:
            raise ValueError(f"the 99th percentile, {p99!r}, is below the median, {median!r}")
        return cls("lognormal", middle, high)

    @property
    def fixed(self) -> int | None:
        """The microseconds that it always takes; None where chance has a say."""
        if self._shape == "constant" or (self._shape == "uniform" and self._first == self._second):
            return self._first
        return None

    def draw(self, chance: random.Random) -> int:
        """How many microseconds the next message takes; a constant one draws nothing."""
        if self._shape == "constant":
            return self._first
        if self._shape == "uniform":
            return chance.randint(self._first, self._second)
        if self._shape == "normal":
            return max(0, round(chance.normalvariate(self._first, self._second)))
        if self._shape == "exponential":
            return self._first + round(-math.log(1.0 - chance.random()) * self._second)
        spread = math.log(self._second / self._first) / _Z99
        return round(self._first * math.exp(chance.normalvariate(0.0, spread)))

    def __str__(self) -> str:
        first, second = (
            format_duration(each * _MICROSECOND) for each in (self._first, self._second)
        )
        return {
            "constant": first,
            "uniform": f"{first} to {second}",
            "normal": f"{first} ± {second}",
            "exponential": f"{first} and {second} on average on top",
            "lognormal": f"{first}, p99 {second}",
        }[self._shape]


def latency_of(given: Latency | str | timedelta) -> Latency:
    """A latency, where a duration is a constant one.

    Raises:
        TypeError: neither a latency nor a duration with a unit.
        ValueError: no duration.
    """
    return given if isinstance(given, Latency) else Latency.constant(given)


def _microseconds(name: str, given: str | timedelta) -> int:
    try:
        return parse_duration(given) // _MICROSECOND
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
