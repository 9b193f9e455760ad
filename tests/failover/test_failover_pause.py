"""The wait between two checks of an endpoint, and how it is cut short."""

import asyncio

import pytest
from failover_world import MemoryProber, VirtualClock, endpoint, in_virtual_time, script

from pytest_drdrill.failover.checks import WatchedEndpoint, check_forever
from pytest_drdrill.failover.pause import Pause
from pytest_drdrill.failover.timing import CheckGrid


def starts(prober, calls, *, until, **settings):
    """When checks begin at an interval of 10 s, with the pause called up at these seconds."""

    async def main():
        watched = WatchedEndpoint(endpoint("a"), 5.0, (3, 2), None)
        pause, clock = Pause(VirtualClock()), VirtualClock()
        checks = check_forever(
            watched,
            CheckGrid(1.0, 10.0),
            prober,
            clock,
            lambda watched, result: watched.observe(result, clock.monotonic()),
            pause=pause,
            **settings,
        )
        task = asyncio.create_task(checks)
        for at in calls:
            asyncio.get_running_loop().call_at(at, pause.call_up)
        await asyncio.sleep(until)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return prober.starts_of("a")

    return in_virtual_time(main)


def test_a_pause_that_nobody_cuts_short_lasts_until_the_check_is_due():
    assert starts(MemoryProber(), [], until=35) == [1, 11, 21, 31]


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([14], [1, 11, 14, 21, 31]),
        ([14, 15.5, 30], [1, 11, 14, 15.5, 21, 30, 31]),
        ([0.5], [0.5, 11, 21, 31]),  # before the first one: that is the first one
        ([11], [1, 11, 21, 31]),  # when it is due: once is enough
    ],
)
def test_who_is_called_up_checks_at_once_and_is_on_the_grid_again(calls, expected):
    assert starts(MemoryProber(), calls, until=35) == expected


def test_a_call_during_a_check_has_the_next_one_follow_it():
    prober = MemoryProber(latency=2.0)
    assert starts(prober, [12, 12.5], until=35) == [1, 11, 13, 21, 31]


def test_what_a_call_finds_is_followed_at_the_fast_interval():
    prober = MemoryProber(a=script("++---+"))
    found = starts(prober, [14], until=35, fast_interval=2.0)
    assert found == [1, 11, 14, 16, 18, 21, 23, 31]
