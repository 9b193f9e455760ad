"""VRRP: a master that sends adverts, and a backup that takes over when they stop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta

    from pytest_drdrill.failover.presets import KeepalivedPreset
    from pytest_drdrill.simulation.endpoint import SimulatedEndpoint
    from pytest_drdrill.simulation.mechanisms.stage import Stage

_QUIET_BEATS = 3
"""Adverts, or runs of the script, before the disaster."""
_STOP = 0
"""The priority of an advert that says: I am no master any more."""
_MASTER = 255


async def keepalived(preset: KeepalivedPreset, stage: Stage) -> dict[str, float]:
    """A master and its backup, until the backup is the master."""
    (service,) = stage.world.endpoints("service")
    if stage.fault != "silent" and preset.script_interval is None:
        return {}  # nobody would ever notice, and the adverts go on for ever
    node = _Master(preset, stage, service)
    stage.start(node.advertise())
    beat = preset.advert_int
    if stage.fault != "silent" and preset.script_interval is not None:
        beat = preset.script_interval
        stage.start(node.run_script(beat))
    takes_over = stage.clock.loop.create_task(_back_up(preset, stage, node.adverts))
    await stage.clock.sleep(_QUIET_BEATS * beat.total_seconds() - stage.wait(beat))
    struck_at = stage.strike(service)
    node.host_is_up = stage.fault != "silent"
    found = {"MASTER": await takes_over - struck_at}
    if node.fault_at is not None:
        found["FAULT"] = node.fault_at - struck_at
    return found


class _Master:
    """The master: Keepalived on its host, beside the service."""

    def __init__(self, preset: KeepalivedPreset, stage: Stage, service: SimulatedEndpoint) -> None:
        self._preset = preset
        self._stage = stage
        self._service = service
        self.host_is_up = True
        self.fault_at: float | None = None
        self.adverts: asyncio.Queue[int] = asyncio.Queue()

    async def advertise(self) -> None:
        """Send adverts as long as it is the master."""
        while self.host_is_up and self.fault_at is None:
            self.adverts.put_nowait(_MASTER)
            await self._stage.clock.sleep(self._preset.advert_int.total_seconds())

    async def run_script(self, interval: timedelta) -> None:
        """Run the script at a fixed rate, but never twice at once, until it failed often enough."""
        clock, every = self._stage.clock, interval.total_seconds()
        failures = 0
        begun = due = clock.monotonic()
        while True:
            well = await self._stage.answers(
                self._service, self._preset.script_takes(self._stage.fault)
            )
            failures = 0 if well else failures + 1
            if failures >= self._preset.script_fall:
                self.fault_at = clock.monotonic()
                self.adverts.put_nowait(_STOP)
                return
            while due - clock.monotonic() < every * 1e-9:  # what was due while it ran is skipped
                due = begun + (round((due - begun) / every) + 1) * every
            await clock.sleep(due - clock.monotonic())


async def _back_up(preset: KeepalivedPreset, stage: Stage, adverts: asyncio.Queue[int]) -> float:
    """Wait until the adverts stop; returns when it becomes the master."""
    timer = preset.down_timer
    while True:
        try:
            async with stage.clock.timeout(timer.total_seconds()):
                priority = await adverts.get()
        except TimeoutError:
            return stage.clock.monotonic()
        timer = preset.skew if priority == _STOP else preset.down_timer
