"""What ends a simulation: nothing left to wait for, no end, or a way out of virtual time."""

from __future__ import annotations


class SimulationError(RuntimeError):
    """The base of what virtual time can't go on with. Whoever meets it has a drill to mend."""


class DeadlockError(SimulationError):
    """Every task waits and no timer is set, so nothing can ever happen again."""


class LivelockError(SimulationError):
    """Tasks go on and on while the clock stands still, so time would never pass."""


class HorizonError(SimulationError):
    """The simulation goes on for longer than anybody meant it to."""


class RealIOError(SimulationError):
    """Something asked for what takes real time: a socket, a process, a thread, another loop."""


for _error in (SimulationError, DeadlockError, LivelockError, HorizonError, RealIOError):
    _error.__module__ = "pytest_drdrill"  # where it is imported from, which tracebacks then show
