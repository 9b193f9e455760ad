"""A held connection: its loss calls a check up, that check decides, and nobody is kept busy."""

import asyncio
from datetime import timedelta

import pytest
from failover_world import MemoryProber, VirtualClock, endpoint, in_virtual_time, lived, script
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_drdrill.failover import (
    ActiveActiveCluster,
    ActivePassiveCluster,
    FailoverManager,
    HealthStatus,
    HttpProber,
    MonitoringFailed,
    Watcher,
)
from pytest_drdrill.simulation import SimulatedProber, SimulatedWorld

DOWN = ("endpoint_unhealthy", "failover", "failback", "no_healthy_endpoint")


class HoldingProber(MemoryProber):
    """Holds connections, each for the next of ``holds[name]`` seconds; the last one goes on.

    ``"refused"`` is one that can't be made, ``"hanging"`` one that is never made, ``None`` one that
    stands for ever. ``break_all`` ends those that stand.
    """

    def __init__(self, latency=0.0, holds=(), **fate):
        super().__init__(latency, **fate)
        self.holds = {name: list(each) for name, each in dict(holds).items()}
        self.made = []
        self.standing = {}

    async def hold(self, endpoint, held):
        loop = asyncio.get_running_loop()
        script = self.holds.get(endpoint.name, [None])
        span = script.pop(0) if len(script) > 1 else script[0]
        self.made.append((loop.time(), endpoint.name))
        if span == "refused":
            raise ConnectionRefusedError("connection refused")
        if span == "hanging":
            await loop.create_future()
        broken = loop.create_future()
        self.standing[endpoint.name] = broken
        held()
        try:
            async with asyncio.timeout(span):
                await broken
        except TimeoutError:
            pass
        finally:
            del self.standing[endpoint.name]
        return "it closed the connection"

    def break_all(self):
        for broken in self.standing.values():
            broken.set_result(None)


def life(seconds, prober, names="a", act=None, **settings):
    """A watching manager's life; ``act(prober, manager)`` goes on beside it."""

    async def main():
        manager = await lived(seconds, prober, names, act, watch=True, **settings)
        assert not prober.standing
        return manager

    return in_virtual_time(main)


def told(manager, *kinds):
    return [(each.monotonic, each.kind) for each in manager.events if each.kind in kinds]


def breaks(at, fate=None):
    """Breaks the connection at a second; with a fate, which holds from then on."""

    async def act(prober, _):
        await asyncio.sleep(at - asyncio.get_running_loop().time())
        if fate is not None:
            prober.fate["a"] = fate
        prober.break_all()

    return act


# A hint, and what becomes of it.


def test_a_loss_has_a_check_made_at_once_beside_the_others():
    prober = HoldingProber()
    manager = life(45, prober, act=breaks(23))
    assert prober.starts_of("a") == [0, 10, 20, 23, 30, 40]
    assert told(manager, "connection_lost", *DOWN) == [(23, "connection_lost")]
    (lost,) = [each for each in manager.events if each.kind == "connection_lost"]
    assert lost.endpoint == "a"
    assert lost.reason == "it closed the connection, 23s after it was made; checked at once"


def test_one_that_died_is_down_after_fast_checks_from_the_loss_on():
    prober = HoldingProber()
    manager = life(45, prober, "ab", act=breaks(23, "refused"), fast_interval="1s")
    assert prober.starts_of("a")[:7] == [0, 10, 20, 23, 24, 25, 30]
    assert told(manager, *DOWN) == [(25, "endpoint_unhealthy"), (25, "failover")]
    # The loss of the other one's connection was a false alarm, in the same moment.
    assert prober.starts_of("b") == [0, 10, 20, 23, 30, 40]


def test_without_a_fast_interval_the_next_checks_are_those_of_the_grid():
    prober = HoldingProber()
    manager = life(45, prober, act=breaks(23, "refused"))
    assert prober.starts_of("a") == [0, 10, 20, 23, 30, 40]
    assert told(manager, "endpoint_unhealthy") == [(40, "endpoint_unhealthy")]


