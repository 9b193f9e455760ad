"""Bandwidths as people write them: bytes or bits a second, always with their unit."""

from __future__ import annotations

import re

from pytest_drdrill.text import shown

ACCEPTED = '"1MB/s", "64KiB/s" or "10Mbit/s"'
"""The accepted forms, as every message about a bad bandwidth names them."""

_BYTES = {
    "B": 1.0,
    "kB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "KiB": 2.0**10,
    "MiB": 2.0**20,
    "GiB": 2.0**30,
    "bit": 1 / 8,
    "kbit": 1e3 / 8,
    "Mbit": 1e6 / 8,
    "Gbit": 1e9 / 8,
}
_RATE = re.compile(rf"([0-9]{{1,18}}(?:\.[0-9]{{1,18}})?)\s*({'|'.join(_BYTES)})/s")
_FASTEST = 1e12
_SLOWEST = 0.01


def parse_rate(value: str) -> float:
    """Read a bandwidth, in bytes a second.

    Args:
        value: a number with a unit: B, kB, MB, GB, KiB, MiB, GiB, bit, kbit, Mbit or Gbit, and
            ``/s``. A small b would be read as a bit by some and as a byte by others.

    Raises:
        TypeError: a bare number, which has no unit, or any other type.
        ValueError: no bandwidth, or one out of range; of zero, which is a blackhole.
    """
    if not isinstance(value, str):
        raise TypeError(f"{shown(value)} is no bandwidth; write {ACCEPTED}")
    match = _RATE.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{shown(value)} is no bandwidth; write {ACCEPTED}")
    number, unit = match.groups()
    rate = float(number) * _BYTES[unit]
    if not rate:
        raise ValueError(f"{shown(value)} lets nothing pass, which is a blackhole")
    if not _SLOWEST <= rate <= _FASTEST:
        raise ValueError(f"{shown(value)} is out of range")
    return rate
