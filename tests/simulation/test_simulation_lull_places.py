"""Quiet time is jumped over in a world with hosts, regions and a network as well, and rightly."""

import asyncio

from hypothesis import example, given
from hypothesis import strategies as st
from test_simulation_prospect import DEEDS, do

from pytest_drdrill import FailoverManager, SimulatedProber, simulate

PLACES = st.sampled_from([None, "west", "db"])
SETTINGS = st.fixed_dictionaries(
    {
        "check_interval": st.sampled_from(["4ms", "10ms"]),
        "failure_threshold": st.integers(1, 3),
        "jitter": st.sampled_from(["0s", "3ms"]),
    }
)


async def play(world, deeds, settings, place):
    east, _ = world.regions("east", "west")
    world.hosts_made = world.hosts("db", place=east, boot_time="3ms")
    world.endpoints_made = world.endpoints("a", place="db", timeout="3ms")
    others = world.endpoints("b", "c", place="west", timeout="3ms")
    tell = [(deed[1], call) for deed in deeds if (call := do(world, deed)) is not None]
    prober = SimulatedProber(place)
    parts = {"prober": prober, "clock": world.clock, "seed": world.seed}
    seen = []
    async with FailoverManager([*world.endpoints_made, *others], **parts, **settings) as manager:
        for at, call in sorted(tell, key=lambda each: each[0]):
            if (wait := at / 1000 - world.clock.monotonic()) > 0:
                await world.clock.sleep(wait)
            call()
            seen.append([manager.get_endpoint_status(each).value for each in "abc"])
        await world.clock.sleep(0.2)
        await asyncio.sleep(0)
        seen.append(manager.get_active_endpoint())
    return manager.events, seen, list(world.trace)


@given(st.lists(DEEDS, max_size=6), SETTINGS, PLACES)
@example([("crash", 9), ("restart", 30)], {"check_interval": "4ms"}, None)
@example([("cut", 9, 10, True)], {"check_interval": "4ms", "failure_threshold": 2}, "west")
@example([("link", 9, 1, True), ("link", 30, 2, False)], {"check_interval": "10ms"}, None)
@example([("lose", 9), ("restore", 33)], {"check_interval": "4ms"}, "west")
@example([("slow endpoint", 4, 2), ("slow host", 9, 3)], {"check_interval": "10ms"}, None)
def test_both_ways_are_the_same(deeds, settings, place):
    full = simulate(lambda world: play(world, deeds, settings, place), every_check=True)
    assert simulate(lambda world: play(world, deeds, settings, place)) == full
