"""Writes, and what of them is where when."""

import asyncio

import pytest
from replication_world import in_world, told

from pytest_drdrill import (
    IndeterminateWriteError,
    LivelockError,
    RegionUnreachableError,
    WriteRefusedError,
)
from pytest_drdrill.simulation import loop


def test_an_asynchronous_write_returns_at_once_and_is_visible_after_the_lag():
    async def main(world, regions, replication):
        answer = await replication.write("a", 1)
        assert answer == (1, 1, "east")
        assert world.clock.monotonic() == 0
        assert await replication.read("a") == 1
        await world.clock.sleep(4.999999)
        assert await replication.read("a", region="west") is None
        assert replication.lag("west").changes == 1
        await world.clock.sleep(0.000001)
        assert await replication.read("a", region="west") == 1
        await world.clock.sleep(0)
        assert replication.lag("west") == (0, 0, replication.lag("west").time * 0)

    in_world(main)


def test_the_lag_is_the_same_for_each_write_however_many_are_under_way():
    async def main(world, regions, replication):
        for n in range(40):
            await replication.write(n, n)
            await world.clock.sleep(1)
            visible = await replication.keys(region="west")
            assert visible == list(range(max(0, n - 3)))
        assert await replication.keys() == list(range(40))

    in_world(main, lag="4500ms")


@pytest.mark.parametrize(
    ("settings", "takes"),
    [
        ({"mode": "asynchronous"}, 0),
        ({"mode": "semi-synchronous"}, 2),
        ({"mode": "semi-synchronous", "acknowledgements": 2}, 7),
        ({"mode": "synchronous"}, 7),
    ],
    ids=str,
)
def test_each_mode_waits_for_as_many_flushes_as_it_says(settings, takes):
    async def main(world, regions, replication):
        regions["west"].lag_s, regions["north"].lag_s = 2, 7
        await replication.write("a", 1)
        return world.clock.monotonic()

    assert in_world(main, regions=3, **settings) == takes


def test_a_write_that_nobody_flushes_is_indeterminate_and_goes_on_to_the_secondary():
    async def main(world, regions, replication):
        regions["west"].isolate()
        with pytest.raises(IndeterminateWriteError, match="0 of the 1 secondaries"):
            await replication.write("a", 1)
        assert world.clock.monotonic() == 30
        regions["west"].restore()
        await replication.wait_caught_up("west", "1m")
        assert await replication.keys(region="west") == ["a"]

    in_world(main, mode="synchronous")


def test_a_fallback_is_an_event_and_ends_when_the_secondary_has_it_all():
    async def main(world, regions, replication):
        await replication.write(0, "waited for")
        regions["west"].lose()
        await replication.write(1, "not any more")
        assert world.clock.monotonic() == 3
        assert replication.is_degraded
        await replication.write(2, "at once")
        assert world.clock.monotonic() == 3
        regions["west"].restore()
        await replication.wait_caught_up("west", "1m")
        assert not replication.is_degraded
        began = world.clock.monotonic()
        await replication.write(3, "waited for again")
        assert world.clock.monotonic() == began + 1
        return told(replication, "fallback", "fallback_ended")

    fallback, ended = in_world(main, lag="1s", mode="synchronous", fallback_after="2s")
    assert fallback == (3, "fallback", "east")
    assert ended[1:] == ("fallback_ended", "east")


def test_what_is_under_way_when_a_region_is_lost_is_lost():
    async def main(world, regions, replication):
        await replication.write("early", 1)
        await world.clock.sleep(4)
        await replication.write("late", 2)
        await world.clock.sleep(1.5)
        regions["east"].lose()
        with pytest.raises(RegionUnreachableError, match="east is lost"):
            await replication.write("never", 3)
        await world.clock.sleep(100)
        assert await replication.keys(region="west") == ["early"]

    in_world(main)


def test_no_more_changes_are_under_way_than_the_window_admits():
    async def main(world, regions, replication):
        for n in range(30):
            await replication.write(n, n)
        visible = []
        for _ in range(16):
            visible.append(len(await replication.keys(region="west")))
            await world.clock.sleep(1)
        return visible

    visible = in_world(main, lag="4500ms", window=10, batch=4)
    assert visible == [0] * 5 + [10] * 4 + [20] * 5 + [30] * 2


def test_an_interrupted_stream_goes_on_in_order_and_applies_everything_once():
    async def main(world, regions, replication):
        applied = []
        apply = regions["west"].store.apply
        regions["west"].store.apply = lambda changes: applied.append(changes) or apply(changes)
        for n in range(100):
            if n % 10 == 5:
                regions["west"].isolate()
            if n % 10 == 8:
                regions["west"].restore()
            await replication.write(n % 7, n)
            await world.clock.sleep(1)
        await replication.wait_caught_up("west", "2m")
        east, west = (each.store for each in regions)
        assert west.history == east.history
        assert west.changes(0) == east.changes(0)
        assert [await replication.read(k, region="west") for k in range(7)] == [
            await replication.read(k) for k in range(7)
        ]
        return [change.position for batch in applied for change in batch]

    positions = in_world(main)
    assert sorted(set(positions)) == list(range(1, 101))


def test_only_the_primary_takes_writes_and_only_while_its_lease_lasts():
    async def main(world, regions, replication):
        with pytest.raises(WriteRefusedError, match="west takes no writes: it is not the primary"):
            await replication.write("a", 1, region="west")
        regions["east"].isolate()
        assert (await replication.write("a", 1, region="east")).position == 1
        await world.clock.sleep(10)
        with pytest.raises(WriteRefusedError, match="its lease ended 0s ago"):
            await replication.write("b", 1, region="east")
        regions["east"].restore()
        await world.clock.sleep(4)
        await replication.write("b", 1)

    in_world(main)


def test_backpressure_holds_writes_back_until_the_followers_are_near_enough():
    async def main(world, regions, replication):
        for n in range(10):
            await replication.write(n, n)
            assert replication.lag("west").changes <= 3
        assert world.clock.monotonic() == 15
        many = [asyncio.create_task(replication.write(n, n)) for n in range(20, 32)]
        for _ in range(60):
            await world.clock.sleep(0.5)
            assert replication.lag("west").changes <= 3
        await asyncio.gather(*many)
        await replication.wait_caught_up("west")
        regions["west"].isolate()
        await replication.write(9, 9)
        await replication.write(10, 10)
        await replication.write(11, 11)
        with pytest.raises(WriteRefusedError, match="backpressure"):
            await replication.write(12, 12)

    in_world(main, max_backlog=3)


@pytest.mark.parametrize("key", [True, 1.5, None, b"x"])
def test_a_key_of_another_type_is_one_sentence(key):
    async def main(world, regions, replication):
        with pytest.raises(TypeError, match="a key must be text or a whole number, not"):
            await replication.write(key, 1)
        with pytest.raises(TypeError, match="a value must be text, bytes or a number, not None"):
            await replication.write("a", None)
        with pytest.raises(ValueError, match=r"no region is named 'mars'; there are \['east'"):
            await replication.read("a", region="mars")

    in_world(main)


def test_a_client_that_does_nothing_but_write_is_an_error_and_no_hang(monkeypatch):
    monkeypatch.setattr(loop, "TURNS", 1000)

    async def main(world, regions, replication):
        n = 0
        while True:
            n += 1
            await replication.write(n % 10, n)

    with pytest.raises(LivelockError):
        in_world(main)
