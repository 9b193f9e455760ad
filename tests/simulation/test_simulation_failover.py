"""The real failover manager over the simulated world: nothing of it is written for simulation."""

import asyncio

import pytest
from hypothesis import example, given
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


@given(
    threshold=st.integers(1, 5),
    interval_ms=st.integers(100, 60_000),
    timeout_ms=st.integers(1, 90_000),
    offset=st.floats(0, 3),
    how=st.sampled_from(["refused", "silent"]),
    jitter=st.sampled_from([0.0, 0.1, 1.0]),
    seed=st.integers(0, 100),
)
@example(3, 30_000, 5_000, 1 + 1e-6, "silent", 0.0, 0)  # just after a check: the longest
@example(3, 30_000, 5_000, 1 - 1e-6, "refused", 0.0, 0)  # just before one: the shortest
def test_detection_lies_within_the_formula(
    threshold, interval_ms, timeout_ms, offset, how, jitter, seed
):
    async def main(world):
        a, b = world.endpoints("a", "b", timeout=f"{timeout_ms}ms")
        manager = manager_of(
            world,
            [a, b],
            failure_threshold=threshold,
            check_interval=f"{interval_ms}ms",
            jitter=f"{int(jitter * interval_ms)}ms",
        )
        async with manager:
            begun = world.clock.monotonic()
            await world.clock.sleep(offset * interval_ms / 1000)
            struck = world.clock.monotonic()
            a.fail(how)
            await manager.wait_until_active(b)
        least, most = (span.total_seconds() for span in manager.predicted_detection(a))
        found = world.clock.monotonic() - struck
        assert least - 1e-6 <= found <= most + 1e-6
        return begun, found, least, most

    _, found, least, most = simulate(main, seed=seed)
    if offset == 1 + 1e-6 and not jitter:
        assert found == pytest.approx(most, abs=1e-4)
    if offset == 1 - 1e-6 and not jitter:
        assert found == pytest.approx(least, abs=1e-4)


def test_a_month_of_checks_is_a_matter_of_moments():
    async def main(world):
        endpoints = world.endpoints(*"ab")
        async with manager_of(world, endpoints, check_interval="5m") as manager:
            await world.clock.sleep(30 * 86_400)
            endpoints[0].fail()
            await asyncio.wait_for(manager.wait_until_active("b"), 3600)
        return moves(manager)

    assert simulate(main) == [(30 * 86_400 + 600, "a", "b")]
