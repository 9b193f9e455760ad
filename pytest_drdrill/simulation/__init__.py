"""The simulated world: virtual time, the same every time for a seed.

The names load on first use, so that a suite without a simulated drill pays for none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.late import names_of

if TYPE_CHECKING:
    from pytest_drdrill.simulation.backups import SimulatedBackups
    from pytest_drdrill.simulation.clock import VirtualClock
    from pytest_drdrill.simulation.disk import SimulatedDisk
    from pytest_drdrill.simulation.drift import DriftingClock
    from pytest_drdrill.simulation.endpoint import SimulatedEndpoint
    from pytest_drdrill.simulation.errors import (
        DeadlockError,
        HorizonError,
        LivelockError,
        RealIOError,
        SimulationError,
    )
    from pytest_drdrill.simulation.forecast import WhatIf, WhatIfRow, what_if
    from pytest_drdrill.simulation.host import SimulatedHost
    from pytest_drdrill.simulation.latency import Latency
    from pytest_drdrill.simulation.loop import VirtualLoop
    from pytest_drdrill.simulation.network import SimulatedNetwork
    from pytest_drdrill.simulation.partition import Partition
    from pytest_drdrill.simulation.prober import SimulatedProber
    from pytest_drdrill.simulation.region import SimulatedRegion, SimulatedRegions
    from pytest_drdrill.simulation.store import DiskStore
    from pytest_drdrill.simulation.trace import Trace, TraceEvent
    from pytest_drdrill.simulation.world import SimulatedWorld, simulate

_HOMES = {
    "backups": ("SimulatedBackups",),
    "clock": ("VirtualClock",),
    "disk": ("SimulatedDisk",),
    "drift": ("DriftingClock",),
    "endpoint": ("SimulatedEndpoint",),
    "errors": (
        "DeadlockError",
        "HorizonError",
        "LivelockError",
        "RealIOError",
        "SimulationError",
    ),
    "forecast": ("WhatIf", "WhatIfRow", "what_if"),
    "host": ("SimulatedHost",),
    "latency": ("Latency",),
    "loop": ("VirtualLoop",),
    "network": ("SimulatedNetwork",),
    "partition": ("Partition",),
    "prober": ("SimulatedProber",),
    "region": ("SimulatedRegion", "SimulatedRegions"),
    "store": ("DiskStore",),
    "trace": ("Trace", "TraceEvent"),
    "world": ("SimulatedWorld", "simulate"),
}

__all__ = [
    "DeadlockError",
    "DiskStore",
    "DriftingClock",
    "HorizonError",
    "Latency",
    "LivelockError",
    "Partition",
    "RealIOError",
    "SimulatedBackups",
    "SimulatedDisk",
    "SimulatedEndpoint",
    "SimulatedHost",
    "SimulatedNetwork",
    "SimulatedProber",
    "SimulatedRegion",
    "SimulatedRegions",
    "SimulatedWorld",
    "SimulationError",
    "Trace",
    "TraceEvent",
    "VirtualClock",
    "VirtualLoop",
    "WhatIf",
    "WhatIfRow",
    "simulate",
    "what_if",
]


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
