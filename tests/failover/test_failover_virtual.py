"""The manager in virtual time: what it does, in what order, and exactly when."""

import asyncio
from datetime import timedelta

import pytest
from failover_world import (
    MemoryProber,
    VirtualClock,
    down_between,
    endpoint,
    in_virtual_time,
    script,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_drdrill.failover import (
    FailoverFailed,
    FailoverManager,
    FailoverTimeoutError,
    FencingProof,
    HealthStatus,
    NotMonitoringError,
)


def watch(prober, names="ab", **options):
    endpoints = [endpoint(each) if isinstance(each, str) else each for each in names]
    return FailoverManager(endpoints, prober=prober, clock=VirtualClock(), **options)


def history(names="ab", seconds=600.0, *, latency=0.0, **world):
    """The moves of a manager over a world of fates: ``[(second, old, new)]``."""
    options = {key: world.pop(key) for key in tuple(world) if key in _OPTIONS}
    prober = MemoryProber(latency, **world)

    async def main():
        endpoints = [endpoint(each) if isinstance(each, str) else each for each in names]
        options.setdefault("check_interval", "10s")
        manager = FailoverManager(endpoints, prober=prober, clock=VirtualClock(), **options)
        async with manager:
            await asyncio.sleep(seconds)
        return manager

    manager = in_virtual_time(main)
    moves = ("failover", "failback", "no_healthy_endpoint")
    return [(each.monotonic, each.old, each.new) for each in manager.events if each.kind in moves]


_OPTIONS = {
    "failure_threshold",
    "recovery_threshold",
    "check_interval",
    "failback",
    "failback_delay",
    "jitter",
    "seed",
    "on_event",
    "fast_interval",
    "fencer",
    "flap_damping",
}


# When traffic moves.


def test_traffic_moves_after_that_many_failed_checks_in_a_row():
    assert history(a=script("+---")) == [(30, "a", "b")]
    assert history(a=script("+---"), failure_threshold=1, failback="manual") == [(10, "a", "b")]
    assert history(a=script("+----------"), failure_threshold=7) == [(70, "a", "b")]


def test_bad_checks_below_the_threshold_never_move_traffic():
    assert history(a=script("+--+--+-+--+--+" + "+--" * 10 + "+")) == []


def test_an_endpoint_that_was_never_up_is_left_too():
    assert history(a=script("-")) == [(20, "a", "b")]


def test_one_good_check_never_moves_traffic_back():
    assert history(a=script("+---" + "+-" * 10 + "-")) == [(30, "a", "b")]
    assert history(a=script("+---+-++")) == [(30, "a", "b"), (70, "b", "a")]
    assert history(a=script("+---++++++"), recovery_threshold=4) == [(30, "a", "b"), (70, "b", "a")]


def test_lower_priority_takes_over_not_the_first_argument():
    names = [endpoint("a", priority=1), endpoint("b", priority=3), endpoint("c", priority=2)]
    assert history(names, a=script("+---")) == [(30, "a", "c")]
    assert history(names, a=script("+---"), c=script("+---")) == [(30, "a", "b")]
    assert history("abc", a=script("+---")) == [(30, "a", "b")]


def test_the_next_one_takes_over_when_the_standby_dies_too():
    moves = history("abc", a=script("+---"), b=script("+++++---"))
    assert moves == [(30, "a", "b"), (70, "b", "c")]


def test_a_manual_failback_waits_for_its_order():
    assert history(a=script("+---+"), failback="manual") == [(30, "a", "b")]

    async def main():
        prober = MemoryProber(a=script("+---+"))
        async with watch(prober, check_interval="10s", failback="manual") as manager:
            await manager.failback()  # the preferred one is active: nothing to do
            await manager.wait_until_active("b")
            with pytest.raises(FailoverFailed, match="no endpoint preferred over b is healthy"):
                await manager.failback()
            assert manager.get_active_endpoint().name == "b"
            await asyncio.sleep(100)
            assert manager.get_active_endpoint().name == "b"
            await manager.failback()
            assert manager.get_active_endpoint().name == "a"
        return [each.kind for each in manager.events]

    assert in_virtual_time(main) == [
        "monitoring_started",
        "endpoint_healthy",
        "endpoint_healthy",
        "endpoint_unhealthy",
        "failover",
        "endpoint_healthy",
        "failback",
        "monitoring_stopped",
    ]


def test_a_delayed_failback_waits_for_steady_health():
    options = {"failback": "delayed", "failback_delay": "45s"}
    # Healthy again at 50, so back at 95, between two checks.
    assert history(a=script("+---+"), **options) == [(30, "a", "b"), (95, "b", "a")]
    # One failed check at 80 leaves it healthy, but the wait begins anew: good at 90 and 100.
    moves = history(a=script("+---++++-+"), **options)
    assert moves == [(30, "a", "b"), (145, "b", "a")]
    # Two of them are waited for, each for its own time: b from 40, a from 80.
    moves = history("abc", a=script("+------+"), b=script("---+"), **options)
    assert moves == [(30, "a", "c"), (85, "c", "b"), (125, "b", "a")]
    # The standby dies meanwhile: there is nothing to wait for.
    moves = history(a=script("+---+"), b=script("++++---"), **options)
    assert moves == [(30, "a", "b"), (60, "b", "a")]


def test_with_no_healthy_endpoint_nothing_is_active_and_it_is_said_once():
    seen = []

    async def main():
        prober = MemoryProber(a=down_between(5, 1000), b=down_between(5, 2000))
        manager = watch(prober, check_interval="10s", failback="manual")
        manager.add_failover_callback(lambda *move: seen.append(move))
        async with manager:
            await asyncio.sleep(900)
            assert manager.get_active_endpoint() is None
            await asyncio.sleep(600)
        return manager

    manager = in_virtual_time(main)
    names = [tuple(each and each.name for each in move) for move in seen]
    assert names == [("a", None), (None, "a")]
    kinds = [each.kind for each in manager.events]
    assert kinds.count("no_healthy_endpoint") == 1


def test_a_restart_begins_unknown_and_leaves_traffic_where_it_is():
    async def main():
        prober = MemoryProber(a=script("+---+++-"))
        manager = watch(prober, check_interval="10s", failback="manual")
        async with manager:
            await manager.wait_until_active("b")
        assert not manager.is_monitoring
        await asyncio.sleep(100)
        checks = len(prober.starts)
        async with manager:
            assert len(prober.starts) == checks + 2
            assert manager.get_active_endpoint().name == "b"
            assert manager.get_endpoint_status("a") is HealthStatus.HEALTHY
        assert (prober.opened, prober.closed) == (2, 2)

    in_virtual_time(main)


def test_the_active_endpoint_stays_while_others_come_and_go():
    assert history(b=script("+---++---++")) == []


# What a switch takes.


class Refusing:
    """A fencer that takes a while, and fails at first."""

    def __init__(self, refusals=2, takes=4.0):
        self.refusals, self.takes, self.manager, self.attempts = refusals, takes, None, []

    async def fence(self, endpoint):
        self.attempts.append(endpoint.name)
        named = self.manager and self.manager.get_active_endpoint()
        await asyncio.sleep(self.takes)
        assert self.manager is None or self.manager.get_active_endpoint() is named, (
            "named too early"
        )
        if len(self.attempts) <= self.refusals:
            raise OSError("the old primary can't be fenced")
        return FencingProof("write_refused", "it said no")


def refusing(names="ab", refusals=2, takes=4.0, **settings):
    fates = {key: settings.pop(key) for key in tuple(settings) if len(key) == 1}
    fencer = Refusing(refusals, takes)
    settings.setdefault("check_interval", "10s")
    fencer.manager = watch(MemoryProber(**fates), names, fencer=fencer, **settings)
    return fencer.manager, fencer


def test_the_active_endpoint_changes_only_after_the_switch_succeeded():
    # Detected at 30, tried at 30, 44 (after 4 s and an interval) and 58, done at 62.
    assert history(a=script("+---"), fencer=Refusing()) == [(62, "a", "b")]


def test_a_failed_switch_is_an_event_and_the_old_one_stays_named():
    async def main():
        manager, fencer = refusing(a=script("+---+"), failback="manual")
        async with manager:
            await asyncio.sleep(35)
            assert manager.get_active_endpoint().name == "a"
            failed = [each for each in manager.events if each.kind == "failover_failed"]
            assert [(each.old, each.new) for each in failed] == [("a", "b")]
            assert failed[0].reason == (
                "a is unhealthy; but fencing a failed: the old primary can't be fenced"
            )
            await asyncio.sleep(100)  # a came back at 50, before the third attempt
            assert manager.get_active_endpoint().name == "a"
            assert len(fencer.attempts) == 2

    in_virtual_time(main)


def test_an_operator_is_let_go_when_the_monitoring_ends_in_mid_switch():
    async def main():
        manager, _ = refusing(a=script("+---+"), refusals=0, failback="manual")
        async with manager:
            await manager.wait_until_active("b")
            await asyncio.sleep(100)
            asked = asyncio.create_task(manager.failback())
            await asyncio.sleep(1)  # it takes 4
        with pytest.raises(NotMonitoringError):
            await asyncio.wait_for(asked, 1000)
        assert manager.get_active_endpoint().name == "b"

    in_virtual_time(main)


def test_a_failback_that_fails_tells_the_operator():
    async def main():
        manager, fencer = refusing(a=script("+---+"), refusals=0, failback="manual")
        async with manager:
            await manager.wait_until_active("b")
            await asyncio.sleep(100)
            fencer.refusals = 9
            with pytest.raises(FailoverFailed, match="to a failed: fencing b failed") as caught:
                await manager.failback()
            assert isinstance(caught.value.__cause__.__cause__, OSError)
            assert manager.get_active_endpoint().name == "b"

    in_virtual_time(main)


@pytest.mark.parametrize(
    ("names", "fates", "attempts"),
    [
        # For a while nothing is active, but a may still live, and needs to be fenced.
        ("ab", {"a": script("+---"), "b": script("+---+")}, ["a"]),
        ("abc", {"a": script("+---"), "b": script("+++++---")}, ["a", "b"]),
    ],
)
def test_the_last_active_one_is_what_a_switch_takes_over_from(names, fates, attempts):
    async def main():
        manager, fencer = refusing(names, refusals=0, **fates)
        async with manager:
            await manager.wait_until_active(names[-1])
        return fencer.attempts

    assert in_virtual_time(main) == attempts


def test_checks_go_on_while_a_switch_is_made():
    async def main():
        manager, _ = refusing(a=script("+---"), takes=1000, refusals=0, step_timeout="1h")
        async with manager:
            await manager.wait_until_active("b")
        return manager._prober

    prober = in_virtual_time(main)
    assert prober.starts_of("b") == [10 * number for number in range(104)]


def test_a_stop_in_mid_switch_is_on_record():
    async def main():
        manager, _ = refusing(a=script("+---"))
        async with manager:
            await asyncio.sleep(32)
        assert manager.get_active_endpoint().name == "a"
        return [each.kind for each in manager.events][-2:]

    assert in_virtual_time(main) == ["failover_failed", "monitoring_stopped"]


# When checks happen.


def test_checks_keep_a_fixed_rate_from_start_to_start():
    async def main():
        prober = MemoryProber(latency=0.3)
        async with watch(prober, check_interval="1100ms"):
            await asyncio.sleep(10_999)
        return prober

    starts = in_virtual_time(main).starts_of("b")
    assert len(starts) == 10_000
    assert all(abs(at - 1.1 * number) < 2e-6 for number, at in enumerate(starts))


def test_a_silent_endpoint_delays_no_other_and_is_bounded_by_its_own_timeout():
    async def main():
        prober = MemoryProber(a="silent", b="silent")
        names = [endpoint("a", timeout="2s"), endpoint("b", timeout="7s"), "c"]
        async with watch(prober, names, check_interval="10s") as manager:
            await asyncio.sleep(100)
        return prober, manager

    prober, manager = in_virtual_time(main)
    assert {name: prober.starts_of(name)[:10] for name in "abc"} == {
        name: [10.0 * number for number in range(10)] for name in "abc"
    }
    down = {each.endpoint: each for each in manager.events if each.kind == "endpoint_unhealthy"}
    assert {name: each.monotonic for name, each in down.items()} == {"a": 22, "b": 27}
    assert down["a"].reason == "3 failed checks in a row: no answer within 2s"


def test_a_timeout_longer_than_the_interval_is_cut_to_it():
    async def main():
        prober = MemoryProber(a="silent")
        async with watch(prober, [endpoint("a", timeout="1m")], check_interval="10s") as manager:
            assert manager.predicted_detection() == (timedelta(seconds=20), timedelta(seconds=40))
            assert manager.get_active_endpoint().timeout == timedelta(minutes=1)
            await asyncio.sleep(41)
        return prober, manager

    prober, manager = in_virtual_time(main)
    assert prober.starts_of("a") == [0, 10, 20, 30, 40, 50]
    assert [each.monotonic for each in manager.events if each.kind == "endpoint_unhealthy"] == [30]


def test_jitter_shifts_the_phase_of_an_endpoint_and_nothing_else():
    def starts(seed):
        async def main():
            prober = MemoryProber()
            async with watch(prober, "abcdefgh", check_interval="10s", jitter="4s", seed=seed):
                await asyncio.sleep(50)
            return prober

        prober = in_virtual_time(main)
        return [prober.starts_of(name) for name in "abcdefgh"]

    first = starts(1)
    assert first == starts(1) != starts(2)
    assert len({each[0] for each in first}) == 8
    assert all(0 <= each[0] <= 4 for each in first)
    for each in first:
        assert all(abs(at - each[0] - 10 * n) < 2e-6 for n, at in enumerate(each))


class SlowClock(VirtualClock):
    """A clock at a tenth of its loop's speed, as of a machine that is paused again and again."""

    def monotonic(self):
        return super().monotonic() / 10

    async def sleep(self, seconds):
        await asyncio.sleep(seconds * 10)

    def timeout(self, seconds):
        return asyncio.timeout(None if seconds is None else seconds * 10)


def test_time_is_met_through_the_clock_alone():
    async def main():
        prober = MemoryProber(a=lambda number, _: "up" if number in (0, 6, 7) else "silent")
        manager = FailoverManager(
            [endpoint("a", timeout="4s"), endpoint("b")],
            check_interval="10s",
            failback="delayed",
            failback_delay="3s",
            prober=prober,
            clock=SlowClock(),
        )

        async def endless(old, new):
            await asyncio.get_running_loop().create_future()

        manager.add_failover_callback(endless)
        async with manager:
            with pytest.raises(FailoverTimeoutError):
                await manager.wait_until_active("b", timeout="33s")
            given_up = SlowClock().monotonic()
            await asyncio.sleep(500)
        return given_up, [(each.monotonic, each.kind) for each in manager.events]

    given_up, events = in_virtual_time(main)
    assert given_up == 33
    assert events[3:] == [
        (34, "endpoint_unhealthy"),
        (34, "failover"),
        (70, "endpoint_healthy"),
        (73, "failback"),
        (93, "callback_failed"),  # an interval after the stop: it was cancelled,
        (93, "callback_failed"),  # and what was next was not told
        (93, "monitoring_stopped"),
    ]


def test_a_start_returns_when_everything_was_checked_once():
    async def main():
        prober = MemoryProber(latency=0.5, c="silent")
        names = ["a", "b", endpoint("c", timeout="3s")]
        async with watch(prober, names, check_interval="10s") as manager:
            assert asyncio.get_running_loop().time() == 3
            assert [manager.get_endpoint_status(name).value for name in "abc"] == [
                "healthy",
                "healthy",
                "unknown",
            ]

    in_virtual_time(main)


@settings(max_examples=300, deadline=None)
@given(
    threshold=st.integers(1, 5),
    interval_ms=st.integers(100, 60_000),
    timeout_ms=st.integers(1, 90_000),
    jitter_share=st.sampled_from([0.0, 0.1, 1.0]),
    phase_share=st.floats(0, 1),
    how=st.sampled_from(["refused", "silent"]),
    seed=st.integers(0, 1000),
)
@example(3, 30_000, 5_000, 0.0, 1e-6, "silent", 0)  # just after a check: the longest
@example(3, 30_000, 5_000, 0.0, 1.0, "refused", 0)  # just before one: the shortest
@example(1, 1_000, 90_000, 1.0, 0.5, "silent", 0)
def test_detection_lies_within_the_prediction(
    threshold, interval_ms, timeout_ms, jitter_share, phase_share, how, seed
):
    interval = timedelta(milliseconds=interval_ms)

    async def main():
        loop = asyncio.get_running_loop()
        prober = MemoryProber()
        manager = watch(
            prober,
            [endpoint("a", timeout=timedelta(milliseconds=timeout_ms)), "b"],
            failure_threshold=threshold,
            check_interval=interval,
            jitter=interval * jitter_share,
            seed=seed,
        )
        async with manager:
            await asyncio.sleep(interval.total_seconds() * (1 + phase_share))
            disaster = loop.time()
            prober.fate["a"] = how
            await manager.wait_until_active("b", timeout=interval * 20)
            took = loop.time() - disaster
        (down,) = [each for each in manager.events if each.kind == "endpoint_unhealthy"]
        assert down.monotonic - disaster == took  # switched in the moment of detection
        return took, manager.predicted_detection("a")

    took, (shortest, longest) = in_virtual_time(main)
    assert shortest.total_seconds() - 1e-5 <= took <= longest.total_seconds() + 1e-5
    c = min(timeout_ms, interval_ms) / 1000 if how == "silent" else 0
    if not jitter_share:
        every = interval.total_seconds()
        assert (threshold - 1) * every + c - 1e-5 <= took <= threshold * every + c + 1e-5


@pytest.mark.parametrize(
    ("wait", "how", "expected"), [(30.000001, "silent", 95), (59.999999, "refused", 60)]
)
def test_the_prediction_is_tight_at_both_ends(wait, how, expected):
    async def main():
        loop = asyncio.get_running_loop()
        prober = MemoryProber()
        async with watch(prober) as manager:
            await asyncio.sleep(wait)
            prober.fate["a"] = how
            disaster = loop.time()
            await manager.wait_until_active("b")
            assert loop.time() - disaster == pytest.approx(expected, abs=1e-5)
            return [each.total_seconds() for each in manager.predicted_detection()]

    assert in_virtual_time(main) == [60, 95]


# The same, every time.


def quarter_of_an_hour(seed):
    async def main():
        prober = MemoryProber(
            latency=0.02,
            a=down_between(100, 400, "silent"),
            b=down_between(300, 500),
            c=lambda number, _: "refused" if number % 7 == 3 else "up",
        )
        told = []
        manager = watch(
            prober,
            "abc",
            check_interval="5s",
            jitter="2s",
            seed=seed,
            failback="delayed",
            failback_delay="1m",
            on_event=told.append,
        )
        async with manager:
            await asyncio.sleep(900)
        assert tuple(told) == manager.events
        return prober.starts, manager.events

    return in_virtual_time(main)


def test_a_quarter_of_an_hour_is_the_same_every_time():
    starts, events = quarter_of_an_hour(7)
    assert (starts, events) == quarter_of_an_hour(7)
    assert starts != quarter_of_an_hour(8)[0]
    assert len(starts) >= 3 * 179
    moves = [(each.old, each.new) for each in events if each.kind in ("failover", "failback")]
    assert moves == [("a", "b"), ("b", "c"), ("c", "a")]
