"""Polling: a check, an interval from its end, and the next check."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pytest_drdrill.failover.presets.consul import REAP_INTERVAL

if TYPE_CHECKING:
    from datetime import timedelta

    from pytest_drdrill.failover.presets import ConsulPreset, HAProxyPreset
    from pytest_drdrill.failover.presets.polled import PolledPreset, Polling
    from pytest_drdrill.simulation.endpoint import SimulatedEndpoint
    from pytest_drdrill.simulation.mechanisms.stage import Stage

_QUIET_CHECKS = 3
"""Checks of a service that is well, before the disaster."""


async def haproxy(preset: HAProxyPreset, stage: Stage) -> dict[str, float]:
    """One server, until it is DOWN and UP again."""
    (server,) = stage.world.endpoints("server")
    poller = _Poller(preset, stage, server)
    return {"DOWN": await poller.goes_down(), "UP again": await poller.comes_back()}


async def consul(preset: ConsulPreset, stage: Stage) -> dict[str, float]:
    """One service, until it is critical and passing again; another one, until it is deregistered.

    A service that is deregistered has no check that could pass again.
    """
    service, forgotten = stage.world.endpoints("service", "forgotten")
    poller = _Poller(preset, stage, service)
    found = {"critical": await poller.goes_down(), "passing again": await poller.comes_back()}
    if preset.deregister_critical_service_after is not None:
        poller = _Poller(preset, stage, forgotten)
        critical = await poller.goes_down()
        await stage.end()  # it stays critical, and weeks of checks would say nothing new
        after = preset.deregister_critical_service_after
        found["deregistered"] = critical + await reaped(after, stage)
    return found


async def reaped(after: timedelta, stage: Stage) -> float:
    """Seconds from the moment at which a service is critical until an agent deregisters it.

    That is at the first of the agent's looks after a time; those before it are of no consequence.
    """
    critical_since = stage.clock.monotonic()
    await stage.clock.sleep(after.total_seconds() + stage.wait(REAP_INTERVAL))
    return stage.clock.monotonic() - critical_since


class _Poller:
    """Checks an endpoint, and says when its status changes."""

    def __init__(self, preset: PolledPreset, stage: Stage, endpoint: SimulatedEndpoint) -> None:
        self._polling: Polling = preset.polling
        self._takes = preset.check_takes(stage.fault)
        self._stage = stage
        self._endpoint = endpoint
        self._up = True
        self._bad = self._good = 0
        self._changed = asyncio.Event()

    async def goes_down(self) -> float:
        """Have the endpoint fail; returns the seconds until it is down."""
        stage, interval = self._stage, self._polling.interval
        stage.start(self._poll_forever())
        quiet = _QUIET_CHECKS * interval.total_seconds()
        await stage.clock.sleep(quiet - stage.wait(interval))
        struck_at = stage.strike(self._endpoint)
        await self._changed.wait()
        return stage.clock.monotonic() - struck_at

    async def comes_back(self) -> float:
        """Have it be well again; returns the seconds until it is up."""
        stage, interval = self._stage, self._polling.down
        self._changed.clear()
        await stage.clock.sleep(interval.total_seconds() - stage.wait(interval))
        self._endpoint.recover()
        well_at = stage.clock.monotonic()
        await self._changed.wait()
        return stage.clock.monotonic() - well_at

    async def _poll_forever(self) -> None:
        while True:
            self._count(await self._stage.answers(self._endpoint, self._takes))
            await self._stage.clock.sleep(self._pause().total_seconds())

    def _count(self, well: bool) -> None:
        self._good, self._bad = (self._good + 1, 0) if well else (0, self._bad + 1)
        enough = self._bad >= self._polling.fall if self._up else self._good >= self._polling.rise
        if enough:
            self._up = not self._up
            self._good = self._bad = 0
            self._changed.set()

    def _pause(self) -> timedelta:
        if self._up:
            return self._polling.fast if self._bad else self._polling.interval
        return self._polling.fast if self._good else self._polling.down
