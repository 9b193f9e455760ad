"""Clusters whose healthy endpoints share the traffic: who is in rotation, and with what weight."""

import asyncio
import re
from collections import Counter

import pytest
from failover_site import told
from failover_world import (
    MemoryProber,
    VirtualClock,
    down_between,
    endpoint,
    in_virtual_time,
    script,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_drdrill.failover import (
    ActiveActiveCluster,
    FailoverError,
    FailoverTimeoutError,
    FlapDamping,
    NotMonitoringError,
    RoutingTable,
    WeightedSwitch,
)

ROTATION = ("endpoint_added", "endpoint_draining", "endpoint_removed", "panic_started")
ROTATION += ("panic_ended", "switch_failed")


class Balancer(RoutingTable):
    """A switch whose calls take a while, and fail or hang when told so."""

    def __init__(self, takes=0.0):
        super().__init__()
        self.takes, self.faults, self.log = takes, {}, []

    async def _do(self, step, name):
        self.log.append((step, name))
        if self.takes:
            await asyncio.sleep(self.takes)
        words = self.faults.get(name, [])
        word = words.pop(0) if words else "ok"
        if word == "fails":
            raise OSError(f"{step} of {name} broke")
        if word == "hangs":
            await asyncio.get_running_loop().create_future()

    async def activate(self, endpoint):
        await self._do("activate", endpoint.name)
        await super().activate(endpoint)

    async def deactivate(self, endpoint):
        await self._do("deactivate", endpoint.name)
        await super().deactivate(endpoint)

    async def set_weight(self, endpoint, weight):
        await self._do(f"weight {weight}", endpoint.name)
        await super().set_weight(endpoint, weight)


def cluster_of(names="abc", **settings):
    fates = {key: settings.pop(key) for key in tuple(settings) if len(key) == 1}
    settings.setdefault("check_interval", "10s")
    settings.setdefault("step_timeout", "3s")
    return ActiveActiveCluster(
        [endpoint(name) for name in names],
        prober=MemoryProber(**fates),
        clock=VirtualClock(),
        **settings,
    )


def names(endpoints):
    return "".join(each.name for each in endpoints)


def life(seconds, **settings):
    """What happened to the rotation of a cluster after its start: ``(second, kind, endpoint)``."""

    async def main():
        cluster = cluster_of(**settings)
        async with cluster:
            begun = len(cluster.events)
            await asyncio.sleep(seconds)
        found = told(cluster, *ROTATION)
        start = told(type("Begin", (), {"events": cluster.events[:begun]}), *ROTATION)
        return [(at, kind, who if isinstance(who, str) else "") for at, kind, who in found][
            len(start) :
        ]

    return in_virtual_time(main)


def test_all_share_the_traffic_from_the_start_by_their_weights():
    async def main():
        cluster = cluster_of(weights={"b": 3}, c="silent")
        async with cluster:
            # c is unknown: nothing has been held against it yet.
            assert names(cluster.get_endpoints_in_rotation()) == "abc"
            assert [cluster.get_weight(name) for name in "abc"] == [1, 3, 1]
            chosen = [cluster.route().name for _ in range(500)]
        assert Counter(chosen) == {"a": 100, "b": 300, "c": 100}
        assert Counter(chosen[:5]) == {"a": 1, "b": 3, "c": 1}  # and evenly spread
        assert isinstance(cluster.switch, WeightedSwitch)

    in_virtual_time(main)


def test_one_that_fails_leaves_after_its_threshold_and_comes_back_after_the_other():
    assert life(200, b=script("+---+")) == [
        (30, "endpoint_removed", "b"),
        (50, "endpoint_added", "b"),
    ]
    assert life(200, b=script("+--+--+--+")) == []
    assert life(200, b=script("+---+-+-+-")) == [(30, "endpoint_removed", "b")]


def test_with_too_few_healthy_ones_it_is_the_network_and_health_does_not_count():
    fates = {"a": down_between(5, 95), "b": down_between(5, 75), "c": down_between(15, 300)}
    # c is found down at 40, a and b at 30: nobody is left then, so all come back; b is well at 90.
    found = life(400, **fates)
    assert found[:2] == [(30, "endpoint_removed", "a"), (30, "endpoint_removed", "b")]
    assert found[2:4] == [(40, "panic_started", ""), (40, "endpoint_added", "a")]
    assert found[4] == (40, "endpoint_added", "b")
    assert (90, "panic_ended", "") in found
    assert found[-1] == (310, "endpoint_added", "c")

    async def main():
        cluster = cluster_of(**{name: down_between(5, 200) for name in "abc"})
        async with cluster:
            await asyncio.sleep(100)
            assert cluster.is_panicking
            assert names(cluster.get_endpoints_in_rotation()) == "abc"
            await asyncio.sleep(200)
            assert not cluster.is_panicking
        return cluster

    # All at once: not one request was ever kept from them.
    cluster = in_virtual_time(main)
    assert [kind for _, kind, _ in told(cluster, *ROTATION)][3:] == ["panic_started", "panic_ended"]
    (panic,) = [each for each in cluster.events if each.kind == "panic_started"]
    assert (panic.monotonic, panic.reason) == (30, "0 of 3 are healthy, and the minimum is 1")


def test_a_minimum_of_two_panics_with_one():
    found = life(100, minimum_healthy=2, a=script("+---"), b=script("++---"))
    assert found == [
        (30, "endpoint_removed", "a"),
        (40, "panic_started", ""),
        (40, "endpoint_added", "a"),
    ]


def test_draining_lets_go_on_what_is_under_way_and_then_cuts_it_off():
    async def main():
        switch = Balancer()
        cluster = cluster_of(switch=switch, drain_time="25s")
        seen = []
        cluster.add_rotation_callback(lambda old, new: seen.append((names(old), names(new))))
        async with cluster:
            await asyncio.sleep(12)
            seen.clear()
            await cluster.drain("b")
            assert asyncio.get_running_loop().time() == 37
            assert switch.weights == {"a": 1, "c": 1}
            await asyncio.sleep(100)
            assert names(cluster.get_endpoints_in_rotation()) == "ac"
            cluster.resume("b")
            await cluster.wait_until_in_rotation("b")
            cluster.resume("a")  # which nobody drains: nothing happens
            await asyncio.sleep(1)
        assert seen == [("abc", "ac"), ("ac", "abc")]
        return told(cluster, *ROTATION)[3:]

    assert in_virtual_time(main) == [
        (12, "endpoint_draining", "b"),
        (37, "endpoint_removed", "b"),
        (137, "endpoint_added", "b"),
    ]


def test_a_draining_one_that_dies_is_cut_off_at_once_and_one_called_off_says_so():
    async def main():
        cluster = cluster_of(b=script("+---"), drain_time="1h")
        async with cluster:
            await cluster.drain("b")
            assert asyncio.get_running_loop().time() == 30
            draining = asyncio.create_task(cluster.drain("c"))
            await asyncio.sleep(5)
            assert cluster.get_weight("c") == 0
            cluster.resume("c")
            with pytest.raises(FailoverError, match="the draining of c was called off"):
                await draining
            await cluster.wait_until_in_rotation("c")

    in_virtual_time(main)


def test_draining_never_goes_below_the_minimum():
    async def main():
        cluster = cluster_of(minimum_healthy=2, drain_time="0s")
        async with cluster:
            await cluster.drain("a")
            with pytest.raises(FailoverError, match="b would leave 1 healthy, and the min"):
                await cluster.drain("b")
            assert names(cluster.get_endpoints_in_rotation()) == "bc"
        with pytest.raises(NotMonitoringError):
            await cluster.drain("b")

    in_virtual_time(main)


def test_a_switch_that_fails_is_an_event_and_tried_again_while_others_are_not_kept_waiting():
    async def main():
        switch = Balancer()
        cluster = cluster_of(switch=switch, b=script("+---"), c=script("+---"))
        async with cluster:
            switch.faults["b"] = ["hangs", "fails"]
            await asyncio.sleep(31)
            assert names(cluster.get_endpoints_in_rotation()) == "ab"  # b as it was, c removed
            assert set(switch.weights) == {"a", "b"}
            await cluster.wait_until_out_of_rotation("b")
        failed = [each for each in cluster.events if each.kind == "switch_failed"]
        assert [(each.monotonic, each.endpoint, each.reason) for each in failed] == [
            (33, "b", "deactivating b failed: not done within 3s"),
            (43, "b", "deactivating b failed: deactivate of b broke"),
        ]
        assert told(cluster, *ROTATION)[-1] == (53, "endpoint_removed", "b")

    in_virtual_time(main)


def test_one_that_flaps_is_kept_out_unless_it_is_needed():
    damping = FlapDamping(suppress_at=1.5, reuse_at=0.75, half_life="2m", max_suppress="1h")
    flaps = script("+---+++---++")
    found = life(600, b=flaps, flap_damping=damping)
    assert [(at, kind) for at, kind, _ in found[:3]] == [
        (30, "endpoint_removed"),
        (50, "endpoint_added"),
        (90, "endpoint_removed"),
    ]
    # A penalty of 1 + 2 ** -0.5 at 90: two minutes and more for each halving, to 0.75.
    (back, kind, _) = found[3]
    assert kind == "endpoint_added"
    assert back == pytest.approx(90 + 120 * 1.18652, abs=0.01)
    # Both others die meanwhile: then it is better than none.
    found = life(
        600, b=flaps, a=down_between(95, 900), c=down_between(95, 900), flap_damping=damping
    )
    assert (120, "endpoint_added", "b") in found
    assert not any(kind == "panic_started" for _, kind, _ in found)


def test_waiting_ends_in_time():
    async def main():
        cluster = cluster_of(b=script("+---"))
        async with cluster:
            with pytest.raises(FailoverTimeoutError) as caught:
                await cluster.wait_until_out_of_rotation("b", timeout="20s")
            assert str(caught.value) == (
                "b is still in rotation after 20s: a is healthy, b is healthy, c is healthy"
            )
            await cluster.wait_until_out_of_rotation("b")
            assert asyncio.get_running_loop().time() == 30
            waiting = asyncio.create_task(cluster.wait_until_in_rotation("b"))
            await asyncio.sleep(1)
        with pytest.raises(NotMonitoringError, match="stopped meanwhile"):
            await waiting
        assert cluster._rotation._waiters == []

    in_virtual_time(main)


def test_a_start_tells_the_switch_everything_anew():
    async def main():
        switch = Balancer(takes=1.0)
        cluster = cluster_of("ab", switch=switch)
        async with cluster:
            assert asyncio.get_running_loop().time() == 2  # both at once: weight, then activation
        first, switch.log = switch.log, []
        await switch.deactivate(endpoint("a"))  # by somebody else
        async with cluster:
            assert set(switch.weights) == {"a", "b"}
        return first

    assert sorted(in_virtual_time(main)) == [
        ("activate", "a"),
        ("activate", "b"),
        ("weight 1", "a"),
        ("weight 1", "b"),
    ]


@settings(max_examples=60)
@given(
    spans=st.lists(
        st.lists(st.tuples(st.integers(0, 300), st.integers(1, 200)), max_size=3),
        min_size=3,
        max_size=3,
    ),
    faults=st.fixed_dictionaries(
        {name: st.lists(st.sampled_from(["ok", "fails", "hangs"]), max_size=5) for name in "abc"}
    ),
    minimum=st.integers(1, 3),
    takes=st.sampled_from([0.0, 0.5]),
)
def test_traffic_is_never_kept_from_a_healthy_one_for_long_nor_from_all(
    spans, faults, minimum, takes
):
    async def main():
        def fate(mine):
            return lambda _, now: (
                "refused" if any(begin <= now < begin + lasts for begin, lasts in mine) else "up"
            )

        switch = Balancer(takes)
        cluster = cluster_of(
            switch=switch,
            minimum_healthy=minimum,
            **dict(zip("abc", map(fate, spans), strict=True)),
        )
        async with cluster:
            switch.faults = faults
            await asyncio.sleep(5)  # from here on, between the checks
            for _ in range(70):
                await asyncio.sleep(10)
                if not any(faults.values()) and not takes:
                    up = [n for n in "abc" if cluster.get_endpoint_status(n).value != "unhealthy"]
                    expected = up if len(up) >= minimum else "abc"
                    if all(each.applied is not None for each in cluster._rotation._members):
                        assert names(cluster.get_endpoints_in_rotation()) == "".join(expected)
            await asyncio.sleep(100)
            assert set(switch.weights) == set("abc")
            assert names(cluster.get_endpoints_in_rotation()) == "abc"

    in_virtual_time(main)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"weights": {"x": 1}}, ValueError, "'x' is none of this manager's endpoints"),
        ({"weights": {"a": 0}}, ValueError, "the weight of 'a' must be at least 1"),
        ({"weights": {"a": 0.5}}, TypeError, "the weight of 'a' must be a whole number of shares"),
        ({"weights": [1, 2]}, TypeError, "weights must map names to whole numbers"),
        ({"minimum_healthy": 4}, ValueError, "minimum_healthy of 4 can't be reached with 3"),
        ({"minimum_healthy": 0}, ValueError, "minimum_healthy must be at least 1"),
        ({"drain_time": 3}, TypeError, "drain_time: 3 has no unit"),
        ({"switch": object()}, TypeError, "switch must have activate(endpoint), deactivate(end"),
    ],
)
def test_a_bad_setting_is_one_clear_sentence(options, error, message):
    with pytest.raises(error, match=re.escape(message)) as caught:
        cluster_of(**options)
    assert "\n" not in str(caught.value)


def test_a_callback_must_be_callable_and_route_is_of_the_default_switch():
    with pytest.raises(TypeError, match="must be callable with"):
        cluster_of().add_rotation_callback("log it")

    class Other:
        async def activate(self, endpoint): ...
        async def deactivate(self, endpoint): ...
        async def set_weight(self, endpoint, weight): ...

    with pytest.raises(TypeError, match="route\\(\\) asks the default switch"):
        cluster_of(switch=Other()).route()
    assert RoutingTable().choose() is None
