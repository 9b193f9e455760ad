"""Fewer secondaries than a write asks for, after a promotion or at a start: an event each time."""

import pytest
from replication_world import in_world, replication_of, told

from pytest_drdrill import simulate


def test_fewer_followers_than_a_write_asks_for_are_a_fallback_until_there_are_as_many():
    async def main(world, regions, replication):
        await replication.write(0, "flushed by two")
        regions["east"].lose()
        await replication.promote_region_to_primary("west")
        assert not replication.is_degraded
        assert told(replication, "fallback") == []  # nothing was acknowledged so yet
        began = world.clock.monotonic()
        await replication.write(1, "flushed by one")
        await replication.write(2, "likewise")
        assert world.clock.monotonic() == began + 2
        assert replication.is_degraded
        regions["east"].restore()
        await replication.rejoin("east")
        await replication.wait_caught_up("east", "1m")
        assert not replication.is_degraded
        await replication.write(3, "flushed by two again")
        assert not replication.is_degraded
        return [event for event in replication.events if event.kind.startswith("fallback")]

    settings = {"mode": "semi-synchronous", "acknowledgements": 2}
    fallback, ended = in_world(main, regions=3, lag="1s", **settings)
    assert (fallback.kind, fallback.region) == ("fallback", "west")
    assert fallback.reason.startswith("1 of the 2 secondaries that a write asks for follow: ")
    assert (ended.kind, ended.region) == ("fallback_ended", "west")


@pytest.mark.parametrize(
    "settings",
    [{"mode": "semi-synchronous"}, {"mode": "synchronous"}, {"mode": "asynchronous"}],
    ids=str,
)
def test_who_asks_for_no_more_than_follow_has_none(settings):
    async def main(world, regions, replication):
        await replication.write(0, 0)
        regions["east"].lose()
        await replication.promote_region_to_primary("west")
        await replication.write(1, 1)
        assert not replication.is_degraded
        return told(replication, "fallback", "unprotected")

    assert in_world(main, regions=3, lag="1s", **settings) == []


def test_a_write_that_was_not_waited_for_at_all_is_one_fallback_not_two():
    async def main(world, regions, replication):
        regions["west"].lose()
        await replication.write(0, 0)
        await replication.write(1, 1)
        return told(replication, "fallback")

    settings = {"mode": "semi-synchronous", "acknowledgements": 2, "fallback_after": "2s"}
    assert len(in_world(main, regions=3, lag="1s", **settings)) == 1


@pytest.mark.parametrize("mode", ["synchronous", "semi-synchronous"])
def test_a_stop_ends_no_fallback(mode):
    async def main(world):
        regions = world.regions("east", "west", "north", replication_lag="1s")
        settings = {"fallback_after": "2s"} if mode == "synchronous" else {"acknowledgements": 2}
        replication = replication_of(world, regions, mode=mode, **settings)
        async with replication:
            if mode == "semi-synchronous":
                regions["east"].lose()
                await replication.promote_region_to_primary("west")
            else:
                regions["north"].isolate()
            await replication.write(0, "not flushed by all that should have")
            assert replication.is_degraded
        regions["east"].restore()
        async with replication:
            for _ in range(2):
                assert told(replication, "fallback_ended") == []
                await world.clock.sleep(10)
            regions["north"].restore()
            if mode == "semi-synchronous":
                await replication.rejoin("east")
            await world.clock.sleep(60)
        assert not replication.is_degraded
        assert len(told(replication, "fallback")) == 1
        assert len(told(replication, "fallback_ended")) == 1

    simulate(main)


def test_a_start_without_followers_is_unprotected():
    async def main(world):
        regions = world.regions("east", "west", replication_lag="1s")
        replication = replication_of(world, regions, mode="synchronous")
        async with replication:
            await replication.promote_region_to_primary("west")
        assert len(told(replication, "unprotected")) == 1
        async with replication:  # east was left behind, and is so still
            assert len(told(replication, "unprotected")) == 2
            await replication.rejoin("east")
        async with replication:
            assert len(told(replication, "unprotected")) == 2

    simulate(main)
