"""Leases: what holds as long as somebody renews it, and is gone when nobody did in time."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING

from pytest_drdrill.failover.presets.patroni import REQUEST_TIMEOUT
from pytest_drdrill.simulation.mechanisms.polled import reaped

if TYPE_CHECKING:
    from pytest_drdrill.clock import Clock
    from pytest_drdrill.failover.presets import ConsulTTLPreset, PatroniPreset
    from pytest_drdrill.simulation.endpoint import SimulatedEndpoint
    from pytest_drdrill.simulation.mechanisms.stage import Stage

_QUIET_BEATS = 3
"""Renewals that come in time, before the disaster."""
_SHORTEST = 1e-9
"""Seconds below which nothing is left: what a sum of floats is off by, and more."""


class _Lease:
    """A lease with a time to live, held from the start."""

    def __init__(self, ttl: timedelta, clock: Clock) -> None:
        self._ttl = ttl.total_seconds()
        self._clock = clock
        self._released = asyncio.Event()
        self.renew()

    def renew(self) -> None:
        """Hold it for another time to live."""
        self._ends_at = self._clock.monotonic() + self._ttl

    def release(self) -> None:
        """Give it up."""
        self._released.set()

    async def gone(self) -> None:
        """Wait until it has expired, or was given up."""
        while (left := self._ends_at - self._clock.monotonic()) > _SHORTEST:
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(left):
                    await self._released.wait()
                    return


async def time_to_live(preset: ConsulTTLPreset, stage: Stage) -> dict[str, float]:
    """A service that says that it is well, until it is critical, deregistered, passing again."""
    (service,) = stage.world.endpoints("service")
    clock, beat = stage.clock, preset.heartbeat.total_seconds()
    lease = _Lease(preset.ttl, clock)
    begun = clock.monotonic()
    for _ in range(_QUIET_BEATS - 1):
        await clock.sleep(beat)
        lease.renew()
    await clock.sleep(beat - stage.wait(preset.heartbeat))
    struck_at = stage.strike(service)
    await lease.gone()
    found = {"critical": clock.monotonic() - struck_at}
    if preset.deregister_critical_service_after is not None:
        after = await reaped(preset.deregister_critical_service_after, stage)
        found["deregistered"] = found["critical"] + after
    # Its beats lie where they did; nothing came of those at which it was down.
    await clock.sleep(stage.until_beat(begun, preset.heartbeat))
    await clock.sleep(beat - stage.wait(preset.heartbeat))
    service.recover()
    well_at = clock.monotonic()
    await clock.sleep(stage.until_beat(begun, preset.heartbeat))
    found["passing again"] = clock.monotonic() - well_at
    return found


async def patroni(preset: PatroniPreset, stage: Stage) -> dict[str, float]:
    """A leader and a candidate, until the candidate leads."""
    (database,) = stage.world.endpoints("database")
    key = _Lease(preset.ttl, stage.clock)
    stage.start(_lead(preset, stage, key, database))
    cycle = preset.loop_wait
    await stage.clock.sleep(_QUIET_BEATS * cycle.total_seconds() - stage.wait(cycle))
    struck_at = stage.strike(database)
    await key.gone()
    gone = stage.clock.monotonic() - struck_at
    if stage.fault == "silent":  # it is asked whether it lives, and a dead host may just not answer
        await stage.clock.sleep(stage.between(timedelta(0), REQUEST_TIMEOUT))
    return {"leader key gone": gone, "new leader": stage.clock.monotonic() - struck_at}


async def _lead(
    preset: PatroniPreset, stage: Stage, key: _Lease, database: SimulatedEndpoint
) -> None:
    """The cycles of the leader: it renews its key, and starts a database that has died."""
    clock, cycle = stage.clock, preset.loop_wait.total_seconds()
    while database.is_up:
        key.renew()
        await clock.sleep(cycle)
    if stage.fault == "silent":  # who is dead renews nothing
        return
    patience = preset.primary_start_timeout.total_seconds()
    fails_after = stage.between(timedelta(0), preset.primary_start_timeout)
    begun = clock.monotonic()
    while patience - (trying := clock.monotonic() - begun) > _SHORTEST:
        key.renew()
        if fails_after < patience and fails_after - trying <= cycle:
            await clock.sleep(fails_after - trying)
            break
        await clock.sleep(cycle)
    key.release()
