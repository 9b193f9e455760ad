"""Failover: endpoints, the checks of their health, and what moves traffic between them.

The names load on first use, so that a suite without a failover drill pays for none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.late import names_of

if TYPE_CHECKING:
    from pytest_drdrill.failover.active_active import ActiveActiveCluster
    from pytest_drdrill.failover.active_passive import ActivePassiveCluster
    from pytest_drdrill.failover.damping import FlapDamping
    from pytest_drdrill.failover.endpoint import HealthStatus, ServiceEndpoint
    from pytest_drdrill.failover.errors import (
        FailoverError,
        FailoverFailed,
        FailoverTimeoutError,
        MonitoringFailed,
        MonitorShortageError,
        NotMonitoringError,
    )
    from pytest_drdrill.failover.events import FailoverEvent
    from pytest_drdrill.failover.manager import FailoverManager
    from pytest_drdrill.failover.presets import (
        ConsulPreset,
        ConsulTTLPreset,
        HAProxyPreset,
        KeepalivedPreset,
        PatroniPreset,
        Preset,
        SentinelPreset,
        Span,
    )
    from pytest_drdrill.failover.prober import HttpProber, Prober, ProbeResult
    from pytest_drdrill.failover.protocols import (
        Fencer,
        FencingProof,
        Promoter,
        TrafficSwitch,
        WeightedSwitch,
    )
    from pytest_drdrill.failover.routing import RoutingTable
    from pytest_drdrill.failover.watching import Watcher

_HOMES = {
    "active_active": ("ActiveActiveCluster",),
    "active_passive": ("ActivePassiveCluster",),
    "damping": ("FlapDamping",),
    "endpoint": ("HealthStatus", "ServiceEndpoint"),
    "errors": (
        "FailoverError",
        "FailoverFailed",
        "FailoverTimeoutError",
        "MonitorShortageError",
        "MonitoringFailed",
        "NotMonitoringError",
    ),
    "events": ("FailoverEvent",),
    "manager": ("FailoverManager",),
    "presets": (
        "ConsulPreset",
        "ConsulTTLPreset",
        "HAProxyPreset",
        "KeepalivedPreset",
        "PatroniPreset",
        "Preset",
        "SentinelPreset",
        "Span",
    ),
    "prober": ("HttpProber", "ProbeResult", "Prober"),
    "protocols": ("Fencer", "FencingProof", "Promoter", "TrafficSwitch", "WeightedSwitch"),
    "routing": ("RoutingTable",),
    "watching": ("Watcher",),
}

__all__ = [
    "ActiveActiveCluster",
    "ActivePassiveCluster",
    "ConsulPreset",
    "ConsulTTLPreset",
    "FailoverError",
    "FailoverEvent",
    "FailoverFailed",
    "FailoverManager",
    "FailoverTimeoutError",
    "Fencer",
    "FencingProof",
    "FlapDamping",
    "HAProxyPreset",
    "HealthStatus",
    "HttpProber",
    "KeepalivedPreset",
    "MonitorShortageError",
    "MonitoringFailed",
    "NotMonitoringError",
    "PatroniPreset",
    "Preset",
    "ProbeResult",
    "Prober",
    "Promoter",
    "RoutingTable",
    "SentinelPreset",
    "ServiceEndpoint",
    "Span",
    "TrafficSwitch",
    "Watcher",
    "WeightedSwitch",
]


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
