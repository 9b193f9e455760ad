"""Managers and clusters that move traffic through a real HAProxy, under load."""

import asyncio

import pytest
from haproxy_site import Load, names

from pytest_drdrill import (
    ActiveActiveCluster,
    ActivePassiveCluster,
    FailoverManager,
)

QUICK = {"failure_threshold": 2, "check_interval": "400ms", "fast_interval": "50ms"}
"""A check may take the interval: on a busy machine even a server that is well takes its time."""


async def until(manager, kind, count=1):
    async with asyncio.timeout(30):
        while sum(each.kind == kind for each in manager.events) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["kill", "pause"])
@pytest.mark.parametrize("watch", [False, True])
async def test_no_request_fails_while_traffic_moves_there_and_back(pair, before, how, watch):
    a, _ = pair
    haproxy = before(pair, answer_within="500ms")
    cluster = ActivePassiveCluster(
        *haproxy.endpoints,
        switch=haproxy.traffic,
        watch=watch,
        **QUICK,
    )
    async with Load(haproxy.url) as load, cluster:
        assert await load.serves("a")
        getattr(a, how)()
        await cluster.wait_until_active("b", timeout="30s")
        assert await load.serves("b")
        if how == "pause":
            a.resume()
            await cluster.wait_until_active("a", timeout="30s")
            assert await load.serves("a")
    assert load.failures == []
    assert await haproxy.traffic.lost() == []


@pytest.mark.asyncio
async def test_without_a_second_try_requests_fail(pair, before):
    a, _ = pair
    haproxy = before(pair, redispatch=False)
    cluster = ActivePassiveCluster(*haproxy.endpoints, switch=haproxy.traffic, **QUICK)
    async with Load(haproxy.url) as load, cluster:
        assert await load.serves("a")
        a.kill()
        await cluster.wait_until_active("b", timeout="30s")
        assert await load.serves("b")
    assert load.failures


@pytest.mark.asyncio
async def test_nothing_moves_while_haproxy_is_down_and_all_does_once_it_is_back(pair, before):
    a, _ = pair
    haproxy = before(pair)
    manager = FailoverManager(haproxy.endpoints, switch=haproxy.traffic, **QUICK)
    async with manager:
        await until(manager, "traffic_switched")
        haproxy.kill()
        a.kill()
        await until(manager, "failover_failed", 2)
        assert manager.get_active_endpoint().name == "a"
        reason = next(each for each in manager.events if each.kind == "failover_failed").reason
        assert "deactivating a failed: " in reason
        assert "HAProxy does not run" in reason
        haproxy.start()
        await manager.wait_until_active("b", timeout="30s")
        assert await names(haproxy.url) == {"b"}


@pytest.mark.asyncio
async def test_a_hung_haproxy_fails_the_takeover_and_does_nothing_late(pair, before):
    a, _ = pair
    haproxy = before(pair)
    manager = FailoverManager(
        haproxy.endpoints, switch=haproxy.traffic, step_timeout="100ms", **QUICK
    )
    async with manager:
        await until(manager, "traffic_switched")
        haproxy.pause()
        a.kill()
        await until(manager, "failover_failed")
        assert "not done within 100ms" in manager.events[-1].reason
    haproxy.resume()
    lost = await haproxy.traffic.lost()
    assert [each.partition(";")[0] for each in lost] == ["service/a was deactivated and is ready"]


@pytest.mark.asyncio
async def test_the_healthy_share_the_traffic_by_weight(webs, before):
    a, b, c = webs("a", "b", "c")
    haproxy = before([a, b, c])
    cluster = ActiveActiveCluster(
        haproxy.endpoints, switch=haproxy.traffic, weights={"a": 2}, drain_time="50ms", **QUICK
    )
    async with Load(haproxy.url) as load, cluster:
        assert await load.serving() == {"a", "b", "c"}
        b.kill()
        await cluster.wait_until_out_of_rotation("b", timeout="30s")
        assert await load.serving() == {"a", "c"}
        await cluster.drain("a")
        assert await load.serving() == {"c"}
        cluster.resume("a")
        await cluster.wait_until_in_rotation("a", timeout="30s")
        assert await load.serving() == {"a", "c"}
    assert load.failures == []


def test_a_drill_shows_what_happened_to_haproxy_and_ends_it(pytester):
    pytester.makepyfile(
        """
        import pathlib
        import pytest
        from pytest_drdrill import ServiceEndpoint

        ENDPOINTS = [ServiceEndpoint(name, "http://127.0.0.1:1") for name in "ab"]
        made = []

        @pytest.mark.rto("1m")
        async def test_it(haproxy, rto_timer, drill, active_passive_cluster):
            balancer = haproxy(ENDPOINTS)
            made.append(balancer)
            with rto_timer.outage(expect_downtime=False):
                balancer.kill()
                balancer.start()
            told = [each["event"] for each in drill.timeline.events()]
            assert [each for each in told if each.startswith("haproxy")] == [
                "haproxy started", "haproxy killed", "haproxy started"
            ]
            with pytest.raises(ValueError, match="standby must be one of"):
                haproxy(ENDPOINTS, standby="x")

        def test_outside_of_drills(haproxy):
            made.append(haproxy(ENDPOINTS))
            assert made[-1].is_running

        def test_they_are_gone():
            assert not any(each.is_running for each in made)
            assert not any(each.socket.parent.exists() for each in made)

        @pytest.mark.rto("1m")
        def test_virtual_time(haproxy, simulated_endpoints):
            haproxy(ENDPOINTS)
        """
    )
    result = pytester.runpytest("--dr-kind=failover", "-W", "error")
    result.stdout.fnmatch_lines(
        ["*haproxy(...) runs a real HAProxy, which knows nothing of virtual*"]
    )
    result = pytester.runpytest("-W", "error")
    result.assert_outcomes(passed=3, failed=1)


def test_a_machine_without_haproxy_is_not_verified(pytester, monkeypatch):
    monkeypatch.setattr("pytest_drdrill.live.programs._SYSTEM", ())
    monkeypatch.setenv("PATH", str(pytester.path))
    pytester.makepyfile(
        """
        import pytest
        from pytest_drdrill import ServiceEndpoint

        @pytest.mark.rto("1m")
        def test_it(haproxy):
            haproxy([ServiceEndpoint("a", "http://127.0.0.1:1")])
        """
    )
    result = pytester.runpytest("--dr-fail-unverified")
    result.assert_outcomes(skipped=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*NOT VERIFIED*", "*this machine lacks haproxy; install it*"])
