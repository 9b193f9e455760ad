"""What is wrong with an endpoint, as a function of time: nothing needs to happen for it to change.

Times are whole microseconds since the simulation began.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

Failure: TypeAlias = Literal["refused", "silent"]

_Value = TypeVar("_Value")


class _Steps(Generic[_Value]):
    """A step function of time: a value from each moment on; of two at one moment the last set."""

    __slots__ = ("_first", "_moments", "_values")

    def __init__(self, first: _Value) -> None:
        self._first = first
        self._moments: list[int] = []
        self._values: list[_Value] = []

    def set(self, since: int, value: _Value) -> None:
        place = bisect_right(self._moments, since)
        self._moments.insert(place, since)
        self._values.insert(place, value)

    def at(self, moment: int) -> _Value:
        place = bisect_right(self._moments, moment)
        return self._values[place - 1] if place else self._first

    def after(self, moment: int) -> int | None:
        """The next moment from which another value may hold."""
        place = bisect_right(self._moments, moment)
        return self._moments[place] if place < len(self._moments) else None


@dataclass(frozen=True, slots=True)
class _Trouble:
    """How something fails, and from when on; with a period it does so in the first half of each."""

    failure: Failure
    since: int
    period: int = 0

    def holds(self, moment: int) -> bool:
        return not self.period or (moment - self.since) % self.period * 2 < self.period

    def turns_after(self, moment: int) -> int | None:
        """The next moment at which it comes or goes by itself."""
        if not self.period:
            return None
        begun = moment - (moment - self.since) % self.period
        # The first microsecond of which holds() says otherwise.
        half = begun + (self.period + 1) // 2
        return half if moment < half else begun + self.period


class Condition:
    """How one endpoint fares: whether and how it fails, and by how much it is slow."""

    __slots__ = ("_delay", "_trouble")

    def __init__(self) -> None:
        self._trouble: _Steps[_Trouble | None] = _Steps(None)
        self._delay: _Steps[int] = _Steps(0)

    def fail(self, since: int, failure: Failure, period: int = 0) -> None:
        """Have it fail from a moment on; with a period, in the first half of each period."""
        self._trouble.set(since, _Trouble(failure, since, period))

    def slow(self, since: int, delay: int) -> None:
        """Have requests that begin from a moment on take so long."""
        self._delay.set(since, delay)

    def recover(self, since: int) -> None:
        """Have it be well, and as fast as ever, from a moment on."""
        self._trouble.set(since, None)
        self._delay.set(since, 0)

    def failure(self, moment: int) -> Failure | None:
        """How it fails at a moment; None where it does not."""
        trouble = self._trouble.at(moment)
        return trouble.failure if trouble is not None and trouble.holds(moment) else None

    def delay(self, moment: int) -> int:
        """How long a request that begins at a moment takes."""
        return self._delay.at(moment)

    def changes_after(self, moment: int) -> int | None:
        """The next moment after which it may fail otherwise, as far as is known; None: none."""
        trouble = self._trouble.at(moment)
        own = None if trouble is None else trouble.turns_after(moment)
        given = self._trouble.after(moment)
        return min((each for each in (own, given) if each is not None), default=None)