def test_one_failed_check_after_a_loss_is_not_enough():
    prober = HoldingProber(a=script("+++-+"))
    manager = life(200, prober, "ab", act=breaks(23))
    assert told(manager, *DOWN) == []


def test_a_loss_during_a_good_check_has_another_one_made_after_it():
    prober = HoldingProber(latency=2.0)
    life(45, prober, act=breaks(21))
    assert prober.starts_of("a") == [0, 10, 20, 22, 30, 40]


def test_a_loss_during_a_failing_check_is_answered_by_that_check():
    prober = HoldingProber(latency=2.0, a=script("++-+"))
    manager = life(45, prober, act=breaks(21))
    assert prober.starts_of("a") == [0, 10, 20, 30, 40]
    prober = HoldingProber(latency=2.0, a=script("++-"))
    manager = life(45, prober, act=breaks(21), fast_interval="3s")
    assert prober.starts_of("a")[:5] == [0, 10, 20, 23, 26]
    assert told(manager, "endpoint_unhealthy") == [(28, "endpoint_unhealthy")]


def test_checks_that_are_fast_already_keep_their_distance():
    prober = HoldingProber(a=script("++---"))
    manager = life(30, prober, act=breaks(20.5), fast_interval="2s", failure_threshold=3)
    assert prober.starts_of("a")[:5] == [0, 10, 20, 22, 24]
    prober = HoldingProber(a=script("+-----"))
    manager = life(30, prober, act=breaks(11), fast_interval="4s", failure_threshold=4)
    assert prober.starts_of("a")[:5] == [0, 10, 14, 18, 22]
    assert told(manager, "endpoint_unhealthy") == [(22, "endpoint_unhealthy")]


def test_a_loss_while_checks_are_fast_is_answered_by_the_next_of_them():
    prober = HoldingProber(a=script("+-+"))
    life(35, prober, act=breaks(11), fast_interval="4s")
    assert prober.starts_of("a") == [0, 10, 14, 20, 30]


def test_a_new_connection_is_made_when_the_endpoint_is_back():
    prober = HoldingProber(a=lambda _, now: "refused" if 23 <= now < 61 or now >= 95 else "up")

    async def act(prober, _):
        for at in (23, 95):
            await asyncio.sleep(at - asyncio.get_running_loop().time())
            prober.break_all()

    manager = life(120, prober, act=act, fast_interval="1s")
    assert [at for at, _ in prober.made] == [0, 70]
    assert told(manager, "endpoint_unhealthy") == [
        (25, "endpoint_unhealthy"),
        (97, "endpoint_unhealthy"),
    ]


def test_what_died_without_a_word_is_watched_by_a_new_connection_once_it_is_back():
    async def main(world):
        (host,) = world.hosts("host", boot_time="10s")
        (primary,) = world.endpoints("primary", place=host)
        (standby,) = world.endpoints("standby")
        manager = FailoverManager(
            [primary, standby],
            failure_threshold=1,
            prober=SimulatedProber(),
            clock=world.clock,
            watch=True,
        )
        async with manager:
            await world.clock.sleep(40)
            host.lose_power()  # which no connection tells
            await manager.wait_until_active(standby)
            host.restart()
            await manager.wait_until_active(primary)
            await world.clock.sleep(31)
            began = world.clock.monotonic()
            primary.fail()
            await manager.wait_until_active(standby)
            return world.clock.monotonic() - began

    with SimulatedWorld() as world:
        assert world.run(main(world)) == 0


def test_each_endpoint_is_watched_and_a_stop_ends_it_and_a_restart_begins_anew():
    prober = HoldingProber(b="refused")

    async def main():
        manager = FailoverManager(
            [endpoint(each) for each in "abc"],
            2,
            "10s",
            prober=prober,
            clock=VirtualClock(),
            watch=True,
        )
        for _ in range(2):
            async with manager:
                await asyncio.sleep(35)
                assert sorted(prober.standing) == ["a", "c"]
            assert prober.standing == {}
            await asyncio.sleep(100)

    in_virtual_time(main)
    assert [name for _, name in prober.made] == ["a", "c"] * 2


