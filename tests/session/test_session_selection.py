from __future__ import annotations

import pytest

MIXED = """
def test_ordinary(): pass

@pytest.mark.dr_tier("critical")
@pytest.mark.dr_service("orders")
def test_critical(rto_timer, rpo_timer):
    rpo_timer.not_applicable("stateless")
    with rto_timer.outage(): pass

@pytest.mark.dr_tier("standard")
@pytest.mark.dr_service("reports")
def test_standard(rto_timer, rpo_timer):
    rpo_timer.not_applicable("stateless")
    with rto_timer.outage(): pass

@pytest.mark.dr_service("orders")
def test_backup(full_backup): pass

@pytest.mark.rpo("0s")
def test_rpo_alone(rto_timer, rpo_timer):
    rpo_timer.acknowledged(1)
    with rto_timer.outage(): pass
    rpo_timer.survived([1])
"""


def test_without_options_everything_runs_as_ever(drills, mode):
    outcome = drills(MIXED, mode=mode, report=False)
    outcome.result.assert_outcomes(passed=5)
    assert "disaster recovery" in outcome.text
    assert "deselected" not in outcome.text


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--dr-tier=critical"], {"test_critical"}),
        (["--dr-tier=critical,standard"], {"test_critical", "test_standard"}),
        (["--dr-tier=critical", "--dr-tier= standard"], {"test_critical", "test_standard"}),
        (["--dr-service=orders"], {"test_critical", "test_backup"}),
        (["--dr-kind=backup_restore"], {"test_backup"}),
        (["--dr-kind=rpo"], {"test_critical", "test_standard", "test_rpo_alone"}),
        (["--dr-kind=rpo", "--dr-tier=standard"], {"test_standard"}),
        (["-o", "dr_tier=critical"], {"test_critical"}),
        (["-o", "dr_service=reports"], {"test_standard"}),
    ],
)
def test_options_choose_drills(drills, options, names):
    outcome = drills(MIXED, *options)
    assert set(outcome.drills) == names
    outcome.result.assert_outcomes(passed=len(names), deselected=5 - len(names))
    assert outcome.record["run"]["selection"]["deselected"] == 5 - len(names)


def test_selection_is_told_with_workers_too(drills, mode):
    outcome = drills(MIXED, "--dr-tier=critical", mode=mode)
    outcome.result.stdout.fnmatch_lines(["selected: tier critical: 1 drill *4 other tests*"])
    assert outcome.record["run"]["selection"] == {
        "tiers": ["critical"],
        "kinds": [],
        "services": [],
        "selected": 1,
        "deselected": 4,
    }


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--dr-tier=gold", "unknown tier 'gold'; known tiers: critical, important, standard"),
        ("--dr-tier=", "unknown tier ''; known tiers: critical, important, standard"),
        ("--dr-kind=chaos", "unknown kind 'chaos'; known kinds: backup_restore, failover,"),
        ("--dr-service=", "an empty name"),
        ("--dr-repeat=0", "'0' is no whole number from 1 on"),
        ("--dr-repeat=many", "'many' is no whole number from 1 on"),
        ("--dr-repeat=", "'' is no whole number from 1 on"),
        ("--dr-report=x.pdf", "known are .json, .md"),
        ("--dr-report=", "an empty path"),
        ("--dr-report=~nobody-of-that-name/x.json", "could not determine home directory"),
    ],
)
def test_bad_option_is_one_usage_error(drills, mode, option, message):
    outcome = drills(MIXED, option, mode=mode, report=False)
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    errors = outcome.result.stderr.str().strip().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith(f"ERROR: {option.partition('=')[0]}: ")
    assert message in errors[0]
    assert "Traceback" not in outcome.text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dr_tier=gold", "unknown tier 'gold'; known tiers: critical, important, standard"),
        ("dr_kind=chaos", "unknown kind 'chaos'; known kinds: backup_restore, failover,"),
        ("dr_repeat=two", "'two' is no whole number from 1 on"),
        ("dr_report=x.pdf", "known are .json, .md"),
        ("dr_fail_unverified=maybe", "invalid truth value 'maybe'; write true or false"),
    ],
)
def test_bad_ini_key_is_one_usage_error_that_names_it(drills, line, message):
    outcome = drills(MIXED, "-o", line, report=False)
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    (error,) = outcome.result.stderr.str().strip().splitlines()
    assert error.startswith(f"ERROR: {line.partition('=')[0]}: ")
    assert message in error


