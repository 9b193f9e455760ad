"""Regions that lose what they had flushed: by a power loss without fsync, or by one rotten bit."""

import pytest
from replication_world import replication_of

from pytest_drdrill import (
    CatchUpTimeoutError,
    Change,
    History,
    PromotionFailed,
    RegionUnreachableError,
    WriteRefusedError,
    simulate,
)
from pytest_drdrill.replication.acknowledged import AcknowledgedWrites

KEYS = list(range(5))


def on_a_host(main, name="west", *, fsync=False, mode="synchronous", **settings):
    """Run ``main`` with five acknowledged writes, and a region on a host, which is given to it."""

    async def run(world):
        regions = world.regions("east", "west", replication_lag="1s")
        (host,) = world.hosts("db", place=regions[name], boot_time="1s")
        regions[name].serve_from(host, fsync=fsync)
        async with replication_of(world, regions, mode=mode, **settings) as replication:
            for key in KEYS:
                await replication.write(key, key)
            await replication.wait_caught_up("west")
            return await main(world, regions, replication, host)

    return simulate(run)


def lose(host, *, rot):
    if rot:
        host.disk.rot("changes.log", bits=200)
    host.lose_power()
    host.restart()


# A secondary.


@pytest.mark.parametrize("rot", [False, True])
def test_a_secondary_that_lost_its_copy_has_it_again_though_the_primary_is_idle(rot):
    alerts = []

    async def main(world, regions, replication, host):
        replication.add_alert_callback(alerts.append)
        lose(host, rot=rot)
        await world.clock.sleep(600)
        assert regions["west"].store.keys() == KEYS
        outcome = await replication.failback("west")
        assert (await replication.keys(), outcome.lost, outcome.unlisted) == (KEYS, (), 0)
        return [each for each in replication.events if each.kind.startswith("secondary_")]

    failed, recovered = on_a_host(main, fsync=rot)
    assert (failed.kind, failed.region, failed.other) == ("secondary_failed", "west", "east")
    assert failed.reason == "it has lost changes that it had flushed: it holds 0 of 5"
    assert (recovered.kind, recovered.region) == ("secondary_recovered", "west")
    assert recovered.monotonic - failed.monotonic < 10
    assert [each.kind for each in alerts] == ["secondary_failed"]
    assert alerts[0].message.startswith("west does not keep up with east: it has lost changes")


def test_who_waits_for_a_secondary_has_it_asked():
    async def main(world, regions, replication, host):
        lose(host, rot=False)
        await world.clock.sleep(1)
        assert regions["west"].store.keys() == []
        await replication.wait_caught_up("west", "1m")
        assert regions["west"].store.keys() == KEYS
        regions["west"].isolate()
        with pytest.raises(CatchUpTimeoutError, match="west was still silent on what it holds aft"):
            await replication.wait_caught_up("west", "1m")

    on_a_host(main, heartbeat_interval="1h", connection_timeout="2h")


def test_a_failback_to_a_secondary_that_loses_its_copy_in_the_drain_fails():
    async def main(world, regions, replication, host):
        carry = world.network.carry

        async def losing(source, target, *, changes=False):
            if (source, target) == (None, "west") and replication.events[-1].kind == "fenced":
                regions["west"].store.rewind(0)
            await carry(source, target, changes=changes)

        world.network.carry = losing
        with pytest.raises(PromotionFailed, match="west has lost changes: it holds 0 of 5"):
            await replication.failback("west")
        world.network.carry = carry
        assert await replication.keys() == KEYS
        assert replication.primary is regions["east"]
        await replication.write("goes on", 1)
        await replication.failback("west")
        assert await replication.keys() == [*KEYS, "goes on"]

    on_a_host(main)


@pytest.mark.parametrize("mode", ["asynchronous", "synchronous"])
@pytest.mark.parametrize("rot", [False, True])
def test_a_promotion_says_what_is_lost_of_what_was_flushed(mode, rot):
    async def main(world, regions, replication, host):
        lose(host, rot=rot)
        regions["east"].lose()
        await world.clock.sleep(5)
        outcome = await replication.promote_region_to_primary("west")
        assert await replication.keys() == []
        assert (outcome.position, outcome.unlisted) == (0, 0)
        assert [change.key for change in outcome.lost] == KEYS
        (reason,) = (each.reason for each in replication.events if each.kind == "promotion")
        assert reason == "epoch 2; 5 acknowledged writes are lost, positions 1 to 5"
        regions["east"].restore()
        await replication.rejoin("east")
        assert (await replication.failback("east")).lost == ()  # told once

    on_a_host(main, fsync=rot, mode=mode)


# Of which not all is known any more.


def changes(first, last, epoch=1):
    return [Change(n, epoch, n, n) for n in range(first, last + 1)]