# Nobody is kept busy, and no alarm is raised.


def test_one_that_ends_idle_connections_costs_no_check_once_that_is_known():
    prober = HoldingProber(holds={"a": [5.0]})
    manager = life(600, prober)
    extra = [at for at in prober.starts_of("a") if at % 10]
    # Twice after 5 s; from then on a new one is made before that.
    assert extra == [5, pytest.approx(10.1)]
    assert len(told(manager, "connection_lost")) == 2
    spans = [
        later - at for (at, _), (later, _) in zip(prober.made[3:], prober.made[4:], strict=False)
    ]
    assert spans == pytest.approx([4.0] * len(spans))
    assert told(manager, *DOWN, "endpoint_unwatched") == []
    # And its death is noticed all the same.
    prober = HoldingProber(holds={"a": [5.0]})
    manager = life(600, prober, act=breaks(333, "refused"), fast_interval="1s")
    assert told(manager, "endpoint_unhealthy") == [(335, "endpoint_unhealthy")]


@pytest.mark.parametrize("way", ["refused", "hanging", 0.0, 0.5])
def test_one_that_holds_no_connection_is_left_alone(way):
    prober = HoldingProber(holds={"a": [way]})
    manager = life(3600, prober)
    assert len(prober.starts_of("a")) <= 361 + 3
    assert len(prober.made) <= 3 + 3600 / 60
    (left,) = [each for each in manager.events if each.kind == "endpoint_unwatched"]
    assert left.endpoint == "a"
    said = {
        "refused": "connection refused",
        "hanging": "no connection within 5s",
    }.get(way, "it closed the connection")
    assert left.reason == f"it holds no connection: {said}, 3 times in a row"
    assert told(manager, *DOWN) == []
    assert manager.get_endpoint_status("a") is HealthStatus.HEALTHY


def test_one_that_holds_connections_later_is_watched_again():
    prober = HoldingProber(holds={"a": ["refused"] * 5 + [None]})
    manager = life(900, prober, act=breaks(404, "refused"), fast_interval="1s")
    assert told(manager, "endpoint_unhealthy") == [(406, "endpoint_unhealthy")]


def test_one_that_is_watched_again_may_be_left_alone_again():
    prober = HoldingProber(holds={"a": ["refused"] * 3 + [100.0, *["refused"] * 9, None]})
    manager = life(900, prober)
    assert len(told(manager, "endpoint_unwatched")) == 2
    # Three and three that were called up, and one for the connection that was held and lost.
    called_up = [0, 0.1, 0.3, 160.3, 160.4, 160.6, 161]
    grid = [10 * number for number in range(len(prober.starts_of("a")) - 7)]
    assert prober.starts_of("a") == pytest.approx(sorted(grid + called_up))


def test_a_pause_grows_while_connections_are_lost_soon_and_is_short_after_one_that_was_held():
    prober = HoldingProber(holds={"a": [1.5, 3.5, 1.5, 3.5, 1.5, 3.5, 1.5, 3.5, 25.0, 7.0, None]})
    life(300, prober)
    pauses = [
        later - at - span
        for (at, _), (later, _), span in zip(
            prober.made, prober.made[1:], [1.5, 3.5] * 4 + [25.0, 7.0], strict=False
        )
    ]
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 0.1, 0.2])


def test_refusals_around_an_outage_are_none_in_a_row():
    prober = HoldingProber(holds={"a": ["refused", "refused", None, "refused", None]})
    prober.fate["a"] = lambda _, now: "refused" if 200 <= now < 300 else "up"
    manager = life(900, prober, act=breaks(200))
    assert len(prober.made) == 5
    assert told(manager, "endpoint_unwatched") == []


