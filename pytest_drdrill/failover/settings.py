"""A manager's settings, checked: each mistake is one clear sentence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, get_args

from pytest_drdrill.durations import format_duration, parse_duration
from pytest_drdrill.failover.damping import FlapDamping
from pytest_drdrill.failover.decision import Failback
from pytest_drdrill.failover.endpoint import ServiceEndpoint
from pytest_drdrill.failover.watching import Watcher

if TYPE_CHECKING:
    from datetime import timedelta


def by_preference(endpoints: Iterable[ServiceEndpoint]) -> list[ServiceEndpoint]:
    """The endpoints, the preferred one first: lowest priority, unset ones last, else as given.

    Raises:
        TypeError: something that is no endpoint.
        ValueError: no endpoint, or a name that is used twice.
    """
    if not isinstance(endpoints, Iterable) or isinstance(endpoints, str):
        raise TypeError(f"endpoints must be a list of ServiceEndpoint, not {endpoints!r}")
    found = list(endpoints)
    if not found:
        raise ValueError("a failover manager needs at least one endpoint")
    names: set[str] = set()
    for each in found:
        if not isinstance(each, ServiceEndpoint):
            raise TypeError(f"endpoints must be a list of ServiceEndpoint; it holds {each!r}")
        if each.name in names:
            raise ValueError(f"two endpoints are named {each.name!r}; a name must be unique")
        names.add(each.name)
    return sorted(found, key=lambda each: (each.priority is None, each.priority or 0))


def threshold(name: str, value: object, *, of: str = "checks") -> int:
    """A number of checks in a row, or of something else, at least one.

    Raises:
        TypeError: no whole number.
        ValueError: below one.
    """
    if type(value) is not int:
        raise TypeError(f"{name} must be a whole number of {of}, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    return value


def duration(name: str, value: str | timedelta, *, zero: bool = False) -> timedelta:
    """A duration, above zero unless zero makes sense.

    Raises:
        TypeError: no text and no timedelta.
        ValueError: no duration, or zero where that makes no sense.
    """
    try:
        parsed = parse_duration(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    if not parsed and not zero:
        raise ValueError(f"{name} must be above zero")
    return parsed


def jitter(value: str | timedelta, interval: timedelta) -> timedelta:
    """The jitter, at most the interval.

    Raises:
        TypeError: no text and no timedelta.
        ValueError: no duration, or longer than the interval.
    """
    parsed = duration("jitter", value, zero=True)
    if parsed > interval:
        raise ValueError(
            f"jitter of {format_duration(parsed)} is longer than "
            f"the check_interval of {format_duration(interval)}"
        )
    return parsed


def fast_interval(value: str | timedelta | None, interval: timedelta) -> timedelta | None:
    """The interval while an endpoint is in transition, at most the usual one; None: the same.

    Raises:
        TypeError: no text and no timedelta.
        ValueError: no duration, zero, or longer than the interval.
    """
    if value is None:
        return None
    parsed = duration("fast_interval", value)
    if parsed > interval:
        raise ValueError(
            f"fast_interval of {format_duration(parsed)} is longer than "
            f"the check_interval of {format_duration(interval)}"
        )
    return parsed


def part(name: str, value: object, kind: type, methods: str) -> None:
    """Make sure that a part can do what it is for; None is no part, and is fine.

    Raises:
        TypeError: it can't.
    """
    if value is not None and (isinstance(value, type) or not isinstance(value, kind)):
        raise TypeError(f"{name} must have {methods}, asynchronous, not be {value!r}")


def watcher(watch: object, prober: object) -> Watcher | None:
    """What holds the connections of a manager that watches, or None for one that does not.

    Raises:
        TypeError: ``watch`` is no flag, or the prober can't hold a connection.
    """
    if not isinstance(watch, bool):
        raise TypeError(f"watch must be True or False, not {watch!r}")
    if not watch:
        return None
    if not isinstance(prober, Watcher):
        raise TypeError(
            "watch=True needs a prober that can hold a connection, with hold(endpoint, held), "
            f"asynchronous; {prober!r} can't"
        )
    return prober


def damping(value: object) -> FlapDamping | None:
    """The flap damping, or None for none.

    Raises:
        TypeError: something else.
    """
    if value is None or isinstance(value, FlapDamping):
        return value
    raise TypeError(f"flap_damping must be a FlapDamping, not {value!r}")


def failback_after(policy: Failback, delay: str | timedelta | None) -> float | None:
    """Seconds that a preferred endpoint must have stayed healthy to get traffic back; None: never.

    Raises:
        TypeError: a delay that is neither text nor a timedelta.
        ValueError: no such policy, a delay missing or out of place, or no duration.
    """
    if policy not in get_args(Failback):
        known = ", ".join(repr(each) for each in get_args(Failback))
        raise ValueError(f"failback must be one of {known}, not {policy!r}")
    if policy == "delayed":
        if delay is None:
            raise ValueError("failback='delayed' needs a failback_delay, such as '5m'")
        return duration("failback_delay", delay).total_seconds()
    if delay is not None:
        raise ValueError(f"failback_delay has no meaning with failback={policy!r}")
    return 0.0 if policy == "automatic" else None
