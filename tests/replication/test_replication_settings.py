"""What a replication is made of, and each mistake in one sentence."""

import asyncio

import pytest
from replication_world import in_world, replication_of

from pytest_drdrill import (
    CrossRegionReplication,
    NotReplicatingError,
    Region,
    RegionUnreachableError,
    ReplicationError,
    ReplicationFailed,
    SimulatedWorld,
    simulate,
)


def pair():
    return [Region("east", "https://east.example.com", is_primary=True), Region("west")]


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ("east", "regions must be a list of Region, not 'east'"),
        (["east", "west"], "regions must be a list of Region; it holds 'east'"),
        (pair()[:1], "a replication needs at least two regions, not 1"),
        ([Region("a"), Region("b")], "is_primary is set on: none"),
        ([Region("a", "", True), Region("b", "", True)], "is_primary is set on: a, b"),
        ([Region("a"), Region("a")], "two regions are named 'a'; a name must be unique"),
    ],
    ids=str,
)
def test_regions_that_are_none(regions, message):
    with pytest.raises((TypeError, ValueError), match=message):
        CrossRegionReplication(regions)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "sync"}, "mode must be one of 'asynchronous', 'semi-synchronous', 'synchron"),
        ({"acknowledgements": 2}, "acknowledgements must be at most 1, the number of second"),
        ({"acknowledgements": 0}, "acknowledgements must be at least 1, not 0"),
        ({"max_backlog": "5"}, "max_backlog must be a whole number, not '5'"),
        ({"lease": 5}, "lease: "),
        ({"heartbeat_interval": "0s"}, "heartbeat_interval must be above zero"),
        ({"fallback_after": "soon"}, "fallback_after: "),
    ],
    ids=str,
)
def test_settings_that_are_none(settings, message):
    with pytest.raises((TypeError, ValueError), match=message):
        CrossRegionReplication(pair(), **settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5,), "name of a region must be text, not 5"),
        (("east", None), "endpoint of a region must be text, not None"),
        ((" ",), "a region needs a name"),
    ],
)
def test_a_region_that_is_none(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Region(*arguments)


def test_simulated_regions_are_found_by_name_and_by_place():
    with SimulatedWorld() as world:
        regions = world.regions("us-east-1", "us-west-2", replication_lag="5s")
        east, west = regions
        assert (regions["us-east-1"], regions[1], len(regions)) == (east, west, 2)
        assert (east.is_primary, west.is_primary) == (True, False)
        assert repr(east) == "<Region 'us-east-1', primary>"
        with pytest.raises(KeyError, match="no region is named 'mars'; there are us-east-1, us-w"):
            regions["mars"]
        with pytest.raises(ValueError, match="a region is named 'us-east-1' already"):
            world.regions("us-east-1")
        with pytest.raises(ValueError, match="regions\\(\\) needs a name"):
            world.regions()
        with pytest.raises(TypeError, match="replication_lag: "):
            world.regions("a", "b", replication_lag=5)


def test_who_uses_it_before_its_start_or_elsewhere_is_told():
    async def main(world):
        replication = replication_of(world, world.regions("east", "west"))
        for use in (replication.write("a", 1), replication.rejoin("west"), replication.keys()):
            with pytest.raises(NotReplicatingError, match="the replication does not run"):
                await use
        async with replication:
            assert (replication.is_replicating, replication.mode) == (True, "asynchronous")
            with pytest.raises(ReplicationError, match="runs already; stop it before a new start"):
                await replication.start_replication()
            await world.clock.sleep(1)
        assert not replication.is_replicating
        assert len(asyncio.all_tasks()) == 1  # nothing is left running

    simulate(main)


def test_a_primary_that_is_not_there_is_no_start():
    async def main(world):
        regions = world.regions("east", "west")
        regions["east"].lose()
        replication = replication_of(world, regions)
        with pytest.raises(RegionUnreachableError, match="the primary, east, can't be reached"):
            await replication.start_replication()
        assert len(asyncio.all_tasks()) == 1
        regions["east"].restore()
        regions["west"].lose()
        async with replication:  # a secondary may come later
            await replication.write("a", 1)
            regions["west"].restore()
            await replication.wait_caught_up("west", "1m")

    simulate(main)


def test_what_an_observer_of_events_raises_is_not_swallowed():
    async def main(world):
        def observe(event):
            if event.kind == "connection_lost":
                raise LookupError("no log")

        regions = world.regions("east", "west")
        async with replication_of(world, regions, on_event=observe) as replication:
            regions["west"].lose()
            await world.clock.sleep(10)
            with pytest.raises(ReplicationFailed, match=r"the replication broke: LookupError\('no"):
                await replication.write("a", 1)

    with pytest.raises(ReplicationFailed, match="the replication broke"):
        simulate(main)


def test_the_same_seed_gives_the_same_history():
    def play(seed):
        async def main(world, regions, replication):
            for n in range(30):
                await replication.write(n, n)
                if n % 7 == 3:
                    regions["west"].isolate()
                if n % 7 == 6:
                    regions["west"].restore()
                await world.clock.sleep(1)
            await replication.wait_caught_up("west")
            return replication.events, world.clock.monotonic()

        return in_world(main, seed=seed)

    assert play(3) == play(3)
    assert play(3) != play(4)
