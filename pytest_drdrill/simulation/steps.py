"""Step functions of time: what is told once holds from a moment on, and nothing needs to happen.

Times are whole microseconds since the simulation began.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

_Value = TypeVar("_Value")


class Steps(Generic[_Value]):
    """A step function of time: a value from each moment on; of two at one moment the last set.

    Args:
        first: the value before all that is set.
    """

    __slots__ = ("_first", "_moments", "_values")

    def __init__(self, first: _Value) -> None:
        self._first = first
        self._moments: list[int] = []
        self._values: list[_Value] = []

    def set(self, since: int, value: _Value) -> None:
        """Have a value hold from a moment on, until the next one that is set."""
        place = bisect_right(self._moments, since)
        self._moments.insert(place, since)
        self._values.insert(place, value)

    def at(self, moment: int) -> _Value:
        """The value of a moment."""
        place = bisect_right(self._moments, moment)
        return self._values[place - 1] if place else self._first

    def after(self, moment: int) -> int | None:
        """The next moment from which another value may hold."""
        place = bisect_right(self._moments, moment)
        return self._moments[place] if place < len(self._moments) else None

    def within(self, begin: int, end: int) -> Iterator[_Value]:
        """The values that hold at any moment from one to another, both included."""
        yield self.at(begin)
        yield from self._values[
            bisect_right(self._moments, begin) : bisect_right(self._moments, end)
        ]

    def backwards(self, moment: int) -> Iterator[tuple[int, _Value]]:
        """What was set up to a moment, the latest first, with the moment from which it held.

        Of what was set for one and the same moment only the last ever held.
        """
        place = bisect_right(self._moments, moment)
        while place:
            since = self._moments[place - 1]
            yield since, self._values[place - 1]
            place = bisect_left(self._moments, since)


def earliest(*moments: int | None) -> int | None:
    """The first of some moments, where None is never."""
    return min((each for each in moments if each is not None), default=None)
