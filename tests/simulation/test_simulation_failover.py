"""The real failover manager over the simulated world: nothing of it is written for simulation."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_drdrill import (
    FailoverManager,
    MonitoringFailed,
    ServiceEndpoint,
    SimulatedProber,
    simulate,
)

MOVES = ("failover", "failback", "no_healthy_endpoint", "failover_failed")


def manager_of(world, endpoints, **settings):
    return FailoverManager(
        endpoints, prober=SimulatedProber(), clock=world.clock, seed=world.seed, **settings
    )


def moves(manager):
    return [(each.monotonic, each.old, each.new) for each in manager.events if each.kind in MOVES]


def test_a_dead_primary_is_left_after_three_checks_and_taken_back_after_two():
    async def main(world):
        primary, standby = world.endpoints("primary", "standby")
        async with manager_of(world, [primary, standby]) as manager:
            await world.clock.sleep(40)
            primary.fail()
            await manager.wait_until_active(standby)
            assert world.clock.monotonic() == 120
            primary.recover()
            await manager.wait_until_active(primary)
        return moves(manager)

    assert simulate(main) == [(120, "primary", "standby"), (180, "standby", "primary")]


def test_a_silent_one_costs_a_timeout_more_and_a_slow_one_nothing():
    async def main(world):
        a, b, c = world.endpoints("a", "b", "c", timeout="2s")
        async with manager_of(world, [a, b, c], check_interval="10s") as manager:
            await world.clock.sleep(5)
            a.fail("silent")
            await manager.wait_until_active(b)
            b.slow("1.9s")
            await world.clock.sleep(100)
            b.slow("2.1s")  # slower than a check may be: as good as silent
            await manager.wait_until_active(c)
        return moves(manager)

    assert simulate(main) == [(32, "a", "b"), (162, "b", "c")]


def test_a_cut_off_check_counts_as_failed():
    async def main(world):
        a, b = world.endpoints("a", "b")
        a.slow("3s")
        async with manager_of(world, [a, b], check_interval="10s", failure_threshold=1) as manager:
            await world.clock.sleep(8)
            a.fail()  # 11 s after the start, with the second check under way
            await manager.wait_until_active(b)
        down = next(each for each in manager.events if each.kind == "endpoint_unhealthy")
        return down.monotonic, down.reason

    assert simulate(main) == (11, "1 failed check in a row: a died with the request under way")


def test_flapping_below_the_threshold_moves_nothing():
    async def main(world):
        endpoints = world.endpoints("a", "b")
        async with manager_of(world, endpoints, check_interval="10s") as manager:
            endpoints[0].flap("40s")  # two failed checks, then two good ones
            await world.clock.sleep(86_400)
            assert moves(manager) == []
            endpoints[0].flap("60s")  # three of each
            await world.clock.sleep(600)
        return moves(manager)

    found = simulate(main)
    assert [(old, new) for _, old, new in found] == [("a", "b"), ("b", "a")] * 10
    first = found[0][0]
    assert [at - first for at, _, _ in found] == [60 * n + d for n in range(10) for d in (0, 20)]


def test_with_all_of_them_down_nothing_is_active_until_one_is_back():
    async def main(world):
        a, b = world.endpoints("a", "b")
        for each in (a, b):
            each.fail_at("1m")
        b.recover_at("10m")
        async with manager_of(world, [a, b], failback="manual") as manager:
            await manager.wait_until_active(b)
        return moves(manager)

    assert simulate(main) == [(120, "a", None), (630, None, "b")]


def test_a_real_endpoint_is_refused_and_breaks_the_monitoring():
    async def main(world):
        async with manager_of(world, [ServiceEndpoint("web", "http://192.0.2.1")]):
            pass

    with pytest.raises(MonitoringFailed, match="a check of 'web', which is no simulated endpoint"):
        simulate(main)


def test_the_same_world_does_the_same_again_and_another_seed_does_not():
    def events(seed):
        async def main(world):
            endpoints = world.endpoints(*"abcdefgh")
            settings = {"check_interval": "10s", "jitter": "9s"}
            async with manager_of(world, endpoints, **settings) as manager:
                chance = world.random("chaos")
                for _ in range(200):
                    each = chance.choice(endpoints)
                    chance.choice([each.fail, each.recover, lambda e=each: e.flap("50s")])()
                    await world.clock.sleep(chance.expovariate(1 / 20))
            return manager.events, list(world.trace)

        return simulate(main, seed=seed)

    first = events(5)
    assert len(first[0]) > 100
    assert events(5) == first
    assert events(6) != first


def settings_by(number):
    """Settings of one manager, and when in the round of its checks what happens to its primary.

    ``number(least, most)`` draws.
    """
    interval = number(100, 60_000)
    # Just after a check, just before one, or somewhere: so both ends are met.
    offset = (1, interval * 1000 - 1, number(1, interval * 1000 - 1))
    return {
        "threshold": number(1, 6),
        "interval": interval,
        "fast": (None, number(1, interval))[number(0, 1)],
        "timeout": (number(1, 1_000), number(1, 90_000))[number(0, 1)],
        "jitter": (0, number(0, interval))[number(0, 1)],
        "offset": offset[number(0, 2)],
        "how": ("refused", "silent")[number(0, 1)],
    }


async def detection(world, name, drawn):
    """How long a detection took, and its bounds, in microseconds."""
    a, b = world.endpoints(f"a{name}", f"b{name}", timeout=f"{drawn['timeout']}ms")
    manager = manager_of(
        world,
        [a, b],
        failure_threshold=drawn["threshold"],
        check_interval=f"{drawn['interval']}ms",
        fast_interval=drawn["fast"] and f"{drawn['fast']}ms",
        jitter=f"{drawn['jitter']}ms",
    )
    async with manager:
        begun = manager.events[0].monotonic
        since = world.clock.monotonic() - begun  # a start takes the jitter
        rounds = 1 + int(since * 1000 // drawn["interval"])
        await world.clock.sleep(rounds * drawn["interval"] / 1000 + drawn["offset"] / 1e6 - since)
        struck = world.clock.monotonic()
        a.fail(drawn["how"])
        await manager.wait_until_active(b)
    least, most = (span.total_seconds() for span in manager.predicted_detection(a))
    return [round(each * 1e6) for each in (world.clock.monotonic() - struck, least, most)]


SLOW = {"threshold": 3, "interval": 30_000, "fast": None, "timeout": 5_000, "jitter": 0}
FAST = SLOW | {"fast": 1_000}


@pytest.mark.parametrize(
    ("drawn", "found"),
    [
        (SLOW | {"offset": 1, "how": "silent"}, 95),
        (SLOW | {"offset": 29_999_999, "how": "refused"}, 60),
        (FAST | {"offset": 1, "how": "silent"}, 45),
        (FAST | {"offset": 29_999_999, "how": "refused"}, 2),
        (FAST | {"timeout": 500, "offset": 1, "how": "silent"}, 32.5),
    ],
)
def test_both_ends_of_the_formula_are_met(drawn, found):
    took, least, most = simulate(lambda world: detection(world, "", drawn))
    assert took == pytest.approx(found * 1e6, abs=2)
    assert abs(took - (least if drawn["how"] == "refused" else most)) <= 2


def check_detection(drawn, took, least, most):
    assert least - 2 <= took <= most + 2, drawn
    if drawn["how"] == "refused" and not drawn["jitter"]:  # which costs no timeout
        most = drawn["interval"] + (drawn["threshold"] - 1) * (drawn["fast"] or drawn["interval"])
        assert took <= most * 1000 + 2, drawn


@given(st.data())
def test_detection_lies_within_the_formula(data):
    drawn = settings_by(lambda least, most: data.draw(st.integers(least, most)))
    check_detection(drawn, *simulate(lambda world: detection(world, "", drawn)))


@pytest.mark.once
def test_ten_thousand_detections_lie_within_the_formula_and_touch_both_ends():
    shares = []
    for seed in range(100):
        drawn = [settings_by(random.Random(f"{seed}:{each}").randint) for each in range(100)]

        async def main(world, drawn=drawn):
            return await asyncio.gather(*(detection(world, *each) for each in enumerate(drawn)))

        for each, found in zip(drawn, simulate(main, seed=seed), strict=True):
            check_detection(each, *found)
            took, least, most = found
            shares.append((took - least) / (most - least))
    assert len(shares) == 10_000
    assert min(shares) < 1e-6
    assert max(shares) > 1 - 1e-6


def test_a_month_of_checks_is_a_matter_of_moments():
    async def main(world):
        endpoints = world.endpoints(*"ab")
        async with manager_of(world, endpoints, check_interval="5m") as manager:
            await world.clock.sleep(30 * 86_400)
            endpoints[0].fail()
            await asyncio.wait_for(manager.wait_until_active("b"), 3600)
        return moves(manager)

    assert simulate(main) == [(30 * 86_400 + 600, "a", "b")]
