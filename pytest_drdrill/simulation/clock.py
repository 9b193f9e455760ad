"""The clock of virtual time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pytest_drdrill.simulation.errors import SimulationError

if TYPE_CHECKING:
    from pytest_drdrill.simulation.loop import VirtualLoop

VIRTUAL_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""Where every simulation begins, so that nothing of it depends on the day it runs."""


class VirtualClock:
    """The time of a virtual loop: a ``Clock`` that begins at the virtual epoch, 2000-01-01 UTC.

    Attributes:
        loop: the loop whose time it tells; a world that begins anew gives it another one.
    """

    __slots__ = ("loop",)

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop

    def now(self) -> datetime:
        """The virtual moment, in UTC, aware, to the microsecond."""
        return VIRTUAL_EPOCH + timedelta(seconds=self.loop.time())

    def monotonic(self) -> float:
        """Virtual seconds since the epoch."""
        return self.loop.time()

    @property
    def era(self) -> object:
        """What it counts from: another thing once its world has begun anew."""
        return self.loop

    async def sleep(self, seconds: float) -> None:
        """Wait for virtual seconds, of which every other task makes its own use.

        Raises:
            SimulationError: another loop runs, whose time is not this one.
        """
        self._check_loop()
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        """Bound asynchronous code by virtual seconds.

        Raises:
            SimulationError: another loop runs, whose time is not this one.
        """
        self._check_loop()
        return asyncio.timeout(seconds)

    def block(self, seconds: float) -> None:
        """Let virtual seconds pass in synchronous code; what was started before goes on meanwhile.

        Raises:
            SimulationError: a loop runs, which this would block.
        """
        if self.loop.is_running() or asyncio._get_running_loop() is not None:  # noqa: SLF001 - raises not
            raise SimulationError(
                "block() would stop the running event loop; await clock.sleep(seconds) there"
            )
        self.loop.advance(seconds)

    def _check_loop(self) -> None:
        if asyncio.get_running_loop() is not self.loop:
            raise SimulationError(
                "this virtual clock belongs to another event loop than the one that runs here; run "
                "the code in the simulated world that the clock is of"
            )
