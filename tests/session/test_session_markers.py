from __future__ import annotations

import pytest

from pytest_drdrill.durations import ACCEPTED as DURATIONS

TIERS = "one of critical, important, standard"
BAD = {
    'rto("15 parsecs")': ("rto('15 parsecs')", "'15 parsecs' is no duration", DURATIONS),
    "rto(15)": ("rto(15)", "15 has no unit", DURATIONS),
    "rto()": ("rto()", "takes one argument, none was given", DURATIONS),
    'rto("1m", "2m")': ("rto('1m', '2m')", "takes one argument, 2 were given", DURATIONS),
    'rto(max="1m")': ("rto(max='1m')", "unknown argument 'max'", DURATIONS),
    "rto(None)": ("rto(None)", "None says nothing", DURATIONS),
    'rto("1m", hold="soon")': ("rto('1m', hold='soon')", "hold: 'soon' is no", f"hold={DURATIONS}"),
    'rpo("-5m")': ("rpo('-5m')", "'-5m' is no duration", DURATIONS),
    'dr_tier("gold")': ("dr_tier('gold')", "unknown tier 'gold'", TIERS),
    "dr_tier()": ("dr_tier()", "takes one argument, none was given", TIERS),
    "dr_tier(1)": ("dr_tier(1)", "1 is no name", TIERS),
    'disaster("aliens")': (
        "disaster('aliens')",
        "unknown kind 'aliens'",
        "one of natural, technical, human_error, security, infrastructure",
    ),
    'dr_service("")': ("dr_service('')", "'' is no name", "the service's name"),
    "runbook(3)": ("runbook(3)", "3 is no name", "a path"),
    'dr_live("yes")': ("dr_live('yes')", "takes no argument but max_outage", 'max_outage="5m"'),
    "dr_cadence(90)": ("dr_cadence(90)", "90 has no unit", DURATIONS),
}


def test_malformed_markers_are_one_clear_error_each(drills, mode):
    source = "".join(
        f"@pytest.mark.{marker}\ndef test_{number}(): pass\n" for number, marker in enumerate(BAD)
    )
    outcome = drills(source, mode=mode)
    outcome.result.assert_outcomes(errors=len(BAD))
    for number, (shown, problem, accepted) in enumerate(BAD.values()):
        line = f"@pytest.mark.{shown}: {problem}"
        found = [text for text in outcome.result.outlines if text.startswith(line)]
        assert len(found) == 1, line
        assert found[0].endswith(f" (in test_it.py::test_{number})")
        assert f"; write {accepted}" in found[0]
        drill = outcome.drills[f"test_{number}"]
        assert drill["verdict"] == "failed"
        assert problem in drill["error"]
    assert "Traceback" not in outcome.text


@pytest.mark.parametrize("name", ["rto", "rpo"])
def test_wider_than_the_tier_is_an_error(drills, name):
    source = f'@pytest.mark.dr_tier("critical")\n@pytest.mark.{name}("2h")\ndef test_wide(): pass\n'
    outcome = drills(source)
    outcome.result.assert_outcomes(errors=1)
    assert f"{name} of 2h is wider than the" in outcome.text
    assert "of tier 'critical'" in outcome.text


def test_closest_marker_wins(drills):
    source = """
pytestmark = [pytest.mark.dr_tier("standard"), pytest.mark.dr_service("module")]
@pytest.mark.dr_tier("important")
class TestClass:
    def test_class(self, dr_objectives): assert dr_objectives.tier == "important"
    @pytest.mark.rto("1m")
    @pytest.mark.dr_service("own")
    def test_own(self, dr_objectives):
        assert dr_objectives.rto.total_seconds() == 60
        assert dr_objectives.rpo.total_seconds() == 1800
def test_module(dr_objectives): assert dr_objectives.tier == "standard"
"""
    outcome = drills(source)
    found = {
        name: (d["tier"], d["service"], d["rto"]["target_s"]) for name, d in outcome.drills.items()
    }
    assert found == {
        "TestClass::test_class": ("important", "module", 3600),
        "TestClass::test_own": ("important", "own", 60),
        "test_module": ("standard", "module", 14400),
    }


def test_all_markers_are_registered(drills):
    outcome = drills("", "--markers", report=False)
    for name in (
        "dr_tier(name)",
        "rto(limit, *, hold=None)",
        "rpo(limit)",
        "dr_service(name)",
        "disaster(kind)",
        "runbook(path)",
        "dr_live(*, max_outage=None)",
        "dr_live_target(address, *, breaks, undone_by)",
        "dr_cadence(every)",
    ):
        assert f"@pytest.mark.{name}: " in outcome.text


