"""What the tools that watch services promise with their settings: formulae, each with its source.

The names load on first use, as those of the room do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.late import names_of

if TYPE_CHECKING:
    from pytest_drdrill.failover.presets.base import Preset, Span
    from pytest_drdrill.failover.presets.consul import ConsulPreset, ConsulTTLPreset
    from pytest_drdrill.failover.presets.haproxy import HAProxyPreset
    from pytest_drdrill.failover.presets.keepalived import KeepalivedPreset
    from pytest_drdrill.failover.presets.patroni import PatroniPreset
    from pytest_drdrill.failover.presets.sentinel import SentinelPreset

_HOMES = {
    "base": ("Preset", "Span"),
    "consul": ("ConsulPreset", "ConsulTTLPreset"),
    "haproxy": ("HAProxyPreset",),
    "keepalived": ("KeepalivedPreset",),
    "patroni": ("PatroniPreset",),
    "sentinel": ("SentinelPreset",),
}

__all__ = [
    "ConsulPreset",
    "ConsulTTLPreset",
    "HAProxyPreset",
    "KeepalivedPreset",
    "PatroniPreset",
    "Preset",
    "SentinelPreset",
    "Span",
]


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
