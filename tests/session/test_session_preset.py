"""Drills that run with the settings of a tool."""

from __future__ import annotations

SOURCE = """
from pytest_drdrill import HAProxyPreset, KeepalivedPreset, ConsulPreset

OURS = HAProxyPreset("4s", fall=2, fastinter="500ms", timeout_check="1s")

@pytest.mark.rto("10s")
async def test_a_manager_checks_as_the_tool_does(simulated_endpoints, failover_manager, rto_timer):
    primary, standby = simulated_endpoints("primary", "standby", timeout=OURS.check_timeout)
    async with failover_manager([primary, standby], preset=OURS) as manager:
        await asyncio.sleep(5)
        with rto_timer.outage():
            primary.fail()
            await manager.wait_until_active(standby)

@pytest.mark.rto("10s")
async def test_what_is_set_beside_it_comes_first(
    simulated_endpoints, active_passive_cluster, rto_timer
):
    primary, standby = simulated_endpoints("primary", "standby", timeout=OURS.check_timeout)
    settings = {"preset": OURS, "failure_threshold": 1}
    async with active_passive_cluster(primary, standby, **settings) as cluster:
        await asyncio.sleep(5)
        with rto_timer.outage():
            primary.fail()
            await cluster.wait_until_active(standby)

@pytest.mark.rto("10s")
async def test_endpoints_must_have_the_tools_timeout(simulated_endpoints, failover_manager):
    failover_manager(simulated_endpoints("a", "b"), preset=OURS)

def test_an_interval_beside_it_is_its_fast_one_too(failover_manager):
    endpoints = [ServiceEndpoint("a", "http://a.test", timeout="2s")]
    for interval, least, most in (("1s", 2, 4), ("5s", 10, 17)):
        manager = failover_manager(endpoints, preset=HAProxyPreset(), check_interval=interval)
        assert [each.total_seconds() for each in manager.predicted_detection()] == [least, most]

def test_a_fast_interval_of_its_own_stays(failover_manager):
    endpoints = [ServiceEndpoint("a", "http://a.test", timeout="1s")]
    for interval, least, most in (("1s", 0.5, 3), ("5s", 0.5, 7)):
        manager = failover_manager(endpoints, preset=OURS, check_interval=interval)
        assert [each.total_seconds() for each in manager.predicted_detection()] == [least, most]
    beside = {"check_interval": "300ms", "fast_interval": "100ms"}
    assert failover_manager(endpoints, preset=OURS, **beside)
    with pytest.raises(ValueError) as refused:
        failover_manager(endpoints, preset=OURS, check_interval="300ms")
    assert str(refused.value) == (
        "the preset of HAProxy 3.5 has a fast interval of 500ms, above the check_interval of "
        "300ms that is set beside it; set fast_interval as well"
    )
    with pytest.raises(TypeError, match="check_interval: "):
        failover_manager(endpoints, preset=OURS, check_interval=3)

@pytest.mark.rto("10s")
async def test_a_tool_that_does_not_poll_is_refused(simulated_endpoints, failover_manager):
    failover_manager(simulated_endpoints("a", "b"), preset=KeepalivedPreset())

@pytest.mark.rto("10s")
async def test_its_name_alone_is_no_preset(simulated_endpoints, failover_manager):
    failover_manager(simulated_endpoints("a", "b"), preset="haproxy")

def test_outside_of_drills_too(active_active_cluster):
    from pytest_drdrill import ServiceEndpoint
    endpoints = [ServiceEndpoint("a", "http://a.test", timeout="10s")]
    cluster = active_active_cluster(endpoints, preset=ConsulPreset())
    assert cluster.predicted_detection()[1].total_seconds() == 20
    with pytest.raises(ValueError, match="'a' may take 10s, one of HAProxy 3.5 1s"):
        active_active_cluster(endpoints, preset=HAProxyPreset("20s", timeout_check="1s"))
"""


def test_a_manager_takes_a_preset(drills):
    outcome = drills(SOURCE)
    outcome.result.assert_outcomes(passed=5, failed=3)
    found = outcome.drills
    as_the_tool = found["test_a_manager_checks_as_the_tool_does"]["rto"]["outages"][0]
    assert as_the_tool["detected_s"] == 3.5
    beside = found["test_what_is_set_beside_it_comes_first"]["rto"]["outages"][0]
    assert beside["detected_s"] == 3
    for name, message in (
        ("test_endpoints_must_have_the_tools_timeout", "'a' may take 5s, one of HAProxy 3.5 1s"),
        ("test_a_tool_that_does_not_poll_is_refused", "Keepalived 2.4 waits for adverts of its"),
        ("test_its_name_alone_is_no_preset", "preset must be one, such as HAProxyPreset(inter="),
    ):
        assert message in found[name]["error"]
