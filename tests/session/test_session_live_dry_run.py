"""``--dr-dry-run``: what live drills would break is listed, and nothing of them runs."""

from __future__ import annotations

import pytest
from live_sources import ALLOWED, LIVE, TARGET


@pytest.fixture(autouse=True)
def _own_state(pytester, monkeypatch):
    monkeypatch.setenv("DRDRILL_STATE", str(pytester.path / "state"))


SOURCE = f"""
open("imported", "w").close()
@pytest.fixture(autouse=True, scope="session")
def touchy(): open("ran", "w").close()
@pytest.mark.dr_service("x")
@pytest.mark.dr_live(max_outage="5m")
@pytest.mark.dr_live_target("postgresql://u:s3cret@127.0.0.1/x", {TARGET})
@pytest.mark.dr_live_target("127.0.0.1:80", breaks="cuts it off", undone_by="a lease that ends")
def test_first(live_target): open("ran", "w").close()
@pytest.mark.dr_service("x")
@pytest.mark.dr_live
@pytest.mark.dr_live_target("10.0.0.1", {TARGET})
def test_endless(): open("ran", "w").close()
@pytest.mark.dr_service("x")
@pytest.mark.dr_live(max_outage="5m")
@pytest.mark.dr_live_target("10.0.0.1", {TARGET})
def test_outside(): open("ran", "w").close()
@pytest.mark.dr_service("x")
def test_local(): open("ran", "w").close()
def test_ordinary(): open("ran", "w").close()
"""
LISTED = """
test_it.py::test_first, ended after 5m at the latest
  on 127.0.0.1:5432: stops it
    undone by: starts it again
  on 127.0.0.1:80: cuts it off
    undone by: a lease that ends

test_it.py::test_endless
  on 10.0.0.1: stops it
    undone by: starts it again
  WOULD NOT RUN: a live drill says when it is ended at the latest; write *

test_it.py::test_outside, ended after 5m at the latest
  on 10.0.0.1: stops it
    undone by: starts it again
  WOULD NOT RUN: 10.0.0.1 is outside of dr_live_targets, which lists 127.0.0.1
"""


@pytest.mark.parametrize("live", [ALLOWED, ALLOWED[1:]], ids=["live", "not live"])
def test_list_says_what_would_be_broken_and_how_that_is_undone(drills, pytester, mode, live):
    junit = pytester.path / "junit.xml"
    args = ("--dr-dry-run", *live, f"--junitxml={junit}", "--html=page.html")
    outcome = drills(SOURCE, *args, mode=mode)
    lines = outcome.text[outcome.text.index("disaster recovery: dry run") :].splitlines()
    assert lines[1] == "3 live drills; nothing was run, and nothing is shown by it"
    expected = LISTED.strip().split("\n")
    outcome.result.stdout.fnmatch_lines(expected, consecutive=True)
    assert "evidence" not in outcome.text
    assert outcome.ret == 0
    assert "DRY RUN: nothing is run" in outcome.text
    assert "passed" not in outcome.text
    assert "s3cret" not in outcome.text
    assert (pytester.path / "imported").exists()
    assert not (pytester.path / "ran").exists()
    assert outcome.record is None  # no evidence of what did not happen
    assert '<testsuite name="pytest" errors="0" failures="0" skipped="0" tests="0"' in (
        junit.read_text()
    )


def test_selection_narrows_the_list(drills):
    outcome = drills(SOURCE, "--dr-dry-run", "-k", "test_outside or test_ordinary", *ALLOWED)
    assert "1 live drill; nothing was run" in outcome.text
    assert "test_first" not in outcome.text
    outcome = drills(SOURCE, "--dr-dry-run", "-k", "test_ordinary", *ALLOWED)
    assert "no live drill was selected; nothing was run" in outcome.text
    assert outcome.ret == 0


def test_what_was_left_behind_is_told(drills):
    source = (
        LIVE
        + """
def test_it(live_target): live_target().strike("stop it", ["true"], undo=["false"])
"""
    )
    drills(source, *ALLOWED)
    outcome = drills(source, "--dr-dry-run", *ALLOWED)
    assert "WOULD NOT RUN: test_it.py::test_it, begun 20" in outcome.text
    assert outcome.ret == 0


def test_markers_that_can_not_be_read_are_told(drills):
    source = LIVE + '@pytest.mark.rto("soon")\ndef test_it(): pass\n'
    outcome = drills(source, "--dr-dry-run", *ALLOWED)
    assert "WOULD NOT RUN: @pytest.mark.rto('soon'): 'soon' is no duration" in outcome.text


def test_list_that_is_not_whole_fails(drills, pytester):
    pytester.makepyfile(test_broken="import nothing_of_that_name")
    outcome = drills(SOURCE, "--dr-dry-run", *ALLOWED)
    assert outcome.ret == pytest.ExitCode.INTERRUPTED
    outcome = drills(SOURCE, "--dr-dry-run", "--continue-on-collection-errors", *ALLOWED)
    assert outcome.ret == pytest.ExitCode.INTERRUPTED
    assert not (pytester.path / "ran").exists()
