"""A drill that is called off in the middle: its verdict, its row and every rendering agree."""

from __future__ import annotations

import pytest

CALLED_OFF = """
from pytest_drdrill.live.errors import ComponentMissing

pytestmark = pytest.mark.dr_tier("critical")

def test_component(rto_timer, rpo_timer):
    rpo_timer.acknowledged("order")
    with rto_timer.outage():
        raise ComponentMissing("haproxy", "apt-get install haproxy")

def test_fault(rto_timer, rpo_timer):
    with rto_timer.outage("first"): pass
    with rto_timer.outage("second"):
        raise FaultNotPermitted("slow it", "this kernel has no netem")

@pytest.mark.rpo("0s")
def test_skip(rto_timer, rpo_timer):
    for key in range(9): rpo_timer.acknowledged(key)
    rto_timer.disaster()
    rpo_timer.survived(range(9))
    for key in range(9, 99): rpo_timer.acknowledged(key)
    pytest.skip("no more")
"""


def test_a_drill_called_off_after_the_disaster_claims_nothing(drills, pytester, mode):
    outputs = ("--dr-report=it.md", "--html=it.html", "--self-contained-html", "--junitxml=it.xml")
    outcome = drills(CALLED_OFF, *outputs, mode=mode)
    outcome.result.assert_outcomes(skipped=3)
    assert set(outcome.verdicts.values()) == {"not_verified"}
    (row,) = outcome.record["tiers"]
    for objective in ("rto", "rpo"):
        found = {name: row[objective][name] for name in ("worst_s", "measured", "unbounded", "met")}
        assert found == {"worst_s": None, "measured": 0, "unbounded": 0, "met": None}
    for drill in outcome.drills.values():
        assert drill["rto"]["actual_s"] is drill["rto"]["met"] is None
        assert drill["rpo"]["actual_s"] is drill["rpo"]["met"] is None
        assert (drill["rpo"]["lost"], drill["rpo"]["unbounded"]) == (0, False)
        assert "disaster" in [event["event"] for event in drill["timeline"]]
    named = [outage["name"] for outage in outcome.drills["test_fault"]["rto"]["outages"]]
    assert named == ["first"]  # what ended stays on record
    texts = [outcome.text, *((pytester.path / f"it.{kind}").read_text() for kind in ("md", "xml"))]
    html = (pytester.path / "it.html").read_text()
    for text in (*texts, html.partition("dr-report")[2]):
        assert "MISSED" not in text
        assert "not recovered" not in text
        assert "dr_rto_met" not in text
        assert "unbounded" not in text


BROKEN = """
from pytest_drdrill.live.errors import ComponentMissing

@pytest.mark.rto("1ms")
@pytest.mark.parametrize("end", [
    pytest.skip.Exception("called off"), unittest.SkipTest("called off"),
    ComponentMissing("haproxy, called off", "apt-get install haproxy"),
], ids=["skip", "unittest", "component"])
def test_slow(rto_timer, end):
    with rto_timer.outage(): time.sleep(0.01)
    with rto_timer.outage():
        raise end

@pytest.mark.rpo("0s")
def test_lost(rpo_timer, rto_timer):
    for key in (1, 2): rpo_timer.acknowledged(key)
    with rto_timer.outage(): pass
    rpo_timer.survived([2])
    pytest.skip("called off")

@pytest.mark.rto("1ms")
@pytest.mark.xfail(raises=RTOExceeded, strict=True)
def test_known(rto_timer):
    with rto_timer.outage(): time.sleep(0.01)
    pytest.skip("called off")
"""


def test_a_drill_that_has_broken_its_promise_can_t_be_called_off(drills, mode):
    outcome = drills(BROKEN, mode=mode)
    outcome.result.assert_outcomes(failed=4, xfailed=1)
    slow = {f"test_slow[{end}]": "failed" for end in ("skip", "unittest", "component")}
    assert outcome.verdicts == slow | {"test_lost": "failed", "test_known": "known_broken"}
    for name, drill in outcome.drills.items():
        last = drill["timeline"][-1]
        assert last["event"] == "skipped, its promise being broken by then"
        assert "called off" in last["detail"]
        kind = "RPOExceeded" if name == "test_lost" else "RTOExceeded"
        assert (drill["error"] or drill["reason"]).startswith(f"{kind}: R")
        assert "NotRecovered" not in (drill["error"] or "")
    (row,) = outcome.record["tiers"]
    assert row["rto"]["met"] is row["rpo"]["met"] is False


@pytest.mark.parametrize("end", ["pytest.skip('no')", "raise unittest.SkipTest('no')"])
def test_a_skip_of_a_test_that_is_no_drill_stays_one(drills, end):
    drills(f"def test_it(): {end}").result.assert_outcomes(skipped=1)
