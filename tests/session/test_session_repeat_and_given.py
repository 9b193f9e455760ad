from __future__ import annotations

from live_sources import ALLOWED, LIVE


def test_repeat_groups_runs_and_the_worst_decides(drills, mode):
    source = """
@pytest.mark.rto("10m")
def test_once_slow(rto_timer, request):
    with rto_timer.outage():
        if "run3" in request.node.name: rto_timer.assume("somebody sleeps", "1h")
@pytest.mark.rto("10m")
@pytest.mark.parametrize("n", ["a", "b"])
async def test_fine(rto_timer, n):
    with rto_timer.outage(): await asyncio.sleep(0.001)
def test_ordinary(): pass
@pytest.mark.dr_service("x")
@pytest.mark.dr_live
def test_live(): pass
@pytest.mark.dr_service("x")
class TestUnit(unittest.TestCase):
    def test_unit(self): pass
"""
    outcome = drills(source, "--dr-repeat=4", mode=mode)
    outcome.result.assert_outcomes(passed=3 + 8 + 2, failed=1, skipped=1)
    rows = {row["base"].partition("::")[2]: row for row in outcome.record["repeats"]}
    assert set(rows) == {"test_once_slow", "test_fine[a]", "test_fine[b]"}
    slow = rows["test_once_slow"]
    assert (slow["runs"], slow["verdict"]) == (4, "failed")
    assert slow["rto"]["worst_s"] > 3600
    assert slow["rto"]["median_s"] < 600
    assert slow["rto"]["p95_s"] is None  # four runs say nothing of a 95th percentile
    assert rows["test_fine[a]"]["verdict"] == "passed"
    assert outcome.drills["test_fine[a-run2]"]["repeat"] == {
        "base": "test_it.py::test_fine[a]",
        "index": 2,
        "of": 4,
    }
    local = next(row for row in outcome.record["tiers"] if row["mode"] == "local")
    assert (local["drills"], local["failed"], local["passed"]) == (4, 1, 3)


def test_marks_on_single_parameters_decide_what_is_repeated(drills, mode):
    source = """
live = [
    pytest.mark.dr_live(max_outage="1m"),
    pytest.mark.dr_live_target("127.0.0.1", breaks="stops it", undone_by="starts it again"),
]
@pytest.mark.parametrize("x", [pytest.param("a", marks=live), "b"])
@pytest.mark.rto("10m")
def test_live(rto_timer, x):
    with rto_timer.outage(): pass
@pytest.mark.parametrize("x", [pytest.param("a", marks=pytest.mark.dr_service("s")), "b"])
def test_mixed(x): pass
"""
    outcome = drills(source, "--dr-repeat=3", *ALLOWED, mode=mode)
    outcome.result.assert_outcomes(
        passed=1 + 3 + 3 + 1, **({"deselected": 4} if mode != "n2" else {})
    )
    assert {row["base"].partition("::")[2] for row in outcome.record["repeats"]} == {
        "test_live[b]",
        "test_mixed[a]",
    }
    assert [d["repeat"] for d in outcome.drills.values() if d["mode"] == "live"] == [None]
    assert outcome.record["run"]["selection"]["selected"] == 3
    assert outcome.record["run"]["selection"]["deselected"] == 0


def test_selection_counts_tests_and_not_their_runs(drills, mode):
    source = """
pytestmark = pytest.mark.dr_service("s")
@pytest.mark.dr_tier("critical")
def test_a(rto_timer, rpo_timer):
    rpo_timer.not_applicable("x")
    with rto_timer.outage(): pass
@pytest.mark.dr_tier("standard")
def test_b(): pass
"""
    outcome = drills(source, "--dr-repeat=3", "--dr-tier=critical", mode=mode)
    line = "selected: tier critical: 1 drill with --dr-repeat=3 (1 other test deselected)"
    outcome.result.stdout.fnmatch_lines([line])


def test_percentile_from_twenty_runs_on(drills):
    source = '@pytest.mark.rto("10m")\ndef test_it(rto_timer):\n    with rto_timer.outage(): pass\n'
    row = drills(source, "--dr-repeat=20").record["repeats"][0]
    assert row["rto"]["median_s"] <= row["rto"]["p95_s"] <= row["rto"]["worst_s"]
    assert drills(source, "-o", "dr_repeat=19").record["repeats"][0]["rto"]["p95_s"] is None


GIVEN = """
from hypothesis import HealthCheck, given, settings, strategies as st
drill_settings = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=50, database=None, derandomize=True, deadline=None,
)
"""


