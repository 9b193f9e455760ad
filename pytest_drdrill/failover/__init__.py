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
        NotMonitoringError,
    )
    from pytest_drdrill.failover.events import FailoverEvent
    from pytest_drdrill.failover.manager import FailoverManager
    from pytest_drdrill.failover.prober import HttpProber, Prober, ProbeResult
    from pytest_drdrill.failover.protocols import (
        Fencer,
        FencingProof,
        Promoter,
        TrafficSwitch,
        WeightedSwitch,
    )
    from pytest_drdrill.failover.routing import RoutingTable

_HOMES = {
    "active_active": ("ActiveActiveCluster",),
    "active_passive": ("ActivePassiveCluster",),
    "damping": ("FlapDamping",),
    "endpoint": ("HealthStatus", "ServiceEndpoint"),
    "errors": (
        "FailoverError",
        "FailoverFailed",
        "FailoverTimeoutError",
        "MonitoringFailed",
        "NotMonitoringError",
    ),
    "events": ("FailoverEvent",),
    "manager": ("FailoverManager",),
    "prober": ("HttpProber", "ProbeResult", "Prober"),
    "protocols": ("Fencer", "FencingProof", "Promoter", "TrafficSwitch", "WeightedSwitch"),
    "routing": ("RoutingTable",),
}

__all__ = [
    "ActiveActiveCluster",
    "ActivePassiveCluster",
    "FailoverError",
    "FailoverEvent",
    "FailoverFailed",
    "FailoverManager",
    "FailoverTimeoutError",
    "Fencer",
    "FencingProof",
    "FlapDamping",
    "HealthStatus",
    "HttpProber",
    "MonitoringFailed",
    "NotMonitoringError",
    "ProbeResult",
    "Prober",
    "Promoter",
    "RoutingTable",
    "ServiceEndpoint",
    "TrafficSwitch",
    "WeightedSwitch",
]


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
