"""Settings beyond the thresholds: the fast interval, flap damping, and what each policy does."""

import asyncio

import pytest
from failover_site import told
from failover_world import (
    MemoryProber,
    VirtualClock,
    down_between,
    endpoint,
    in_virtual_time,
    lived,
    script,
)

from pytest_drdrill.failover import FailoverManager, FlapDamping

MOVES = ("failover", "failback", "no_healthy_endpoint", "endpoint_suppressed")


def life(seconds, prober, names="ab", **settings):
    """A manager's life; returns it."""
    return in_virtual_time(lambda: lived(seconds, prober, names, **settings))


def test_checks_come_fast_while_an_endpoint_is_in_transition_and_on_the_grid_else():
    prober = MemoryProber(a=script("++---++++-++"))
    manager = life(75, prober, fast_interval="2s")
    assert prober.starts_of("a") == [0, 10, 20, 22, 24, 30, 32, 40, 50, 60, 62, 70]
    assert prober.starts_of("b") == [0, 10, 20, 30, 40, 50, 60, 70]
    assert told(manager, *MOVES) == [(24, "failover", ("a", "b")), (32, "failback", ("b", "a"))]


def test_a_fast_check_is_as_slow_as_its_timeout_and_may_pass_the_grid():
    prober = MemoryProber(a=lambda number, _: "silent" if number in (1, 2, 3) else "up")
    life(48, prober, [endpoint("a", timeout="4s"), "b"], fast_interval="1s")
    # Each takes its 4 s, the last one until 22; the one that was due at 20 is made up for.
    assert prober.starts_of("a") == [0, 10, 14, 18, 22, 23, 30, 40]


def test_a_fast_interval_that_does_not_divide_the_interval_keeps_its_distance():
    prober = MemoryProber(a=script("+-----+"))
    life(45, prober, failure_threshold=5, fast_interval="3s")
    # 10, 13, 16, 19 and not 20: fast checks keep their distance, or detection would be too fast.
    assert prober.starts_of("a") == [0, 10, 13, 16, 19, 22, 30, 33, 40]


def test_jitter_and_rate_are_kept_after_a_transition():
    prober = MemoryProber(latency=0.1, a=script("+-+"))
    life(1000, prober, jitter="7s", fast_interval="1700ms", seed=3)
    starts = prober.starts_of("a")
    first = starts[0]
    assert 0 < first <= 7
    assert starts[2] == pytest.approx(first + 11.7)
    expected = [first + 10 * number for number in range(2, len(starts) - 1)]
    assert starts[3:] == pytest.approx(expected)


@pytest.mark.parametrize("policy", ["automatic", "delayed", "manual"])
def test_each_policy_decides_about_failbacks_alone(policy):
    settings = {"failback_delay": "1m"} if policy == "delayed" else {}
    prober = MemoryProber(a=down_between(5, 45), b=down_between(305, 355))
    manager = life(600, prober, failback=policy, **settings)
    back = {"automatic": 60, "delayed": 120}.get(policy)
    expected = [(30, "failover", ("a", "b"))]
    if back:
        expected += [(back, "failback", ("b", "a"))]
    else:  # b dies at last, and then traffic goes to a, whatever the policy
        expected += [(330, "failover", ("b", "a"))]
    assert told(manager, *MOVES) == expected


def test_one_that_flaps_gets_its_traffic_back_when_it_is_trusted_again():
    # Down for 30 s out of every 60, four times; then well.
    prober = MemoryProber(
        a=lambda _, now: "refused" if 5 <= now < 245 and (now - 5) % 60 < 30 else "up"
    )
    undamped = told(life(3000, prober), *MOVES)
    assert len(undamped) == 8

    damping = FlapDamping(suppress_at=1.9, reuse_at=0.75, half_life="5m")
    manager = life(3000, prober, flap_damping=damping)
    found = told(manager, *MOVES)
    # Twice it is believed, the third outage in a row is one too many, and the fourth, which takes
    # no traffic with it, makes it worse.
    assert [(at, kind) for at, kind, _ in found] == [
        (30, "failover"),
        (50, "failback"),
        (90, "failover"),
        (110, "failback"),
        (150, "endpoint_suppressed"),
        (150, "failover"),
        (210, "endpoint_suppressed"),
        (pytest.approx(210 + 300 * 2.1305, abs=1), "failback"),
    ]
    first, second = (each for each in manager.events if each.kind == "endpoint_suppressed")
    assert first.endpoint == second.endpoint == "a"
    assert first.reason.startswith("it flaps, with a penalty of 2.6")
    assert "not trusted for " in first.reason


def test_an_operators_failback_goes_to_one_that_flaps_too():
    damping = FlapDamping(suppress_at=1, reuse_at=0.5, half_life="1h")

    async def main():
        manager = FailoverManager(
            [endpoint("a"), endpoint("b")],
            check_interval="10s",
            flap_damping=damping,
            prober=MemoryProber(a=script("+---+")),
            clock=VirtualClock(),
        )
        async with manager:
            await asyncio.sleep(600)
            assert manager.get_active_endpoint().name == "b"
            await manager.failback()
            assert manager.get_active_endpoint().name == "a"

    in_virtual_time(main)
