"""How tools notice a disaster and move traffic, each by its own mechanism, on the virtual loop.

A mechanism is not told what is predicted: it sends checks, adverts, pings or renewals at their
intervals, and what comes of that is measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.failover.presets import (
    ConsulPreset,
    ConsulTTLPreset,
    HAProxyPreset,
    KeepalivedPreset,
    PatroniPreset,
    SentinelPreset,
)
from pytest_drdrill.simulation.mechanisms.lease import patroni, time_to_live
from pytest_drdrill.simulation.mechanisms.polled import consul, haproxy
from pytest_drdrill.simulation.mechanisms.sentinel import sentinel
from pytest_drdrill.simulation.mechanisms.vrrp import keepalived

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from pytest_drdrill.failover.presets import Preset
    from pytest_drdrill.simulation.mechanisms.stage import Stage

_MECHANISMS: dict[type[Preset], Callable[[Any, Stage], Awaitable[dict[str, float]]]] = {
    HAProxyPreset: haproxy,
    ConsulPreset: consul,
    ConsulTTLPreset: time_to_live,
    KeepalivedPreset: keepalived,
    SentinelPreset: sentinel,
    PatroniPreset: patroni,
}


def mechanism_of(preset: Preset) -> Callable[[Any, Stage], Awaitable[dict[str, float]]]:
    """What runs one disaster under a preset, and returns the seconds until each milestone.

    Raises:
        TypeError: nothing that is known how to simulate.
    """
    for kind in type(preset).__mro__:
        if kind in _MECHANISMS:
            return _MECHANISMS[kind]
    known = ", ".join(kind.__name__ for kind in _MECHANISMS)
    raise TypeError(f"what_if takes one of the presets {known}, not {preset!r}")
