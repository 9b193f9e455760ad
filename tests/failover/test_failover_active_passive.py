"""A primary and its secondary, of which one at a time gets the traffic through the switch."""

import asyncio

import pytest
from failover_site import Site
from failover_world import (
    MemoryProber,
    VirtualClock,
    down_between,
    endpoint,
    in_virtual_time,
    script,
)

from pytest_drdrill.failover import ActivePassiveCluster, FailoverManager, TrafficSwitch


def cluster_of(**settings):
    fates = {key: settings.pop(key) for key in tuple(settings) if len(key) == 1}
    settings.setdefault("check_interval", "10s")
    return ActivePassiveCluster(
        endpoint("a"),
        endpoint("b"),
        prober=MemoryProber(**fates),
        clock=VirtualClock(),
        **settings,
    )


def test_clients_of_the_default_switch_go_where_the_cluster_says():
    async def main():
        cluster = cluster_of(a=script("+---+"))
        assert cluster.route() is None  # nothing is activated before the start
        async with cluster:
            assert cluster.route() is cluster.primary
            await cluster.wait_until_active("b")
            assert cluster.route() is cluster.secondary
            await cluster.wait_until_active("a")
            assert cluster.route() is cluster.primary
        assert cluster.route() is cluster.primary  # the end leaves traffic where it is

    in_virtual_time(main)


def test_with_none_healthy_no_traffic_flows():
    async def main():
        down = down_between(5, 1000)
        async with cluster_of(a=down, b=down) as cluster:
            await asyncio.sleep(100)
            assert cluster.route() is None
            assert cluster.get_active_endpoint() is None

    in_virtual_time(main)


def test_it_takes_all_parts_and_settings_of_a_manager():
    site = Site("a")

    async def main():
        cluster = cluster_of(
            switch=site, fencer=site, promoter=site, failure_threshold=1, a=script("+-")
        )
        assert cluster.switch is site
        async with cluster:
            await cluster.wait_until_active(cluster.secondary)
            assert asyncio.get_running_loop().time() == 10
            assert cluster.route() is cluster.secondary

    in_virtual_time(main)
    assert site.log[2:] == [
        ("fence", "a"),
        ("promote", "b"),
        ("deactivate", "a"),
        ("activate", "b"),
    ]
    assert issubclass(ActivePassiveCluster, FailoverManager)
    assert isinstance(cluster_of().switch, TrafficSwitch)


def test_the_primary_comes_first():
    with pytest.raises(ValueError, match="the priority of 'b' puts it before 'a'; the primary"):
        ActivePassiveCluster(endpoint("a", priority=2), endpoint("b", priority=1))
    cluster = ActivePassiveCluster(endpoint("a", priority=1), endpoint("b", priority=2))
    assert (cluster.primary.name, cluster.secondary.name) == ("a", "b")
