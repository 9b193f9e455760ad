"""Drills of replication: their fixtures, and what their evidence shows."""

from __future__ import annotations

import pytest

DRILL = """
@pytest.mark.rto("2m")
@pytest.mark.rpo("{rpo}")
async def test_it(simulated_regions, replication, rto_timer, rpo_timer, drill):
    regions = simulated_regions("us-east-1", "us-west-2", replication_lag="5s")
    async with replication(regions, mode="{mode}") as data:
        for n in range(20):
            await data.write(n, "order")
            rpo_timer.acknowledged(n)
            await drill.clock.sleep(0.7)
        with rto_timer.outage():
            regions["us-east-1"].lose()
            await data.promote_region_to_primary()
            await data.write("after", "order")
        rpo_timer.survived(await data.keys())
"""


@pytest.mark.parametrize(
    ("promise", "passes", "lost"),
    [
        ("asynchronous 5s", True, 7),
        ("asynchronous 4s", False, 7),
        ("semi-synchronous 0s", True, 0),
        ("synchronous 0s", True, 0),
    ],
)
def test_the_ledger_shows_what_each_mode_costs(drills, promise, passes, lost):
    mode, rpo = promise.split()
    outcome = drills(DRILL.format(mode=mode, rpo=rpo))
    outcome.result.assert_outcomes(passed=int(passes), failed=int(not passes))
    (drill,) = outcome.drills.values()
    assert (drill["mode"], drill["kinds"]) == ("simulated", ["replication", "rto", "rpo"])
    assert (drill["rpo"]["lost"], drill["rpo"]["acknowledged"]) == (lost, 20)
    assert drill["rpo"]["actual_s"] == (4.9 if lost else 0)
    (outage,) = drill["rto"]["outages"]
    assert 0 < outage["detected_s"] <= 6
    assert outage["detected_s"] < outage["actual_s"] <= 10
    events = [event["event"] for event in drill["timeline"]]
    for event in ("us-east-1 is lost", "connection lost", "fenced", "promotion", "unprotected"):
        assert events.count(event) == 1
    assert events[-1] == "replication stopped"
    again = drills(DRILL.format(mode=mode, rpo=rpo)).drills["test_it"]
    assert again["timeline"] == drill["timeline"]


FALLBACK = """
@pytest.mark.rpo("{rpo}")
async def test_it(simulated_regions, replication, rto_timer, rpo_timer):
    east, west = simulated_regions("east", "west", replication_lag="1s")
    async with replication([east, west], "synchronous", fallback_after="2s") as data:
        west.isolate()
        await data.write("a", 1)
        rpo_timer.acknowledged("a")
        west.restore()
        await data.wait_caught_up("west")
        with rto_timer.outage():
            east.lose()
            await data.promote_region_to_primary("west")
        rpo_timer.survived(await data.keys())
"""


def test_a_fallback_breaks_an_rpo_of_zero_and_no_other(drills):
    outcome = drills(FALLBACK.format(rpo="0s"))
    outcome.result.assert_outcomes(failed=1)
    assert "RPO of 0s exceeded, although no acknowledged write was lost: the repli" in outcome.text
    rpo = outcome.drills["test_it"]["rpo"]
    assert (rpo["met"], rpo["lost"]) == (False, 0)
    outcome = drills(FALLBACK.format(rpo="1s"))
    outcome.result.assert_outcomes(passed=1)
    assert outcome.drills["test_it"]["rpo"]["met"] is True


TOO_FEW = """
@pytest.mark.rpo("0s")
async def test_it(simulated_regions, replication, rto_timer, rpo_timer):
    regions = simulated_regions("east", "west", "north", replication_lag="1s")
    async with replication(regions, "semi-synchronous", acknowledgements=ASKED) as data:
        with rto_timer.outage():
            regions["east"].lose()
            await data.promote_region_to_primary()
            await data.write("a", 1)
        rpo_timer.acknowledged("a", at=0)
        rpo_timer.survived(await data.keys())
"""


def test_fewer_flushes_than_asked_for_break_an_rpo_of_zero(drills):
    outcome = drills(TOO_FEW.replace("ASKED", "2"))
    outcome.result.assert_outcomes(failed=1)
    assert "the replication fell back to a weaker mode: 1 of the 2 secondaries" in outcome.text
    drills(TOO_FEW.replace("ASKED", "1")).result.assert_outcomes(passed=1)


def test_what_a_body_leaves_running_is_stopped_and_its_failure_is_told(drills):
    source = """
pytestmark = pytest.mark.dr_service("orders")
async def test_left(simulated_regions, replication):
    data = replication(simulated_regions("a", "b"))
    await data.start_replication()
    test_left.data = data
def test_stopped(): assert test_left.data.loop is None
async def test_broken(simulated_regions, replication, drill):
    def broken(changes): raise LookupError("a bug")
    regions = simulated_regions("a", "b")
    regions["b"].store.apply = broken
    data = replication(regions)
    await data.start_replication()
    await data.write("a", 1)
    await drill.clock.sleep(1)
async def test_real_regions(simulated_endpoints, replication):
    async with replication([Region("a", is_primary=True), Region("b")]): pass
async def test_not_simulated(replication, drill):
    async with replication([Region("a", is_primary=True), Region("b")], "synchronous") as data:
        await data.write("a", 1)
        assert await data.read("a", region="b") == 1
"""
    outcome = drills(source)
    outcome.result.assert_outcomes(passed=3, failed=2)
    assert "the replication broke: LookupError('a bug')" in outcome.text
    assert "a message to or from 'a', which is no simulated region," in outcome.text
    assert outcome.drills["test_not_simulated"]["mode"] == "local"


def test_an_ordinary_test_may_ask_too_and_each_example_begins_anew(drills):
    source = """
from hypothesis import HealthCheck, given, settings, strategies as st
@pytest.fixture
def regions(simulated_regions): return simulated_regions("a", "b", replication_lag="1s")
quick = settings(
    max_examples=5, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@quick
@given(n=st.integers())
async def test_plain(regions, replication, n):
    async with replication(regions) as data:
        assert await data.keys() == [] and data.primary.name == "a"
        await data.write(n, n)
        await asyncio.sleep(2)
        regions["a"].lose()
        await data.promote_region_to_primary()
        assert await data.read(n) == n
@quick
@given(n=st.integers())
@pytest.mark.dr_service("orders")
async def test_drill(regions, replication, n):
    data = replication(regions)
    await data.start_replication()
    assert await data.keys() == []
    await data.write(n, n)
"""
    drills(source).result.assert_outcomes(passed=2)
