from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from html import unescape
from xml.etree import ElementTree as ET

import pytest

HOSTILE = """
EVIL = "<script>alert(1)</script>\\x1b[31mred\\x1b[0m\\nnew|line`\\udc80 \\u202e " + "A" * 1_000_000
@pytest.mark.dr_tier("critical")
@pytest.mark.dr_service(EVIL)
@pytest.mark.runbook(EVIL)
@pytest.mark.parametrize("x", [1], ids=["<script>alert(1)</script>|`"])
def test_evil(x, drill, rto_timer, rpo_timer):
    rpo_timer.not_applicable(EVIL)
    drill.note(EVIL); drill.finding(EVIL, owner=EVIL, due=EVIL); drill.event(EVIL, EVIL)
    drill.participant(EVIL, EVIL); drill.metric(EVIL, 1, EVIL)
    with rto_timer.outage(EVIL), drill.step(EVIL, owner=EVIL): rto_timer.assume(EVIL, "1s")
    rpo_timer.acknowledged(EVIL)
    raise AssertionError(EVIL)
@pytest.mark.dr_service(EVIL)
def test_skipped(drill): drill.require(EVIL, False)
"""


def test_hostile_texts_harm_no_rendering(drills, mode, pytester):
    outcome = drills(
        HOSTILE,
        "--dr-report=evidence.md",
        "--html=page.html",
        "--self-contained-html",
        "--junitxml=junit.xml",
        "--tb=no",
        mode=mode,
    )
    assert list(outcome.verdicts.values()) == ["failed", "not_verified"]
    section = outcome.text[outcome.text.index("disaster recovery") :]
    section = section[: section.index("evidence:")]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", section)
    assert max(map(len, section.splitlines())) < 1_000
    raw = (pytester.path / "evidence.json").read_bytes()
    assert json.loads(raw.decode("utf-8"))
    assert len(raw) < 2_000_000
    markdown = (pytester.path / "evidence.md").read_text(encoding="utf-8")
    assert "<script>alert" not in re.sub(r"`[^`]*`", "", markdown)
    page = (pytester.path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    ET.parse(pytester.path / "junit.xml")


def test_id_of_a_drill_is_no_markup_of_the_page(drills, mode, pytester):
    source = """
@pytest.mark.dr_service("x")
@pytest.mark.parametrize("x", [1], ids=["<img src=x onerror=alert(1)>"])
def test_evil(x): pass
"""
    drills(source, "--html=page.html", "--self-contained-html", mode=mode)
    page = (pytester.path / "page.html").read_text(encoding="utf-8")
    blob = json.loads(unescape(re.search(r'data-jsonblob="([^"]*)"', page)[1]))
    ((row,),) = blob["tests"].values()
    assert "&lt;img src=x onerror=alert(1)&gt;" in row["resultsTableRow"][1]
    assert "<img" not in "".join(row["resultsTableRow"])


def test_page_has_columns_and_the_tier_table(drills, mode, pytester):
    source = """
@pytest.mark.dr_tier("critical")
def test_drill(rto_timer, rpo_timer):
    rpo_timer.not_applicable("stateless")
    with rto_timer.outage(): time.sleep(0.01)
def test_ordinary(): pass
"""
    outcome = drills(source, "--html=page.html", "--self-contained-html", mode=mode)
    page = (pytester.path / "page.html").read_text(encoding="utf-8")
    for column in ("drtier", "drrto", "drrpo"):
        assert f'data-column-type="{column}"' in page
        assert f"col-{column}" in page
    assert outcome.ret == 0
    assert "display:none" not in page.replace(" ", "").partition("col-dr{")[2][:20]


def test_page_of_a_suite_without_drills_shows_nothing_of_ours(drills, mode, pytester):
    drills(
        "def test_ordinary(): pass",
        "--html=page.html",
        "--self-contained-html",
        mode=mode,
        report=False,
    )
    page = (pytester.path / "page.html").read_text(encoding="utf-8")
    assert re.search(r"\.col-dr\s*\{\s*display:\s*none", page)


def test_junit_properties_and_their_switch(drills, pytester, mode):
    source = """
@pytest.mark.dr_tier("critical")
def test_drill(rto_timer, rpo_timer):
    rpo_timer.acknowledged(1)
    with rto_timer.outage(): time.sleep(0.01)
    rpo_timer.survived([1])
def test_ordinary(): pass
"""

    def properties():
        tree = ET.parse(pytester.path / "junit.xml")
        return {
            case.get("name"): {p.get("name"): p.get("value") for p in case.iter("property")}
            for case in tree.iter("testcase")
        }

    drills(source, "--junitxml=junit.xml", mode=mode)
    found = properties()
    assert found["test_ordinary"] == {}
    assert found["test_drill"]["dr_tier"] == "critical"
    assert found["test_drill"]["dr_verdict"] == "passed"
    assert float(found["test_drill"]["dr_rto_s"]) >= 0.01
    assert found["test_drill"]["dr_rto_target_s"] == "900"
    assert found["test_drill"]["dr_rpo_s"] == "0"
    drills(source, "--junitxml=junit.xml", "-o", "dr_junit=false", mode=mode)
    assert properties()["test_drill"] == {}


PASSING = '@pytest.mark.dr_service("x")\ndef test_it(): pass\n'


@pytest.mark.parametrize(
    "path", ["file/evidence.json", "/proc/nowhere/evidence.json", "folder.json"]
)
def test_report_that_can_not_be_written_is_an_error_at_the_start(drills, pytester, path, mode):
    pytester.path.joinpath("file").write_text("in the way")
    pytester.path.joinpath("folder.json").mkdir()
    outcome = drills(PASSING, f"--dr-report={path}", mode=mode, report=False)
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: --dr-report: can't write the DR report" in outcome.result.stderr.str()
    assert "passed" not in outcome.text


def test_disk_that_fills_is_an_error_at_the_end_and_nothing_is_half_written(drills, pytester):
    drills(PASSING)
    report = pytester.path / "evidence.json"
    before = report.read_bytes()
    # No file may grow past 200 bytes: what a full disk does, as any user, on any machine.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--dr-report=evidence.json"],
        cwd=pytester.path,
        capture_output=True,
        text=True,
        env={"PATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200)),
        check=False,
    )
    assert "1 passed" in done.stdout
    assert "ERROR: can't write the DR report" in done.stdout
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert report.read_bytes() == before
    assert not [path for path in pytester.path.iterdir() if path.name.endswith(".tmp")]


def test_failed_tests_keep_their_exit_when_the_report_fails_too(drills, pytester):
    pytester.makepyfile(test_it="def test_it(): assert 0")
    outcome = drills(
        '@pytest.mark.dr_service("x")\ndef test_it(): assert 0\n',
        "--dr-report=r/e.json",
        report=False,
    )
    assert outcome.ret == 1
    assert (pytester.path / "r" / "e.json").exists()


def test_reports_from_ini_are_relative_to_it(drills, pytester, monkeypatch):
    pytester.makepyfile(
        test_it='import pytest\n@pytest.mark.dr_service("x")\ndef test_it(): pass\n'
    )
    monkeypatch.chdir(pytester.mkdir("elsewhere"))
    result = pytester.runpytest("..", "-o", "dr_report=out/evidence.json", "-c", "../tox.ini")
    assert result.ret == 0
    assert (pytester.path / "out" / "evidence.json").exists()


def test_failed_body_shows_its_timeline(drills):
    source = """
@pytest.mark.rto("1m")
def test_it(drill, rto_timer):
    with rto_timer.outage("power cut"):
        drill.event("generator started", "after 3 tries")
        assert False, "the lights are out"
"""
    outcome = drills(source)
    outcome.result.stdout.fnmatch_lines(["*generator started*after 3 tries*"])


def test_help_lists_every_option_and_key(drills):
    outcome = drills("", "--help", report=False)
    for option in (
        "--dr-tier=NAME[,NAME]",
        "--dr-kind=KIND[,KIND]",
        "--dr-service=NAME",
        "--dr-live",
        "--dr-dry-run",
        "--dr-acknowledge=NODEID",
        "--dr-report=PATH",
        "--dr-repeat=N",
        "--dr-fail-unverified",
        "dr_tiers (linelist)",
        "dr_junit (bool)",
        "dr_live_targets (linelist)",
        "dr_max_outage (string)",
        "dr_live_wait (string)",
    ):
        assert option in outcome.text


def test_section_without_a_line_has_no_heading(drills):
    args = ("-o", "dr_fail_unverified=true")
    outcome = drills("def test_ordinary(): pass", *args, report=False)
    outcome.result.assert_outcomes(passed=1)
    assert "disaster recovery" not in outcome.text


def test_section_is_absent_without_drills_and_quiet_when_asked(drills, mode):
    outcome = drills("def test_ordinary(): pass", mode=mode, report=False)
    assert "disaster recovery" not in outcome.text
    assert "drdrill:" not in outcome.text
