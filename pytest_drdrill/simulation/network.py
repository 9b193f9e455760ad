"""What lies between simulated regions: who reaches whom, and what is under way."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from pytest_drdrill.simulation.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_drdrill.simulation.clock import VirtualClock
    from pytest_drdrill.simulation.region import SimulatedRegion


class SimulatedNetwork:
    """The network of a world's regions; a ``Network`` of the replication.

    Changes take the replication lag of the region that they go to, and every other message no
    time. What is under way when one of its ends is lost or isolated is lost, and its sender
    notices at once. A region that is isolated is reached from within alone.

    Args:
        regions: by name; more may come.
        clock: the world's.
    """

    def __init__(self, regions: Mapping[str, SimulatedRegion], clock: VirtualClock) -> None:
        self._regions = regions
        self._clock = clock
        self._under_way: dict[asyncio.Future[None], tuple[str | None, str | None]] = {}

    async def carry(self, source: str | None, target: str | None, *, changes: bool = False) -> None:
        """Let one message pass; returns when it has arrived.

        Raises:
            ConnectionRefusedError: it can't pass.
            ConnectionResetError: it was lost on its way.
            RealIOError: one of its ends is no simulated region.
        """
        for name in (source, target):
            if name is not None and name not in self._regions:
                raise refusal(f"a message to or from {name!r}, which is no simulated region,")
        if (why := self._closed(source, target)) is not None:
            raise ConnectionRefusedError(why)
        lag = self._regions[target].lag_s if changes and target is not None else 0.0
        if not lag:
            await asyncio.sleep(0)  # or a client that only writes would let nobody else go on
            return
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way[lost] = (source, target)
        try:
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(lag):
                    await lost
        finally:
            del self._under_way[lost]
        if not lost.cancelled():  # which it is when the time is over
            raise ConnectionResetError(f"lost on its way from {source} to {target}")

    def cut(self, name: str) -> None:
        """Lose what is under way to or from a region."""
        for lost, ends in self._under_way.items():
            if name in ends and ends[0] != ends[1] and not lost.done():
                lost.set_result(None)

    def restart(self) -> None:
        """Begin anew in a world that does: nothing is under way."""
        self._under_way = {}

    def _closed(self, source: str | None, target: str | None) -> str | None:
        for name in (source, target):
            if name is None:
                continue
            condition = self._regions[name].condition
            if condition == "lost":
                return f"{name} is lost"
            if condition == "isolated" and source != target:
                return f"{name} is isolated"
        return None
