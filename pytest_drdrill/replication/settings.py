"""A replication's settings, checked: each mistake is one clear sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from pytest_drdrill.durations import parse_duration
from pytest_drdrill.replication.region import Region

if TYPE_CHECKING:
    from datetime import timedelta

ReplicationMode: TypeAlias = Literal["asynchronous", "semi-synchronous", "synchronous"]


@dataclass(frozen=True, slots=True)
class Settings:
    """All of them; times in seconds. ``CrossRegionReplication`` says what each one means."""

    mode: ReplicationMode
    required: int
    lease: float
    lease_margin: float
    heartbeat: float
    lost_after: float
    write_timeout: float
    fallback_after: float | None
    max_lag: float | None
    max_backlog: int | None
    retry: float
    max_retry: float
    batch: int
    window: int
    seed: int | str


def regions_of(given: object) -> list[Region]:
    """The regions, as they were given, one of which is the primary.

    Raises:
        TypeError: something that is no region.
        ValueError: fewer than two, a name used twice, or not exactly one primary.
    """
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise TypeError(f"regions must be a list of Region, not {given!r:.80}")
    found = list(given)
    names: set[str] = set()
    for each in found:
        if not isinstance(each, Region):
            raise TypeError(f"regions must be a list of Region; it holds {each!r:.80}")
        if each.name in names:
            raise ValueError(f"two regions are named {each.name!r}; a name must be unique")
        names.add(each.name)
    if len(found) < 2:  # noqa: PLR2004 - a pair
        raise ValueError(f"a replication needs at least two regions, not {len(found)}")
    primaries = [each.name for each in found if each.is_primary]
    if len(primaries) != 1:
        which = ", ".join(primaries) or "none"
        raise ValueError(f"exactly one region must be the primary; is_primary is set on: {which}")
    return found


def mode(value: object) -> ReplicationMode:
    """One of the three modes.

    Raises:
        ValueError: another one.
    """
    for known in get_args(ReplicationMode):
        if value == known:
            return known  # type: ignore[no-any-return] # one of the literals
    accepted = ", ".join(repr(each) for each in get_args(ReplicationMode))
    raise ValueError(f"mode must be one of {accepted}, not {value!r:.80}")


def span(name: str, value: str | timedelta) -> float:
    """A duration of zero or more.

    Raises:
        TypeError: no text and no timedelta.
        ValueError: no duration.
    """
    try:
        return parse_duration(value).total_seconds()
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def seconds(name: str, value: str | timedelta) -> float:
    """A duration above zero.

    Raises:
        TypeError: no text and no timedelta.
        ValueError: no duration, or zero.
    """
    found = span(name, value)
    if not found:
        raise ValueError(f"{name} must be above zero")
    return found


def optional_seconds(name: str, value: str | timedelta | None) -> float | None:
    """A duration above zero, or None.

    Raises:
        TypeError: no text and no timedelta.
        ValueError: no duration, or zero.
    """
    return None if value is None else seconds(name, value)


def count(name: str, value: object, most: int | None = None) -> int:
    """A number of things, at least one.

    Raises:
        TypeError: no whole number.
        ValueError: below one, or above the most that makes sense.
    """
    if type(value) is not int:
        raise TypeError(f"{name} must be a whole number, not {value!r:.80}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    if most is not None and value > most:
        raise ValueError(f"{name} must be at most {most}, the number of secondaries, not {value}")
    return value
