"""Failover: endpoints, the checks of their health, and the manager that moves traffic between them.

The names load on first use, so that a suite without a failover drill pays for none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

__all__ = [
    "FailoverError",
    "FailoverEvent",
    "FailoverFailed",
    "FailoverManager",
    "FailoverTimeoutError",
    "HealthStatus",
    "HttpProber",
    "MonitoringFailed",
    "NotMonitoringError",
    "ProbeResult",
    "Prober",
    "ServiceEndpoint",
]

_HOMES = {
    "FailoverError": "errors",
    "FailoverEvent": "events",
    "FailoverFailed": "errors",
    "FailoverManager": "manager",
    "FailoverTimeoutError": "errors",
    "HealthStatus": "endpoint",
    "HttpProber": "prober",
    "MonitoringFailed": "errors",
    "NotMonitoringError": "errors",
    "ProbeResult": "prober",
    "Prober": "prober",
    "ServiceEndpoint": "endpoint",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # only for the first use of a name

    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
