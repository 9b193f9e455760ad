"""Durations as people write them: parsed, and formatted so that they parse back."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache

from pytest_drdrill.text import shown

ACCEPTED = '"15m", "1h30m", "500ms", "90d", "PT15M" or a timedelta'
"""The accepted forms, as every message about a bad duration names them."""

_MICROSECONDS = {
    "w": 604_800_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}
_NUMBER = r"[0-9]{1,1000}(?:\.[0-9]{1,1000})?"
_PART = re.compile(rf"\s*({_NUMBER})\s*(ms|us|[wdhms])")
_ISO = (
    rf"P(?:({_NUMBER})W)?(?:({_NUMBER})D)?(?:T(?:({_NUMBER})H)?(?:({_NUMBER})M)?(?:({_NUMBER})S)?)?"
)
LONGEST = timedelta(days=1_000_000)
"""The longest duration that is taken: no promise reaches so far, and sums of it are still times."""


def parse_duration(value: str | timedelta) -> timedelta:
    """Read a duration: ``"15m"``, ``"1h30m"``, ``"500ms"``, ISO 8601 ``"PT15M"``, or a timedelta.

    Units are w, d, h, m, s, ms and us, in descending order, each with an optional decimal part.
    ISO 8601 durations may hold weeks, days, hours, minutes and seconds; years and months have no
    fixed length and are refused.

    Args:
        value: the text, or a timedelta, which is checked and returned as it is.

    Returns:
        A duration of zero or more, to the microsecond, and of a million days at most.

    Raises:
        TypeError: for a bare number, which has no unit, or any other type.
        ValueError: for text that is no duration, a negative one, or one out of range.
    """
    if isinstance(value, timedelta):
        return _checked(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise TypeError(f"{shown(value)} has no unit; write {ACCEPTED}")
    if not isinstance(value, str):
        raise TypeError(f"{shown(value)} is no duration; write {ACCEPTED}")
    return _read(str.__str__(value))  # of a subclass, as StrEnum's, the plain text


@lru_cache  # the drills of a suite promise few different ones
def _read(value: str) -> timedelta:
    text = value.strip()
    parts = _plain_parts(text) or _iso_parts(text)
    if not parts:
        raise ValueError(f"{shown(value)} is no duration; write {ACCEPTED}")
    from fractions import Fraction  # 2 ms that only a duration in text need cost

    exact = sum(
        (Fraction(number) * _MICROSECONDS[unit] for unit, number in parts.items()), Fraction(0)
    )
    microseconds = round(exact)
    if exact and not microseconds:
        raise ValueError(f"{shown(value)} is below the resolution of one microsecond")
    if microseconds > LONGEST // timedelta(microseconds=1):
        raise ValueError(f"{shown(value)} is out of range")
    return timedelta(microseconds=microseconds)


def _plain_parts(text: str) -> dict[str, str]:
    """The number of each unit, as in ``1h30m``; empty where the text is something else.

    Units descend, each at most once: "30m1h" is more likely a slip than a wish.
    """
    parts: dict[str, str] = {}
    end, rank = 0, -1
    ranks = tuple(_MICROSECONDS)
    while match := _PART.match(text, end):
        number, unit = match.groups()
        before, rank, end = rank, ranks.index(unit), match.end()
        if rank <= before:
            return {}
        parts[unit] = number
    return parts if end == len(text) else {}


def _iso_parts(text: str) -> dict[str, str]:
    """Likewise, as in ``PT1H30M``."""
    match = re.fullmatch(_ISO, text)
    if match is None or text.endswith("T"):
        return {}
    found = zip(("w", "d", "h", "m", "s"), match.groups(), strict=True)
    return {unit: number for unit, number in found if number}


def _checked(value: timedelta) -> timedelta:
    if value < timedelta(0):
        raise ValueError(f"a duration can't be negative: {shown(value)}")
    if value > LONGEST:
        raise ValueError(f"{shown(value)} is out of range")
    return value


def format_duration(value: timedelta) -> str:
    """Write a duration exactly and compactly: ``1h30m``, ``2m3.5s``, ``340ms``, ``0s``.

    For every duration that is taken, ``parse_duration(format_duration(value)) == value``.
    A negative one is led by ``-``.
    """
    rest = value // timedelta(microseconds=1)
    sign, rest = ("-", -rest) if rest < 0 else ("", rest)
    if not rest:
        return "0s"
    if rest < _MICROSECONDS["s"]:
        unit = "ms" if rest >= _MICROSECONDS["ms"] else "us"
        return f"{sign}{_decimal(rest, _MICROSECONDS[unit])}{unit}"
    text = sign
    for unit in ("d", "h", "m"):
        count, rest = divmod(rest, _MICROSECONDS[unit])
        text += f"{count}{unit}" if count else ""
    return text + (f"{_decimal(rest, _MICROSECONDS['s'])}s" if rest else "")


def format_seconds(seconds: float) -> str:
    """Write a measured number of seconds for a reader, rounded: ``4.31s``, ``12ms``, ``1h2m``.

    Three digits below a minute, whole seconds below an hour, whole minutes below a day, whole hours
    above: enough to compare with a target, and no digits that were not measured.
    """
    magnitude = abs(seconds)
    if magnitude == 0:
        return "0s"
    if magnitude < 60:  # noqa: PLR2004 - a minute
        rounded = float(f"{seconds:.3g}")
    elif magnitude < 3_600:  # noqa: PLR2004 - an hour
        rounded = round(seconds)
    elif magnitude < 86_400:  # noqa: PLR2004 - a day
        rounded = round(seconds / 60) * 60
    else:
        rounded = round(seconds / 3_600) * 3_600
    try:
        span = timedelta(seconds=rounded)
    except OverflowError:
        return f"{seconds:.3g}s"
    return format_duration(span) if span else "<1us"


def _decimal(count: int, per_unit: int) -> str:
    whole, part = divmod(count, per_unit)
    digits = len(str(per_unit)) - 1
    return f"{whole}.{part:0{digits}d}".rstrip("0").rstrip(".") if part else str(whole)