@given(
    holds=st.lists(
        st.one_of(st.floats(0, 100), st.sampled_from(["refused", "hanging"])),
        min_size=1,
        max_size=40,
    ),
    interval=st.sampled_from([1, 10, 60]),
    fast=st.sampled_from([None, "100ms"]),
    latency=st.sampled_from([0.0, 0.3]),
)
@example([0.0], 60, "100ms", 0.0)
@example([1.0, 1.5, 2.5], 60, None, 0.3)
def test_no_loss_ever_is_a_verdict_nor_a_storm(holds, interval, fast, latency):
    prober = HoldingProber(latency, holds={"a": holds})
    seconds = 20 * interval
    manager = life(
        seconds,
        prober,
        "ab",
        failure_threshold=1,
        check_interval=timedelta(seconds=interval),
        fast_interval=fast,
    )
    assert told(manager, *DOWN) == []
    checks = len(prober.starts_of("a"))
    # Those of the grid; one in each interval; and while the pause doubles up to the interval.
    assert checks <= 21 + 21 + 10
    assert prober.starts_of("b") == [
        number * interval for number in range(len(prober.starts_of("b")))
    ]


# What is predicted of it.


@given(
    threshold=st.integers(1, 5),
    interval_ms=st.integers(200, 60_000),
    fast_share=st.sampled_from([None, 0.01, 0.5, 1.0]),
    timeout_ms=st.integers(1, 90_000),
    jitter_share=st.sampled_from([0.0, 0.3]),
    wait_share=st.floats(0, 3),
    how=st.sampled_from(["refused", "silent"]),
    seed=st.integers(0, 1000),
)
@example(3, 30_000, 0.01, 5_000, 0.0, 0.5, "refused", 0)
@example(3, 30_000, None, 5_000, 0.0, 0.999, "refused", 0)
@example(3, 30_000, 0.01, 5_000, 0.0, 1e-6, "silent", 0)
def test_a_watched_detection_lies_within_the_prediction(
    threshold, interval_ms, fast_share, timeout_ms, jitter_share, wait_share, how, seed
):
    interval = timedelta(milliseconds=interval_ms)
    with SimulatedWorld(seed) as world:
        (simulated,) = world.endpoints("a", timeout=timedelta(milliseconds=timeout_ms))

        async def main():
            manager = FailoverManager(
                [simulated],
                threshold,
                interval,
                fast_interval=None if fast_share is None else interval * fast_share,
                jitter=interval * jitter_share,
                seed=seed,
                prober=SimulatedProber(),
                clock=world.clock,
                watch=True,
            )
            async with manager:
                await world.clock.sleep(interval.total_seconds() * wait_share + 1e-6)
                disaster = world.clock.monotonic()
                simulated.fail(how)
                while manager.get_active_endpoint() is not None:
                    await world.clock.sleep(interval.total_seconds() / 8)
            (down,) = [each for each in manager.events if each.kind == "endpoint_unhealthy"]
            lost = [each.monotonic for each in manager.events if each.kind == "connection_lost"]
            assert lost == ([disaster] if how == "refused" else [])
            return (
                down.monotonic - disaster,
                manager.predicted_detection("a"),
                manager.predicted_detection("a", by_watch=True),
            )

        took, ordinary, by_watch = world.run(main())
    bounds = [ordinary, by_watch] if how == "refused" else [ordinary]
    for shortest, longest in bounds:
        assert shortest.total_seconds() - 1e-5 <= took <= longest.total_seconds() + 1e-5
    if how == "refused" and fast_share is not None:
        # As soon as can be, whenever the disaster comes.
        assert took == pytest.approx(
            (threshold - 1) * interval.total_seconds() * fast_share, abs=1e-4
        )


