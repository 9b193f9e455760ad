"""Time, as every room meets it: the ``Clock`` protocol, and the clock on the wall."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio


class Clock(Protocol):
    """What a drill and its parts know of time.

    Spans are taken from ``monotonic``; moments, which people and backups compare, from ``now``.
    A part that waits does so through its clock, never through ``asyncio`` or ``time`` directly, so
    that a simulated drill can give it virtual time.
    """

    def now(self) -> datetime:
        """The current moment, in UTC, aware."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let time pass in asynchronous code."""
        ...

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        """Bounds the asynchronous code in its ``async with`` block, as ``asyncio.timeout`` does.

        Args:
            seconds: after which the block is cancelled and ends in a ``TimeoutError``; None: never.
        """
        ...

    def block(self, seconds: float) -> None:
        """Let time pass in synchronous code."""
        ...


class RealClock:
    """The machine's own clocks: ``time.monotonic`` for spans, UTC for moments."""

    __slots__ = ()

    def now(self) -> datetime:
        """The current moment, in UTC, aware."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds of the system's monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running event loop."""
        import asyncio  # 46 ms that a synchronous suite need not pay

        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        """Bound what runs on the running event loop."""
        import asyncio  # likewise

        return asyncio.timeout(seconds)

    def block(self, seconds: float) -> None:
        """Sleep in this thread."""
        time.sleep(seconds)


REAL_CLOCK = RealClock()


def in_event_loop() -> bool:
    """Whether an event loop runs in this thread; asyncio is not imported to find out."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