def test_each_example_is_judged_by_itself_and_shrinks(drills, mode):
    source = (
        GIVEN
        + """
@pytest.mark.rto("5s")
@drill_settings
@given(n=st.integers(0, 100))
def test_sync(rto_timer, n):
    assert rto_timer.outages == [] and rto_timer.assumed == []
    with rto_timer.outage(): rto_timer.assume("work", f"{n}s")
@pytest.mark.rto("5s")
@drill_settings
@given(n=st.integers(0, 100))
async def test_async(rto_timer, n):
    assert rto_timer.outages == []
    with rto_timer.outage(): rto_timer.assume("work", f"{n}s")
"""
    )
    outcome = drills(source, mode=mode)
    outcome.result.assert_outcomes(failed=2)
    for drill in outcome.drills.values():
        assert drill["rto"]["assumed"] == [{"what": "work", "seconds": 5.0}]
        assert 5 < drill["rto"]["actual_s"] < 100
        assert drill["error"].startswith("RTOExceeded: RTO of 5s exceeded")
    assert outcome.text.count("n=5,") == 2


def test_passing_examples_leave_the_worst(drills):
    source = (
        GIVEN
        + """
@pytest.mark.rto("10m")
@drill_settings
@pytest.mark.parametrize("top", [30, 90])
@given(data=st.data())
def test_given(rto_timer, top, data):
    n = data.draw(st.sampled_from([1, top, 2]))
    with rto_timer.outage(): rto_timer.assume("work", f"{n}s")
"""
    )
    outcome = drills(source)
    outcome.result.assert_outcomes(passed=2)
    assert 30 <= outcome.drills["test_given[30]"]["rto"]["actual_s"] < 90
    assert outcome.drills["test_given[90]"]["rto"]["actual_s"] >= 90


def test_examples_that_measure_nothing_fail(drills):
    source = (
        GIVEN
        + """
@pytest.mark.rto("5s")
@drill_settings
@given(n=st.integers())
def test_given(n): pass
"""
    )
    outcome = drills(source)
    outcome.result.assert_outcomes(failed=1)
    assert "ObjectiveNotMeasured" in outcome.drills["test_given"]["error"]


def test_rejected_examples_leave_no_trace_and_each_objective_keeps_its_worst(drills):
    source = (
        GIVEN
        + """
from hypothesis import assume
@pytest.mark.rto("10m")
@pytest.mark.rpo("10m")
@drill_settings
@given(kind=st.sampled_from(["slow", "lossy", "rejected"]))
def test_given(rto_timer, rpo_timer, kind):
    now = time.monotonic()
    rpo_timer.acknowledged("kept", at=now - 100)
    rpo_timer.acknowledged("lost", at=now - 60)
    rto_timer.assume("work", {"slow": "5m", "lossy": "1m", "rejected": "9h"}[kind])
    with rto_timer.outage(): pass
    rpo_timer.survived(["kept"] if kind == "lossy" else ["kept", "lost"])
    assume(kind != "rejected")
"""
    )
    drill = drills(source).drills["test_given"]
    assert drill["verdict"] == "passed"
    assert 300 <= drill["rto"]["actual_s"] < 400
    assert 60 <= drill["rpo"]["actual_s"] < 160


def test_ids_of_the_users_own_are_no_repeats(drills):
    source = """
@pytest.mark.parametrize("x", ["run1", "run2"])
def test_live(x): pass
"""
    outcome = drills(LIVE + source, *ALLOWED, "--dr-repeat=2")
    assert [drill["repeat"] for drill in outcome.drills.values()] == [None, None]
    assert outcome.record["tiers"][0]["drills"] == 2


def test_given_drill_shows_its_promise_outside_the_examples_too(drills, mode):
    source = (
        GIVEN
        + """
from hypothesis import Phase, assume, example
explicit = settings(drill_settings, phases=[Phase.explicit])
pytestmark = pytest.mark.rto("1s")
@explicit
@example(n=1)
@given(n=st.integers())
def test_all_rejected(rto_timer, n):
    assume(n > 5)
    with rto_timer.outage(): pass
@explicit
@example(n=1).xfail()
@given(n=st.integers())
def test_example_xfails(n): pass
@explicit
@example(n=1)
@given(n=st.integers())
def test_fine(rto_timer, n):
    with rto_timer.outage(): pass
"""
    )
    outcome = drills(source, mode=mode)
    assert outcome.verdicts == {
        "test_all_rejected": "failed",
        "test_example_xfails": "failed",
        "test_fine": "passed",
    }
    for name in ("test_all_rejected", "test_example_xfails"):
        assert outcome.drills[name]["error"].startswith("ObjectiveNotMeasured")
