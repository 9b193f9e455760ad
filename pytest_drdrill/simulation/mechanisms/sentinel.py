"""Sentinels: each pings the master at times of its own, and asks the others before it acts."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from pytest_drdrill.failover.presets.sentinel import (
    DESYNC,
    INFO_PERIOD,
    STEPS,
    TICK_LEAST,
    TICK_MOST,
)

if TYPE_CHECKING:
    from pytest_drdrill.failover.presets import SentinelPreset
    from pytest_drdrill.simulation.endpoint import SimulatedEndpoint
    from pytest_drdrill.simulation.mechanisms.stage import Stage

_QUIET = 5.0
"""Seconds before the disaster, of several pings each."""
_ASK_PERIOD = timedelta(seconds=1)
_NOTHING = timedelta(0)


async def sentinel(preset: SentinelPreset, stage: Stage) -> dict[str, float]:
    """A master and its Sentinels, until a replica is the master."""
    (master,) = stage.world.endpoints("master")
    broken, agreed = asyncio.Event(), asyncio.Event()
    watchers: list[_Sentinel] = []
    for _ in range(preset.sentinels):
        watchers.append(_Sentinel(preset, stage, master, broken, watchers))
    for each in watchers:
        stage.start(each.watch(agreed))
    await stage.clock.sleep(_QUIET)
    struck_at = stage.strike(master)
    if stage.fault == "refused":
        broken.set()  # the links to a process that dies are closed
    await agreed.wait()
    odown = stage.clock.monotonic() - struck_at
    promoted, promoted_late = await asyncio.gather(_promote(stage), _promote_late(preset, stage))
    return {
        "+odown": odown,
        "+promoted-slave": promoted - struck_at,
        "+promoted-slave, first vote lost": promoted_late - struck_at,
    }


async def _promote(stage: Stage) -> float:
    """What the leader of a failover does; returns when it has seen the new master."""
    for _ in range(STEPS):
        await stage.clock.sleep(stage.between(TICK_LEAST, TICK_MOST))
    await stage.clock.sleep(stage.between(_NOTHING, INFO_PERIOD + TICK_MOST))
    return stage.clock.monotonic()


async def _promote_late(preset: SentinelPreset, stage: Stage) -> float:
    """Likewise, of a leader that nobody voted for at first; it may begin anew after a while."""
    await stage.clock.sleep(preset.retry_after.total_seconds() + stage.between(_NOTHING, DESYNC))
    await stage.clock.sleep(stage.between(_NOTHING, TICK_MOST))
    return await _promote(stage)


class _Sentinel:
    """One Sentinel, and what it believes of the master."""

    def __init__(
        self,
        preset: SentinelPreset,
        stage: Stage,
        master: SimulatedEndpoint,
        broken: asyncio.Event,
        all_of_them: list[_Sentinel],
    ) -> None:
        self._preset = preset
        self._stage = stage
        self._master = master
        self._broken = broken
        self._all = all_of_them
        self.down = False

    async def watch(self, agreed: asyncio.Event) -> None:
        """Ping until the master is down, then ask the others until enough of them say so too."""
        await self._ping_until_down()
        self.down = True
        stage = self._stage
        while not agreed.is_set():
            say_so = sum(each.down for each in self._all)
            waited = 0.0
            if self._preset.quorum > 1:  # the others are asked, and count at the next tick
                waited = stage.between(TICK_LEAST, TICK_MOST)
                await stage.clock.sleep(waited)
            if say_so >= self._preset.quorum:
                agreed.set()
            await stage.clock.sleep(_ASK_PERIOD.total_seconds() - waited)

    async def _ping_until_down(self) -> None:
        stage, clock = self._stage, self._stage.clock
        after = self._preset.down_after.total_seconds()
        period = self._preset.ping_period + timedelta(seconds=stage.between(_NOTHING, TICK_MOST))
        # Its pings lie so that one comes a moment after the disaster.
        due = _QUIET + stage.wait(period) - 2 * period.total_seconds()
        pause = due - clock.monotonic()
        while not await self._breaks_within(pause):
            tick = stage.between(_NOTHING, TICK_MOST)
            if not await stage.answers(self._master, timedelta(seconds=after + tick)):
                if not self._broken.is_set():
                    return
                break
            pause = period.total_seconds()
        # The next tick connects anew, in vain, and the ping of that is the one that counts.
        await clock.sleep(stage.between(_NOTHING, TICK_MOST))
        await clock.sleep(after + stage.between(_NOTHING, TICK_MOST))

    async def _breaks_within(self, seconds: float) -> bool:
        """Wait for the next ping; returns whether the link broke before."""
        try:
            async with self._stage.clock.timeout(seconds):
                await self._broken.wait()
        except TimeoutError:
            return False
        return True
