"""The simulated world: virtual time, the same every time for a seed.

The names load on first use, so that a suite without a simulated drill pays for none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.late import names_of

if TYPE_CHECKING:
    from pytest_drdrill.simulation.clock import VirtualClock
    from pytest_drdrill.simulation.endpoint import SimulatedEndpoint
    from pytest_drdrill.simulation.errors import (
        DeadlockError,
        HorizonError,
        LivelockError,
        RealIOError,
        SimulationError,
    )
    from pytest_drdrill.simulation.loop import VirtualLoop
    from pytest_drdrill.simulation.network import SimulatedNetwork
    from pytest_drdrill.simulation.prober import SimulatedProber
    from pytest_drdrill.simulation.region import SimulatedRegion, SimulatedRegions
    from pytest_drdrill.simulation.trace import Trace, TraceEvent
    from pytest_drdrill.simulation.world import SimulatedWorld, simulate

_HOMES = {
    "clock": ("VirtualClock",),
    "endpoint": ("SimulatedEndpoint",),
    "errors": (
        "DeadlockError",
        "HorizonError",
        "LivelockError",
        "RealIOError",
        "SimulationError",
    ),
    "loop": ("VirtualLoop",),
    "network": ("SimulatedNetwork",),
    "prober": ("SimulatedProber",),
    "region": ("SimulatedRegion", "SimulatedRegions"),
    "trace": ("Trace", "TraceEvent"),
    "world": ("SimulatedWorld", "simulate"),
}

__all__ = [
    "DeadlockError",
    "HorizonError",
    "LivelockError",
    "RealIOError",
    "SimulatedEndpoint",
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
    "simulate",
]


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
