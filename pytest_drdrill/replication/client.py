"""What a client does: a write that is acknowledged or not, and what can be read where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.replication.changes import checked_key, checked_value
from pytest_drdrill.replication.errors import (
    IndeterminateWriteError,
    RegionUnreachableError,
    ReplicationError,
    SilentRegionError,
    WriteRefusedError,
)
from pytest_drdrill.replication.events import Acknowledgement

if TYPE_CHECKING:
    from pytest_drdrill.replication.changes import Key, Value
    from pytest_drdrill.replication.engine import Engine


async def write(engine: Engine, key: Key, value: Value, region: str | None) -> Acknowledgement:
    """Write on the primary; see ``CrossRegionReplication.write``."""
    try:
        return await _write(engine, checked_key(key), checked_value(value), region)
    except SilentRegionError as error:
        raise IndeterminateWriteError(str(error)) from None


async def _write(engine: Engine, key: Key, value: Value, region: str | None) -> Acknowledgement:
    parts, clock = engine.parts, engine.parts.clock
    leadership, replica = await engine.reach(region)
    try:
        async with clock.timeout(parts.settings.write_timeout):
            while await leadership.wait_for_room():
                # The region may have been lost meanwhile, and others have taken the room.
                leadership, replica = await engine.reach(region)
    except TimeoutError:
        raise WriteRefusedError(
            f"the followers of {replica.name} are too far behind: backpressure"
        ) from None
    except RegionUnreachableError:
        raise
    except ReplicationError as error:
        raise WriteRefusedError(str(error)) from None
    if replica is not leadership.primary:
        replica.read(clock.monotonic())  # says why, in the region's own words
        raise WriteRefusedError(f"{replica.name} has not taken over yet")
    try:
        change = replica.accept(key, value, clock.monotonic())
    except OSError as error:
        raise WriteRefusedError(f"{replica.name} can't store a write: {error}") from error
    leadership.written(change)
    await leadership.wait_flushed(change)
    try:
        replica.check(change.epoch, clock.monotonic())
        await parts.network.carry(replica.name, region)
    except (WriteRefusedError, ConnectionError) as error:
        raise IndeterminateWriteError(
            f"position {change.position} of {replica.name} was not acknowledged: {error}"
        ) from None
    if leadership is not engine.current:
        raise IndeterminateWriteError(
            f"position {change.position} of {replica.name} was not acknowledged before its "
            "epoch was over"
        )
    leadership.acknowledged(change)
    return Acknowledgement(change.position, change.epoch, replica.name)


async def read(engine: Engine, key: Key, region: str | None) -> Value | None:
    """Read a key; see ``CrossRegionReplication.read``."""
    key = checked_key(key)
    _, replica = await engine.reach(region)
    store = replica.store if region else replica.read(engine.parts.clock.monotonic())
    value = store.get(key)
    await engine.answer(replica, region)
    return value


async def keys(engine: Engine, region: str | None) -> list[Key]:
    """Read which keys there are; see ``CrossRegionReplication.keys``."""
    _, replica = await engine.reach(region)
    store = replica.store if region else replica.read(engine.parts.clock.monotonic())
    found = store.keys()
    await engine.answer(replica, region)
    return found
