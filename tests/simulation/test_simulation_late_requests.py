"""A request whose client gives up is under way all the same, and may be carried out late."""

import asyncio
import gc

import pytest

from pytest_drdrill import SimulatedWorld, SimulationError, simulate


async def give_up(world, endpoint, perform, patience=5):
    """Ask, and wait for so many seconds in vain."""
    with pytest.raises(TimeoutError):
        async with world.clock.timeout(patience):
            await endpoint.request(perform)


def served(world, **more):
    """An endpoint on a host, and what it does, each time with the moment."""
    (host,) = world.hosts("db", boot_time="1s")
    (database,) = world.endpoints("database", place=host, **more)
    done = []
    return host, database, lambda: done.append(world.clock.monotonic()), done


def test_a_paused_host_carries_it_out_when_it_resumes():
    async def main(world):
        host, database, write, done = served(world, service_time="2s")
        host.pause()
        await give_up(world, database, write)
        await world.clock.sleep(5)
        assert done == []
        host.resume()  # while others may have taken over by now
        await world.clock.sleep(60)
        assert done == [12]  # it works on it from then on, as on any

    simulate(main)


def test_one_that_is_on_its_way_arrives():
    async def main(world):
        _, database, write, done = served(world)
        world.network.everywhere(latency="3s")
        await give_up(world, database, write, patience=2)
        await world.clock.sleep(60)
        assert done == [3]
        await give_up(world, database, write, patience=4)  # with the answer on its way
        await world.clock.sleep(60)
        assert done == [3, 65]

    simulate(main)


def test_a_host_that_reboots_and_a_network_that_loses_it_carry_nothing_out():
    async def main(world):
        host, database, write, done = served(world)
        host.pause()
        await give_up(world, database, write)
        host.crash()
        host.restart()
        await world.clock.sleep(60)
        with world.network.partition(database):
            await give_up(world, database, write)
        await world.clock.sleep(60)
        assert done == []
        await database.request(write)
        assert done == [130]

    simulate(main)


def test_an_error_that_nobody_waits_for_is_no_noise(caplog):
    async def main(world):
        host, database, _, _ = served(world)

        def fail():
            raise ValueError("no such order")

        host.pause()
        await give_up(world, database, fail)
        kept = asyncio.create_task(database.request(fail))
        host.resume()
        await world.clock.sleep(1)
        with pytest.raises(ValueError, match="no such order"):
            await kept

    simulate(main)
    gc.collect()
    assert caplog.records == []


def test_the_end_of_its_world_ends_it(caplog):
    with SimulatedWorld() as world:
        host, database, write, done = served(world)
        host.resume_at("1h")
        host.pause()
        for _ in range(2):
            world.restart()
            world.run(give_up(world, database, write))
            gc.collect()  # which forgets none that still waits
        world.clock.block(2 * 3600)
        assert done == [3600]  # of the last beginning alone
        world.restart()
        world.run(give_up(world, database, write))
    gc.collect()
    assert done == [3600]
    assert caplog.records == []


def test_many_that_wait_are_carried_out_in_the_order_in_which_they_came():
    async def main(world):
        host, database, _, _ = served(world)
        host.pause()
        done = []
        for number in range(100):
            await give_up(world, database, lambda number=number: done.append(number), patience=0.1)
        host.resume()
        await world.clock.sleep(1)
        assert done == list(range(100))

    simulate(main)


def test_on_another_loop_it_is_refused():
    with SimulatedWorld() as world:
        host, database, write, _ = served(world)
        host.pause()
        with pytest.raises(SimulationError, match="belongs to another event loop"):
            asyncio.run(database.request(write))