def test_evidence_holds_what_the_markers_say(drills):
    source = """
@pytest.mark.dr_tier("important")
@pytest.mark.disaster("natural")
@pytest.mark.runbook("docs/flood.md")
@pytest.mark.dr_cadence("90d")
def test_flood(rto_timer, rpo_timer, full_backup, failover_manager):
    rpo_timer.not_applicable("no data")
    with rto_timer.outage(): pass
"""
    drill = drills(source).drills["test_flood"]
    assert drill["disaster"] == "natural"
    assert drill["runbook"] == "docs/flood.md"
    assert drill["cadence_s"] == 90 * 86400
    assert drill["kinds"] == ["backup_restore", "failover", "rto", "rpo"]
    assert drill["mode"] == "local"


@pytest.mark.parametrize("fixture", ["drill", "rto_timer", "rpo_timer", "dr_objectives"])
def test_measuring_outside_a_drill_is_refused(drills, fixture):
    outcome = drills(f"def test_ordinary({fixture}): pass", report=False)
    outcome.result.assert_outcomes(errors=1)
    assert (
        f"test_ordinary asks for the fixture '{fixture}' but is no drill: mark it" in outcome.text
    )


def test_domain_fixtures_serve_ordinary_tests(drills):
    source = """
def test_ordinary(full_backup, faults, failover_manager, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_text("a")
    job = full_backup.create_backup(tmp_path / "source", tmp_path / "vault")
    faults.delete_files(tmp_path / "source")
    full_backup.restore_backup(job, tmp_path / "source")
    failover_manager([ServiceEndpoint("one", "http://127.0.0.1:1")])
"""
    outcome = drills(source, report=False)
    outcome.result.assert_outcomes(passed=1)
    assert "disaster recovery" not in outcome.text


def test_arguments_may_be_given_by_name(drills):
    source = """
@pytest.mark.dr_tier(name="critical")
@pytest.mark.rto(limit="1m", hold="1ms")
@pytest.mark.disaster(kind="natural")
def test_named(dr_objectives, rto_timer, rpo_timer):
    assert dr_objectives.rto.total_seconds() == 60
    assert dr_objectives.hold.total_seconds() == 0.001
    rpo_timer.not_applicable("only the markers are looked at")
    with rto_timer.outage(expect_downtime=False): rto_timer.wait_until(lambda: True)
"""
    drills(source).result.assert_outcomes(passed=1)


def test_closest_marker_wins_over_what_is_inherited_or_stands_on_the_function(drills, mode):
    source = """
@pytest.mark.rto("10m")
@pytest.mark.dr_tier("standard")
@pytest.mark.rpo("0s")
class TestBase:
    def test_it(self, dr_objectives, rto_timer, rpo_timer):
        rpo_timer.not_applicable("no data")
        with rto_timer.outage(): pass
@pytest.mark.rto("5m")
@pytest.mark.dr_tier("critical")
class TestChild(TestBase): pass
@pytest.mark.rto("10m")
@pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.rto("2m")), 2])
def test_param(n, rto_timer):
    with rto_timer.outage(): pass
"""
    outcome = drills(source, mode=mode)
    assert {name: drill["rto"]["target_s"] for name, drill in outcome.drills.items()} == {
        "TestBase::test_it": 600,
        "TestChild::test_it": 300,
        "test_param[1]": 120,
        "test_param[2]": 600,
    }
    selected = drills(source, "--dr-tier=critical", mode=mode)
    assert set(selected.drills) == {"TestChild::test_it"}


def test_value_that_can_not_be_shown_is_an_error_of_its_test_too(drills, mode):
    source = """
class Shy:
    def __repr__(self): raise OSError
@pytest.mark.rto(10**5000)
def test_large(): pass
@pytest.mark.dr_service(Shy())
def test_shy(): pass
@pytest.mark.rpo(Shy())
def test_shy_too(): pass
"""
    outcome = drills(source, mode=mode)
    outcome.result.assert_outcomes(errors=3)
    assert "repr() raised" in outcome.drills["test_shy"]["error"]


LATE = {
    "conftest, at the very end": (
        """
import pytest
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items):
    yield
    for item in items: item.add_marker(pytest.mark.rto("1ms"))
""",
        "RTOExceeded",
    ),
    "fixture": (
        """
import pytest
@pytest.fixture(autouse=True)
def late(request): request.node.add_marker(pytest.mark.rto("1ms"))
""",
        "was marked with a promise when it had begun",
    ),
}


@pytest.mark.parametrize("where", LATE)
@pytest.mark.parametrize("before", ["", '@pytest.mark.dr_service("x")\n'])
def test_promise_that_comes_late_is_kept_or_refused(drills, pytester, where, before):
    conftest, error = LATE[where]
    pytester.makeconftest(conftest)
    bystander = '@pytest.mark.dr_service("y")\ndef test_other(): time.sleep(0.002)\n'
    source = f"{before}def test_late(request):\n    time.sleep(0.002)\n"
    outcome = drills(bystander + source)
    assert outcome.result.parseoutcomes()["failed"] == 2
    wanted = error if "begun" in error else "ObjectiveNotMeasured"
    assert outcome.text.count(wanted) >= 2
