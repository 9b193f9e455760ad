"""What a canary is asked to do, checked."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pytest_drdrill.durations import format_duration, parse_duration
from pytest_drdrill.text import NAME_LIMIT, shown, storable

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_drdrill.measure.drill import Drill

INDETERMINATE: tuple[type[Exception], ...] = (
    TimeoutError,
    ConnectionResetError,
    ConnectionAbortedError,
    BrokenPipeError,
    EOFError,
)
"""What a write raises that leaves open whether it was done: its answer was lost on the way. All
else says that it was refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanarySettings:
    """Arguments of a canary; times in seconds. See ``Canary``."""

    write: Callable[[str, str], Any]
    read_all: Callable[[], Any]
    read: Callable[[str], Any] | None
    interval: float
    timeout: float
    concurrency: int
    warm_up: int
    warm_up_timeout: float
    read_timeout: float
    hold: str | timedelta | None
    patience: str | timedelta | None
    indeterminate: tuple[type[Exception], ...]
    name: str

    def summary(self) -> str:
        """What it does, for the timeline."""
        every, longest = (
            format_duration(timedelta(seconds=seconds)) for seconds in (self.interval, self.timeout)
        )
        return (
            f"a write every {every}, given up after {longest}; {self.warm_up} in a row were "
            "acknowledged and read back"
        )


def read_settings(
    *,
    name: str,
    write: object,
    read_all: object,
    read: object,
    indeterminate: object,
    **others: Any,
) -> CanarySettings:
    """Check the arguments of a canary.

    Raises:
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: a duration or a number that makes no sense.
    """
    __tracebackhide__ = True
    if not isinstance(name, str):
        raise TypeError(f"canary(name=...) takes a text, not {shown(name)}")
    if not name.strip():
        raise ValueError(f"canary(name={shown(name)}): the timeline needs a name to show")
    settings: dict[str, Any] = {
        "name": storable(name, NAME_LIMIT),
        "write": _function("write", write, ("a key", "its value")),
        "read_all": _function("read_all", read_all, ()),
        "read": None if read is None else _function("read", read, ("a key",)),
        "indeterminate": _exceptions(indeterminate),
    }
    for each in ("interval", "timeout", "warm_up_timeout", "read_timeout"):
        settings[each] = _duration(each, others[each]).total_seconds()
    for each in ("concurrency", "warm_up"):
        settings[each] = _count(each, others[each])
    for each in ("hold", "patience"):
        value = others[each]
        settings[each] = None if value is None else _duration(each, value, zero=each == "hold")
    return CanarySettings(**settings)


def _function(name: str, value: object, arguments: tuple[str, ...]) -> Callable[..., Any]:
    __tracebackhide__ = True
    takes = " and ".join(arguments) or "no argument"
    wanted = f"canary({name}=...) takes a function of {takes}, plain or asynchronous"
    if not callable(value):
        raise TypeError(f"{wanted}, not {shown(value)}")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # of some built-in functions there is none
        return value
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise TypeError(f"{wanted}; {shown(value)} can't be called so: {error}") from None
    return value


def _duration(name: str, value: str | timedelta, *, zero: bool = False) -> timedelta:
    __tracebackhide__ = True
    try:
        parsed = parse_duration(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"canary({name}=...): {error}") from None
    if not parsed and not zero:
        raise ValueError(f"canary({name}={shown(value)}) must be above zero, such as '50ms'")
    return parsed


def _count(name: str, value: object) -> int:
    __tracebackhide__ = True
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"canary({name}=...) takes a whole number, not {shown(value)}")
    if value < 1:
        raise ValueError(f"canary({name}={value}) must be 1 or more")
    return value


def _exceptions(value: object) -> tuple[type[Exception], ...]:
    __tracebackhide__ = True
    found = tuple(value) if isinstance(value, Iterable) else (value,)
    for each in found:
        if not (isinstance(each, type) and issubclass(each, Exception)):
            raise TypeError(
                f"canary(indeterminate=...) takes classes of exceptions, not {shown(each)}"
            )
    return found


def take_name(drill: Drill, wanted: str) -> tuple[str, str]:
    """A name that no canary of a drill has had, and the beginning of keys that nobody else has."""
    name, number = wanted, 1
    while name in drill.canaries:
        number += 1
        name = f"{wanted} {number}"
    drill.canaries.append(name)
    label = re.sub(r"[^0-9A-Za-z]+", "-", name).strip("-") or "canary"
    # Of the drill's clock: in virtual time the same in every run.
    return name, f"{label}-{drill.clock.now():%Y%m%dT%H%M%S%f}-"