def test_no_drill_selected_exits_as_no_tests_do(drills, mode):
    outcome = drills(MIXED, "--dr-tier=important", mode=mode)
    assert outcome.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert outcome.record["drills"] == []
    assert "0 drills" in outcome.text or "no drill" in outcome.text


def test_mistyped_tier_is_never_dropped_in_silence(drills, mode):
    source = MIXED + '@pytest.mark.dr_tier("critcal")\ndef test_typo(): pass\n'
    outcome = drills(source, "--dr-tier=critical", mode=mode)
    outcome.result.assert_outcomes(passed=1, errors=1)
    assert outcome.verdicts == {"test_critical": "passed", "test_typo": "failed"}


def test_markers_added_by_conftest_count(drills, pytester):
    pytester.makeconftest(
        """
        import pytest
        def pytest_collection_modifyitems(items):
            for item in items:
                if item.name == "test_ordinary":
                    item.add_marker(pytest.mark.dr_tier("important"))
        """
    )
    outcome = drills(MIXED, "--dr-tier=important")
    assert set(outcome.drills) == {"test_ordinary"}


def test_own_tiers_from_ini(drills, pytester):
    source = """
@pytest.mark.dr_tier("gold")
def test_gold(dr_objectives, rto_timer, rpo_timer):
    assert dr_objectives.rto.total_seconds() == 300
    rpo_timer.not_applicable("stateless")
    with rto_timer.outage(): pass
@pytest.mark.dr_tier("critical")
def test_overridden(dr_objectives):
    assert dr_objectives.rto.total_seconds() == 60
"""
    tiers = "dr_tiers=gold: rto=5m, rpo=30s, availability=99.99%\n critical: rto=1m, rpo=0s"
    outcome = drills(source, "-o", tiers, "--dr-tier=gold")
    assert outcome.verdicts == {"test_gold": "passed"}
    assert outcome.record["tiers"][0]["rto"]["target_s"] == 300
    outcome = drills(source, "-o", tiers, "--dr-tier=platinum", report=False)
    assert "known tiers: critical, important, standard, gold" in outcome.result.stderr.str()


def test_bad_tier_line_is_one_usage_error(drills):
    outcome = drills(MIXED, "-o", "dr_tiers=gold: rto=5 parsecs, rpo=1m", report=False)
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    assert "dr_tiers: 'gold: rto=5 parsecs, rpo=1m': rto: '5 parsecs' is no duration" in (
        outcome.result.stderr.str()
    )


@pytest.mark.parametrize(
    "option",
    ["--collect-only", "--fixtures", "--fixtures-per-test", "--setup-plan", "--setup-only"],
)
def test_sessions_that_run_no_test_leave_the_evidence_alone(drills, pytester, option):
    drills(MIXED, "--dr-tier=critical")
    evidence = pytester.path / "evidence.json"
    before = evidence.read_bytes()
    evidence.rename(pytester.path / "kept.json")
    outcome = drills(MIXED, option, "--dr-report=kept.json", report=False)
    assert (pytester.path / "kept.json").read_bytes() == before
    assert "disaster recovery =" not in outcome.text


def test_what_last_failed_deselects_is_no_drill_unverified(drills, pytester):
    drills(
        '@pytest.mark.dr_service("x")\ndef test_a(): assert 0\n'
        '@pytest.mark.dr_service("x")\ndef test_b(): pass\n'
    )
    outcome = drills(
        '@pytest.mark.dr_service("x")\ndef test_a(): pass\n'
        '@pytest.mark.dr_service("x")\ndef test_b(): pass\n',
        "--lf",
        "--dr-fail-unverified",
    )
    assert outcome.ret == 0
    assert outcome.verdicts == {"test_a": "passed"}
    assert outcome.record["run"]["selection"]["selected"] == 1


def test_files_that_can_not_be_collected_are_told(drills, pytester, mode):
    pytester.makepyfile(test_broken="import no_such_module")
    outcome = drills(MIXED, "--continue-on-collection-errors", "--dr-report=evidence.md", mode=mode)
    assert outcome.record["run"]["not_collected"] == ["test_broken.py"]
    assert "NOT COLLECTED: the drills in it, if any, could not be verified" in outcome.text
    heading = (pytester.path / "evidence.md").read_text(encoding="utf-8").splitlines()[0]
    assert "NOT VERIFIED" in heading
