"""Messages of a replication: where they end, what breaks them off, and in which order they come."""

import asyncio
from contextlib import closing

import pytest

from pytest_drdrill import SimulatedWorld, simulate


async def fate(world, source, target, patience=10):
    """What became of a message between two regions, and when."""
    try:
        async with world.clock.timeout(patience):
            await world.network.carry(source, target)
    except (OSError, TimeoutError) as error:
        return type(error).__name__, world.clock.monotonic()
    return "arrived", world.clock.monotonic()


def served(world, name, *, boot_time="30s", lag="0s", within=True):
    """A region that is served from a host."""
    (region,) = world.regions(name, replication_lag=lag)
    place = region if within else None
    (host,) = world.hosts(f"db-{name}", place=place, boot_time=boot_time)
    region.serve_from(host)
    return region, host


@pytest.mark.parametrize("within", [True, False])
def test_they_go_to_the_host_that_serves_a_region(within):
    async def main(world):
        _, east = served(world, "east", within=within)
        served(world, "west", within=within)
        world.network.link(east, "west", latency="2s", one_way=True)
        assert await fate(world, "east", "west") == ("arrived", 2)
        with world.network.partition(east):
            assert (await fate(world, "west", "east"))[0] == "TimeoutError"
            assert (await fate(world, "east", "west"))[0] == "TimeoutError"
            assert (await fate(world, None, "east"))[0] == "TimeoutError"
            assert (await fate(world, "east", "east"))[0] == "TimeoutError"  # a client beside it
            assert (await fate(world, None, "west"))[0] == "arrived"
        with world.network.partition(east, one_way=True):  # nor is that client ever answered
            assert (await fate(world, "east", "east"))[0] == "TimeoutError"
        with world.network.partition("east"):  # what is told of the region holds for its host
            assert (await fate(world, None, "east"))[0] == "TimeoutError"
            assert (await fate(world, "east", "east"))[0] == "arrived"

    simulate(main)


@pytest.mark.parametrize("ends", [("east", "west"), ("west", "east"), (None, "east")])
def test_a_region_that_is_restored_while_it_is_well_breaks_nothing_off(ends):
    async def main(world):
        (east, _) = world.regions("east", "west")
        world.network.everywhere(latency="2s")
        pending = asyncio.create_task(fate(world, *ends))
        await world.clock.sleep(1)
        east.restore()
        assert await pending == ("arrived", 2)
        pending = asyncio.create_task(fate(world, *ends))
        await world.clock.sleep(1)
        east.isolate()
        assert await pending == ("ConnectionResetError", 3)

    simulate(main)


def test_a_loss_breaks_off_what_is_within_a_region_and_isolation_does_not():
    async def main(world):
        (east,) = world.regions("east")
        world.network.link(east, east, latency="2s")
        pending = asyncio.create_task(fate(world, "east", "east"))
        await world.clock.sleep(1)
        east.isolate()
        assert await pending == ("arrived", 2)
        east.lose_at("3s")
        assert await fate(world, "east", "east") == ("ConnectionResetError", 3)

    simulate(main)


def test_a_paused_host_that_is_rebooted_has_forgotten_what_waited():
    async def main(world):
        _, host = served(world, "east", boot_time="0s")
        host.pause_at("1s")
        await world.clock.sleep(1)
        ways = [(None, "east"), ("east", None)]
        pending = [asyncio.create_task(fate(world, *ends)) for ends in ways]
        await world.clock.sleep(1)
        host.crash()
        host.restart()
        assert await asyncio.gather(*pending) == [("TimeoutError", 11), ("TimeoutError", 11)]
        assert await fate(world, None, "east") == ("arrived", 11)

    simulate(main)


@pytest.mark.parametrize("paused", ["east", "west"])
def test_changes_do_not_overtake_each_other_where_a_host_resumes(paused):
    async def main(world):
        names = ("east", "west")
        hosts = {name: served(world, name, boot_time="0s", lag="5s")[1] for name in names}
        arrived = []

        async def send(number, moment):
            await world.clock.sleep(moment)
            await world.network.carry("east", "west", changes=True)
            arrived.append((number, world.clock.monotonic()))

        hosts[paused].pause_at("4s")
        hosts[paused].resume_at("10s")
        later = 5 if paused == "west" else 10  # so that it comes to the host as that resumes
        tasks = [
            asyncio.create_task(send(2, later)),
            asyncio.create_task(send(1, later - 4.5)),
        ]
        await asyncio.gather(*tasks)
        return arrived

    moment = 15 if paused == "east" else 10
    assert simulate(main) == [(1, moment), (2, moment)]


def test_changes_that_a_reboot_has_forgotten_hold_up_none():
    async def main(world):
        _, west = served(world, "west", boot_time="0s")
        world.regions("east")
        west.pause()

        async def send():
            await world.network.carry("east", "west", changes=True)
            return world.clock.monotonic()

        tasks = [asyncio.create_task(send())]
        await world.clock.sleep(1)
        west.crash()
        west.restart()
        await world.clock.sleep(1)
        assert await send() == 2
        assert not tasks[0].done()

    simulate(main)


def test_changes_of_a_world_that_begins_anew_are_behind_none_of_before():
    with closing(SimulatedWorld()) as world:
        served(world, "east")
        served(world, "west", lag="3s")
        world.restart()

        async def change():
            await world.network.carry("east", "west", changes=True)
            return world.clock.monotonic()

        async def late():
            await world.clock.sleep(60)
            return await change()

        assert world.run(late()) == 63
        world.restart()
        assert world.run(change()) == 3
