"""The wait of one endpoint's checks for the next one, which somebody may cut short."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_drdrill.clock import Clock


class Pause:
    """Waits until the next check of an endpoint is due, or until called up.

    Args:
        clock: the clock.
    """

    __slots__ = ("_called", "_clock")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._called = asyncio.Event()

    def call_up(self) -> None:
        """Have the next check begin now, or right after the one that is under way."""
        self._called.set()

    def forget(self) -> None:
        """Take a call for answered."""
        self._called.clear()

    async def until(self, moment: float) -> bool:
        """Wait for a monotonic second; returns whether it was called up before."""
        wait = moment - self._clock.monotonic()
        if wait > 0:
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(wait):
                    await self._called.wait()
        called = self._called.is_set()
        self._called.clear()
        return called
