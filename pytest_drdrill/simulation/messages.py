"""Messages of a replication, from region to region: under way, in order, refused, broken off."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from pytest_drdrill.simulation.place import keys_of, now_in, tell, wait_for_change
from pytest_drdrill.simulation.refusals import refusal

if TYPE_CHECKING:
    from pytest_drdrill.simulation.host import SimulatedHost
    from pytest_drdrill.simulation.network import SimulatedNetwork
    from pytest_drdrill.simulation.place import Waiting
    from pytest_drdrill.simulation.region import SimulatedRegion
    from pytest_drdrill.simulation.world import SimulatedWorld


class RegionMessages:
    """What a network carries for a replication; how each fares, ``SimulatedNetwork`` says.

    Args:
        world: whose regions they go between.
        network: by which they travel.
    """

    def __init__(self, world: SimulatedWorld, network: SimulatedNetwork) -> None:
        self._world = world
        self._network = network
        self._under_way: dict[asyncio.Future[None], tuple[str | None, str | None]] = {}
        self._newest: dict[tuple[str | None, str | None], int] = {}
        self._lines: dict[tuple[str, tuple[str | None, str | None]], asyncio.Lock] = {}
        self._waiting: Waiting = []

    async def carry(self, source: str | None, target: str | None, *, changes: bool = False) -> None:
        """Let one message pass between regions; returns when it has arrived, or never.

        Raises:
            ConnectionRefusedError: a region was told to be lost or isolated.
            ConnectionResetError: one was told so while the message was under way.
            RealIOError: one of its ends is no simulated region.
        """
        sender, receiver = self._region(source), self._region(target)
        if (why := self._closed(sender, receiver)) is not None:
            raise ConnectionRefusedError(why)
        ends = (source, target)
        await self._served(sender, ends, changes=changes)
        sent = now_in(self._world)
        # From a region to itself it is a client of there who asks, and who is not on its host.
        ours = keys_of(sender) if sender is receiver else _served_at(sender)
        theirs = _served_at(receiver)
        delay, lost = self._network.draw(ours, theirs)
        arrival = sent + delay
        if changes and receiver is not None:
            arrival = max(sent + round(receiver.lag_s * 1e6), arrival, self._newest.get(ends, 0))
            self._newest[ends] = arrival
        try:
            if arrival > sent:
                await self._under_way_for(ends, (arrival - sent) / 1e6)
            else:
                await asyncio.sleep(0)  # or a client that only writes would let nobody else go on
            # Of regions that are told something, each message under way is told too.
            ways = [(ours, theirs)]
            if sender is receiver:  # whether it is the question or the answer, nobody says
                ways.append((theirs, ours))
            now = now_in(self._world)
            if lost or any(self._network.is_split(*way, sent, now) for way in ways):
                await self._under_way_for(ends, None)
            await self._served(receiver, ends, changes=changes)
        except BaseException:
            if changes and self._newest.get(ends) == arrival:
                del self._newest[ends]  # nothing needs to arrive after what never will
            raise

    def cut(self, name: str, *, within: bool) -> None:
        """Lose what is under way to or from a region, and what is within it only if told so."""
        for broken, ends in self._under_way.items():
            if name in ends and (within or ends[0] != ends[1]) and not broken.done():
                broken.set_result(None)

    def tell(self) -> None:
        """Have those look again who wait for one of the ends."""
        tell(self._waiting)

    def begin_anew(self) -> None:
        """Nothing is under way."""
        self._under_way, self._newest, self._lines, self._waiting = {}, {}, {}, []

    async def _under_way_for(
        self, ends: tuple[str | None, str | None], seconds: float | None
    ) -> None:
        """Be under way for so long, None for ever, unless the way breaks off."""
        broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way[broken] = ends
        try:
            with contextlib.suppress(TimeoutError):
                async with self._world.clock.timeout(seconds):
                    await broken
        finally:
            del self._under_way[broken]
        if not broken.cancelled():  # which it is when the time is over
            raise ConnectionResetError(f"lost on its way from {ends[0]} to {ends[1]}")

    async def _served(
        self,
        region: SimulatedRegion | None,
        ends: tuple[str | None, str | None],
        *,
        changes: bool,
    ) -> None:
        """Wait until the host that serves a region runs; changes do so one behind the other.

        For ever where it is down, or has forgotten since what waited there.
        """
        if region is None or region.server is None:
            return
        if changes:
            async with self._lines.setdefault((region.name, ends), asyncio.Lock()):
                served = await self._outlasts_pause(region.server)
        else:
            served = await self._outlasts_pause(region.server)
        if not served:
            await self._under_way_for(ends, None)

    async def _outlasts_pause(self, server: SimulatedHost) -> bool:
        """Wait while a host is paused; whether what waits there is then taken."""
        now = now_in(self._world)
        forgot = server.forgets_until(now)
        while (state := server.state_at(now)) == "silent":
            moments = (server.changes_after(now),)
            await wait_for_change(self._world.clock, self._waiting, now, moments)
            now = now_in(self._world)
            if server.forgets_until(now) != forgot:  # however soon it was back
                return False
        return state == "well"

    def _region(self, name: str | None) -> SimulatedRegion | None:
        if name is None:
            return None
        found = self._world.population.region(name)
        if found is None:
            raise refusal(f"a message to or from {name!r}, which is no simulated region,")
        return found

    def _closed(
        self, sender: SimulatedRegion | None, receiver: SimulatedRegion | None
    ) -> str | None:
        for region in (sender, receiver):
            if region is None:
                continue
            condition = region.condition
            if condition == "lost":
                return f"{region.name} is lost"
            if condition == "isolated" and sender is not receiver:
                return f"{region.name} is isolated"
        return None


def _served_at(region: SimulatedRegion | None) -> tuple[str, ...]:
    """Where messages to and from a region end: at its host, where it is served from one."""
    if region is None or region.server is None:
        return keys_of(region)
    keys = keys_of(region.server)
    return keys if region.key in keys else (*keys, region.key)