def test_what_there_is_no_room_for_is_counted():
    kept, history = AcknowledgedWrites(room=1100), History(((1, 1),), 20)
    for change in changes(1, 20):
        kept.add(change, 20, history)
    assert kept.last == 20
    lost, unlisted = kept.part_with(History(((1, 1),), 3))
    assert ([change.position for change in lost], unlisted) == ([16, 17, 18, 19, 20], 12)
    assert kept.part_with(History(((1, 1), (2, 4)), 9)) == ((), 0)  # told once
    for change in changes(4, 9, epoch=2):
        kept.add(change, 20, History(((1, 1), (2, 4)), 9))
    assert kept.part_with(History(((1, 1), (3, 3)), 30)) == (tuple(changes(5, 9, epoch=2)), 2)


def test_what_another_region_may_lack_is_kept_whatever_room_it_takes():
    kept, history = AcknowledgedWrites(room=1), History(((1, 1),), 20)
    for change in changes(1, 20):
        kept.add(change, 8, history)
    assert kept.part_with(History()) == (tuple(changes(9, 20)), 8)


def test_a_promotion_that_can_not_list_all_says_how_many_are_gone(monkeypatch):
    monkeypatch.setattr(AcknowledgedWrites.__init__, "__defaults__", (500,))

    async def main(world, regions, replication, host):
        regions["east"].lose()
        lose(host, rot=False)
        await world.clock.sleep(5)
        outcome = await replication.promote_region_to_primary("west")
        assert len(outcome.lost) + outcome.unlisted == 5
        assert outcome.unlisted > 0
        (reason,) = (each.reason for each in replication.events if each.kind == "promotion")
        assert f"{outcome.unlisted} positions are gone whose changes are no longer kept" in reason
        assert "no acknowledged" not in reason

    on_a_host(main)


def test_a_promotion_of_which_nothing_is_listed_does_not_say_that_nothing_is_lost(monkeypatch):
    monkeypatch.setattr(AcknowledgedWrites.__init__, "__defaults__", (1,))

    async def main(world, regions, replication, host):
        regions["east"].lose()
        lose(host, rot=False)
        await world.clock.sleep(5)
        outcome = await replication.promote_region_to_primary("west")
        (reason,) = (each.reason for each in replication.events if each.kind == "promotion")
        return outcome, reason

    outcome, reason = on_a_host(main)
    assert (outcome.lost, outcome.unlisted) == ((), 5)
    assert reason == "epoch 2; 5 positions are gone whose changes are no longer kept"


# The primary.


def test_a_primary_that_lost_its_copy_takes_nobody_elses():
    async def main(world, regions, replication, host):
        lose(host, rot=False)
        await world.clock.sleep(20)
        assert regions["east"].store.keys() == []
        lag = replication.lag("west")
        assert (lag.changes, lag.size_bytes, lag.time.total_seconds()) == (0, 0, 0)
        with pytest.raises(RegionUnreachableError, match="east has lost changes that others may"):
            await replication.rejoin("west")
        await world.clock.sleep(60)
        assert regions["west"].store.keys() == KEYS
        outcome = await replication.promote_region_to_primary("west")
        assert (outcome.lost, await replication.keys()) == ((), KEYS)

    on_a_host(main, "east")


@pytest.mark.parametrize("rot", [False, True])
def test_a_primary_that_lost_its_copy_takes_no_write_at_a_position_that_others_have(rot):
    async def main(world, regions, replication, host):
        lose(host, rot=rot)
        await world.clock.sleep(20)
        with pytest.raises(WriteRefusedError, match="changes of epoch 1 were lost with the power"):
            await replication.write("new", 1)
        assert regions["east"].store.keys() == []
        outcome = await replication.promote_region_to_primary("west")
        assert outcome.lost == ()
        await replication.write("new", 1)
        await replication.rejoin("east")
        await replication.wait_caught_up("east")
        assert regions["east"].store.keys() == [*KEYS, "new"]

    on_a_host(main, "east", fsync=rot, mode="asynchronous")


def test_a_primary_that_lost_its_last_change_alone_takes_nobody_elses():
    async def main(world, regions, replication, host):
        regions["east"].store.rewind(4)
        with pytest.raises(RegionUnreachableError, match="it holds 4 of 5; promote one of them"):
            await replication.rejoin("west")
        await world.clock.sleep(60)
        assert regions["west"].store.keys() == KEYS

    on_a_host(main)


def test_a_primary_that_lost_its_copy_takes_writes_in_the_epoch_of_another_start():
    async def main(world, regions, replication, host):
        regions["west"].lose()
        lose(host, rot=False)
        await world.clock.sleep(20)
        with pytest.raises(WriteRefusedError, match="changes of epoch 1 were lost with the power"):
            await replication.write("new", 1)
        await replication.stop_replication()
        await replication.start_replication()
        assert (await replication.write("new", 1)).position == 1
        assert await replication.keys() == ["new"]

    on_a_host(main, "east", mode="asynchronous")
