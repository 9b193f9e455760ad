"""Where one disaster is played: a world, the way to fail, and chance that can be driven to ends."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pytest_drdrill.failover.presets.base import Fault
    from pytest_drdrill.simulation.clock import VirtualClock
    from pytest_drdrill.simulation.endpoint import SimulatedEndpoint
    from pytest_drdrill.simulation.world import SimulatedWorld

RESOLUTION = 1e-6
"""Seconds between what comes just before something and that."""


class Stage:
    """Where a mechanism is played.

    Args:
        world: with its own time.
        fault: how the service fails.
        draw: gives a number from 0 to 1, the larger the later things are; all 0 and all 1 are the
            two ends of what chance can do.
    """

    def __init__(self, world: SimulatedWorld, fault: Fault, draw: Callable[[], float]) -> None:
        self.world = world
        self.clock: VirtualClock = world.clock
        self.fault = fault
        self._draw = draw
        self._tasks: list[asyncio.Task[None]] = []

    def between(self, least: timedelta, most: timedelta) -> float:
        """Seconds somewhere between two durations."""
        begin, end = least.total_seconds(), most.total_seconds()
        return begin + (end - begin) * self._draw()

    def wait(self, period: timedelta) -> float:
        """Seconds from something of any moment until the next beat of a period, neither missed."""
        longest = period.total_seconds() - RESOLUTION
        return max(RESOLUTION, RESOLUTION + (longest - RESOLUTION) * self._draw())

    def until_beat(self, begun: float, period: timedelta) -> float:
        """Seconds until the next beat of a period that began at a moment, not counting one now."""
        passed = round((self.clock.monotonic() - begun) * 1e6)
        beat = period // timedelta(microseconds=1)
        return (beat - passed % beat) / 1e6

    def strike(self, endpoint: SimulatedEndpoint) -> float:
        """Let the service fail, now; returns when that is."""
        endpoint.fail("refused" if self.fault == "refused" else "silent")
        return self.clock.monotonic()

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Run something beside what is played, until the end."""
        self._tasks.append(self.clock.loop.create_task(work))

    async def answers(self, endpoint: SimulatedEndpoint, limit: timedelta) -> bool:
        """Whether an endpoint answers in time."""
        try:
            async with self.clock.timeout(limit.total_seconds()):
                await endpoint.request()
        except OSError:  # TimeoutError is one
            return False
        return True

    async def end(self) -> None:
        """End what runs beside; it may be called at any time, and again.

        Raises:
            Exception: what ended one of them before.
        """
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
