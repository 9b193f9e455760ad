"""When a schedule runs: every so often from a start, or as a cron expression says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from pytest_drdrill.backup import settings
from pytest_drdrill.durations import format_duration
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_drdrill.clock import Clock

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_FIELDS = 5
_EXAMPLE = '"0 3 * * *" (daily at 03:00 UTC)'
_FIRST_YEAR = 2000
_WEEKDAYS_COME_AROUND = 28  # years, in which each weekday meets each date of each kind of year
_CALENDAR_COMES_AROUND = 400


class Slots(Protocol):
    """The moments at which a schedule runs."""

    @property
    def start(self) -> datetime | None:
        """The first slot, or None where they have no beginning."""
        ...

    def after(self, moment: datetime) -> datetime:
        """The first slot later than a moment in UTC.

        Raises:
            OverflowError: it is out of a datetime's range.
        """
        ...

    def longest_gap(self) -> timedelta:
        """The longest time from a slot to the next one."""
        ...


class EvenSlots:
    """Slots at ``start + n * every``, for n from 0: counted, never added up, so they don't drift.

    Raises:
        TypeError: ``every`` is no text and no timedelta.
        ValueError: it is no duration, or zero.
    """

    def __init__(self, every: str | timedelta, start: datetime) -> None:
        self.every = settings.interval(every)
        self.start: datetime | None = start
        self._first = start

    def after(self, moment: datetime) -> datetime:
        """The first slot later than a moment in UTC."""
        if moment < self._first:
            return self._first
        return self._first + ((moment - self._first) // self.every + 1) * self.every

    def longest_gap(self) -> timedelta:
        """Each gap is ``every``."""
        return self.every

    def __str__(self) -> str:
        return f"every {format_duration(self.every)}"


class CronSlots:
    """Slots of a cron expression of five fields, in UTC, as crontab(5) of Debian reads them.

    Raises:
        TypeError: the expression is no text.
        ValueError: it is none, or no day ever matches it.
        ImportError: the library that reads it is not installed.
    """

    start: datetime | None = None

    def __init__(self, expression: str) -> None:
        if not isinstance(expression, str):
            raise TypeError(f"cron is an expression such as {_EXAMPLE}, not {shown(expression)}")
        try:
            from cronsim import CronSim, CronSimError  # only who writes cron expressions has it
        except ImportError:
            raise ImportError(
                "a cron expression is read by the library cronsim, which is not installed: "
                "pip install 'pytest-drdrill[cron]'",
                name="cronsim",
            ) from None
        self._iterate: Callable[[str, datetime], Iterator[datetime]] = CronSim
        self._fields = expression.split()
        self._shown = shown(expression)
        if len(self._fields) != _FIELDS:
            raise ValueError(
                f"the cron expression {self._shown} has {len(self._fields)} fields in place of "
                f"five; write for instance {_EXAMPLE}"
            )
        try:
            self.after(datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC))
        except (CronSimError, ValueError) as error:  # ValueError: a number of thousands of digits
            reason = str(error) if isinstance(error, CronSimError) else "a number too long"
            raise ValueError(
                f"{self._shown} is no cron expression ({_lower(reason)}); write for instance "
                f"{_EXAMPLE}"
            ) from None
        except OverflowError:
            raise ValueError(
                f"no day ever matches the cron expression {self._shown}; write for instance "
                f"{_EXAMPLE}"
            ) from None

    def after(self, moment: datetime) -> datetime:
        """The first slot later than a moment in UTC."""
        found = next(self._slots(self._fields, moment), None)
        if found is None:  # the library looks 50 years ahead, and no two slots are further apart
            raise OverflowError(f"no slot of {self} comes after {moment}")
        return found

    def longest_gap(self) -> timedelta:
        """The longest gap in the whole calendar, which comes around after 400 years."""
        return _longest_gap(self)

    def __str__(self) -> str:
        return f"cron {' '.join(self._fields)}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CronSlots) and self._fields == other._fields

    def __hash__(self) -> int:
        return hash(tuple(self._fields))

    def _slots(self, fields: list[str], moment: datetime) -> Iterator[datetime]:
        return self._iterate(" ".join(fields), moment)

    @property
    def each_day(self) -> bool:
        """Whether every day matches, as most expressions have it."""
        return self._fields[2:] == ["*", "*", "*"]

    def times(self) -> tuple[timedelta, timedelta, timedelta]:
        """The first slot and the last of a day that matches, and the longest gap between two."""
        midnight = datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC)
        slots = self._slots([*self._fields[:2], "*", "*", "*"], midnight - _SECOND)
        times = [next(slots) - midnight]
        for slot in slots:
            if slot - midnight >= _DAY:
                break
            times.append(slot - midnight)
        gaps = (later - earlier for earlier, later in pairwise(times))
        return times[0], times[-1], max(gaps, default=timedelta(0))

    def days(self, years: int) -> Iterator[datetime]:
        """The days that match in so many years, and the first one after them."""
        dates = self._fields[2:]
        end = datetime(_FIRST_YEAR + years, 1, 1, tzinfo=UTC)
        for day in self._slots(["0", "0", *dates], datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC) - _DAY):
            yield day
            if day >= end:
                return


@lru_cache  # it may take a good part of a second
def _longest_gap(slots: CronSlots) -> timedelta:
    first, last, within_a_day = slots.times()
    return max(within_a_day, _longest_of_days(slots) - last + first)


def _longest_of_days(slots: CronSlots) -> timedelta:
    """The longest time from a day that matches to the next one.

    Where each year has such a day, a gap lies in one year or in two that follow each other. Of
    those there are 21 kinds, by leap year and weekday, and 28 years hold them all. Else there are
    few such days, and the whole calendar is gone through.
    """
    if slots.each_day:
        return _DAY
    days = list(slots.days(_WEEKDAYS_COME_AROUND))
    if len({day.year for day in days}) <= _WEEKDAYS_COME_AROUND:
        days = list(slots.days(_CALENDAR_COMES_AROUND))
    return max(later - earlier for earlier, later in pairwise(days))


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def slots_of(
    every: str | timedelta | None, cron: str | None, start: datetime | None, clock: Clock
) -> Slots:
    """The slots that the arguments of a schedule describe.

    Raises:
        TypeError: an argument of another type, or an interval without a unit.
        ValueError: they describe none, or two kinds of them.
        ImportError: the library that reads cron expressions is not installed.
    """
    if (every is None) == (cron is None):
        which = "neither is" if every is None else "both are"
        raise ValueError(f'a schedule takes either every="1h" or cron="0 3 * * *"; {which} given')
    if cron is not None:
        if start is not None:
            raise ValueError("start has no meaning with cron, which says itself when its slots are")
        return CronSlots(cron)
    assert every is not None
    return EvenSlots(every, clock.now() if start is None else settings.in_utc("start", start))
