"""Settings of schedules and monitors, checked: each mistake is one clear sentence."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pytest_drdrill.durations import parse_duration
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    from datetime import timedelta


def duration(name: str, value: str | timedelta) -> timedelta:
    """A duration of zero or more, the argument named in what is wrong with it.

    Raises:
        TypeError: no text and no timedelta.
        ValueError: no duration.
    """
    try:
        return parse_duration(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def in_utc(name: str, moment: datetime) -> datetime:
    """An aware moment, in UTC.

    Raises:
        TypeError: no datetime.
        ValueError: naive, or out of range.
    """
    if not isinstance(moment, datetime):
        raise TypeError(f"{name} is an aware datetime, not {shown(moment)}")
    if moment.utcoffset() is None:
        raise ValueError(f"{name} is {shown(moment)}, which has no time zone; give it one, as UTC")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{name} is {shown(moment)}, which is out of range in UTC") from None


def interval(value: str | timedelta) -> timedelta:
    """The argument ``every``, a duration above zero.

    Raises:
        TypeError: no text and no timedelta.
        ValueError: no duration, or zero.
    """
    parsed = duration("every", value)
    if not parsed:
        raise ValueError("every must be above zero")
    return parsed


def check_callback(name: str, callback: object) -> None:
    """Refuse what can't be called, or would have to be awaited.

    Raises:
        TypeError: with the name of the argument.
    """
    if not callable(callback):
        raise TypeError(f"{name} must be callable, which {shown(callback)} is not")
    if inspect.iscoroutinefunction(callback):
        raise TypeError(f"{name} is called and never awaited, so it can't be {shown(callback)}")