def test_the_prediction_says_what_a_watch_changes_and_what_not():
    def bounds(threshold=3, by_watch=False, watch=True, **settings):
        manager = FailoverManager(
            [endpoint("a")], threshold, "30s", prober=HoldingProber(), watch=watch, **settings
        )
        return tuple(
            each.total_seconds() for each in manager.predicted_detection("a", by_watch=by_watch)
        )

    fast = {"fast_interval": "2s", "jitter": "1s"}
    assert bounds(**fast) == bounds(watch=False, **fast) == (3, 46)
    assert bounds(by_watch=True, **fast) == (4, 15)
    assert bounds(1, by_watch=True, **fast) == (0, 5)
    assert bounds() == (30, 95)  # without it: 60 to 95
    assert bounds(by_watch=True) == (30, 65)
    assert bounds(1) == (0, 35)
    with pytest.raises(ValueError, match="by_watch has no meaning without watch=True"):
        bounds(watch=False, by_watch=True)


# The simulated twin.


def test_a_simulated_connection_breaks_when_refused_and_not_when_silent():
    with SimulatedWorld() as world:
        a, b = world.endpoints("a", "b")
        seen = []

        async def hold(endpoint):
            how = await SimulatedProber().hold(
                endpoint, lambda: seen.append((world.clock.monotonic(), endpoint.name, "held"))
            )
            seen.append((world.clock.monotonic(), endpoint.name, how))

        async def main():
            tasks = [asyncio.create_task(hold(each)) for each in (a, b)]
            b.slow("20s")
            b.fail_at("30s", "silent")
            b.recover_at("1m")
            b.fail_at("90s")
            await world.clock.sleep(10)
            a.fail()
            await world.clock.sleep(200)
            assert all(each.done() for each in tasks)
            with pytest.raises(ConnectionRefusedError, match="a refuses connections"):
                await hold(a)
            b.fail("silent")
            late = asyncio.create_task(hold(b))
            await world.clock.sleep(7)
            b.recover()
            await world.clock.sleep(1)
            b.flap("10s")
            await late

        world.run(main())
    assert seen == [
        (0, "a", "held"),
        (0, "b", "held"),
        (10, "a", "the connection broke"),
        (90, "b", "the connection broke"),
        (217, "b", "held"),
        (218, "b", "the connection broke"),
    ]


@pytest.mark.parametrize("kind", [ActivePassiveCluster, ActiveActiveCluster])
def test_clusters_watch_too(kind):
    with SimulatedWorld() as world:
        a, b = world.endpoints("a", "b")

        async def main():
            endpoints = [a, b] if kind is ActivePassiveCluster else [[a, b]]
            cluster = kind(
                *endpoints,
                check_interval="10m",
                fast_interval="1s",
                watch=True,
                prober=SimulatedProber(),
                clock=world.clock,
            )
            async with cluster:
                await world.clock.sleep(61)
                a.fail()
                await world.clock.sleep(3)
                assert not cluster.gets_traffic("a")
                assert cluster.gets_traffic("b")

        world.run(main())


# What it takes.


def test_watch_is_a_flag_and_needs_a_prober_that_can_hold_a_connection():
    with pytest.raises(TypeError, match="watch must be True or False, not 'yes'"):
        FailoverManager([endpoint("a")], watch="yes")
    with pytest.raises(
        TypeError, match=r"watch=True needs a prober that can hold a connection, .*"
    ):
        FailoverManager([endpoint("a")], watch=True, prober=MemoryProber())
    FailoverManager([endpoint("a")], watch=False, prober=MemoryProber())
    assert isinstance(HttpProber(), Watcher)
    assert isinstance(SimulatedProber(), Watcher)
    assert not isinstance(MemoryProber(), Watcher)


def test_a_watcher_that_breaks_ends_the_monitoring():
    class Broken(HoldingProber):
        async def hold(self, endpoint, held):
            raise TypeError("this watcher is broken")

    prober = Broken()
    with pytest.raises(MonitoringFailed, match="this watcher is broken"):
        life(5, prober)
    assert prober.closed == 1


def test_who_does_not_watch_holds_nothing():
    prober = HoldingProber()

    async def main():
        async with FailoverManager([endpoint("a")], prober=prober, clock=VirtualClock()):
            await asyncio.sleep(1000)

    in_virtual_time(main)
    assert prober.made == []
