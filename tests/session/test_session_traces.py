"""``--dr-trace``: what happened in each simulated drill, as a file."""

from __future__ import annotations

import os
import re
import unicodedata

import pytest
from drill_sources import FAILS_OVER
from hypothesis import given
from hypothesis import strategies as st

from pytest_drdrill import Trace
from pytest_drdrill.session.traces import trace_name

SOURCE = f"""
@pytest.mark.rto("2m")
@pytest.mark.parametrize("name", ["a/b", "a:b"])
async def test_it(simulated_endpoints, failover_manager, rto_timer, name):
{FAILS_OVER}
@pytest.mark.dr_service("x")
async def test_fails(simulated_endpoints):
    (store,) = simulated_endpoints("store")
    store.fail()
    raise LookupError

@pytest.mark.dr_service("x")
def test_local(): pass
def test_ordinary(simulated_endpoints): pass
"""


def traces_of(folder):
    return {path.name.rpartition("-")[0]: Trace.read(path) for path in folder.iterdir()}


def test_each_simulated_drill_leaves_its_trace(drills, mode, pytester):
    folder = pytester.path / "made" / "traces"
    outcome = drills(SOURCE, "--dr-trace=made/traces", mode=mode)
    outcome.result.assert_outcomes(passed=4, failed=1)
    assert f"traces: {folder}" in outcome.text
    found = traces_of(folder)
    assert sorted(found) == ["test_it-py-test_fails", "test_it-py-test_it-a-b"]
    assert len(list(folder.iterdir())) == 3  # two of them look alike
    events = [event.event for event in found["test_it-py-test_it-a-b"]]
    assert "endpoint unhealthy" in events
    assert events[-4:] == ["measured"] * 4
    assert any(event.event == "fails" for event in found["test_it-py-test_fails"])


def test_every_run_has_its_own_and_the_same_seed_the_same(drills, pytester):
    only = ("--dr-repeat=2", "-k", "run and not fails")
    drills(SOURCE, "--dr-trace=one", *only, mode="n2")
    one = {path.name: path.read_bytes() for path in (pytester.path / "one").iterdir()}
    assert len(one) == 4
    assert len(set(one.values())) == 2  # the runs differ in their seed, the parameters do not
    drills(SOURCE, "--dr-trace=two", *only)
    assert {path.name: path.read_bytes() for path in (pytester.path / "two").iterdir()} == one


def test_ini_key_is_relative_to_its_file_and_older_traces_are_replaced(drills, mode, pytester):
    for _ in range(2):
        outcome = drills(SOURCE, "-o", "dr_trace=kept", "-k", "a/b", mode=mode, report=False)
        outcome.result.assert_outcomes(passed=1)
    (path,) = (pytester.path / "kept").iterdir()
    assert Trace.read(path)


def test_a_session_that_runs_nothing_makes_no_folder(drills, pytester):
    drills(SOURCE, "--dr-trace=kept", "--collect-only", report=False)
    assert not (pytester.path / "kept").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--dr-trace="], "--dr-trace: an empty path; write the path of a folder"),
        (["--dr-trace=test_it.py"], "a file is in the way; name a folder"),
        (["--dr-trace=test_it.py/x"], "a file is in the way; name a folder"),
        (["-o", "dr_trace=test_it.py"], "dr_trace: can't write traces to "),
        (["--dr-trace=~nobody-of-that-name/x"], "--dr-trace: could not determine home directory"),
        (["--dr-trace=/proc/nowhere"], "--dr-trace: can't write traces to /proc/nowhere: no such"),
    ],
)
def test_a_folder_that_can_not_be_is_one_usage_error(drills, mode, args, message):
    outcome = drills(SOURCE, *args, mode=mode, report=False)
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    (error,) = outcome.result.stderr.str().strip().splitlines()
    assert error.startswith("ERROR: ")
    assert message in error


LATE = """
import pathlib
FOLDER = pathlib.Path(os.environ["TRACES"])
pytestmark = pytest.mark.dr_service("x")
@pytest.fixture
def a_file_in_the_way():
    yield
    FOLDER.rmdir()
    FOLDER.write_text("")
def test_it(simulated_endpoints, a_file_in_the_way): pass
@pytest.fixture
def broken():
    yield
    raise LookupError("of its own")
def test_broken(simulated_endpoints, broken): pass
"""


def test_a_trace_that_can_not_be_written_fails_its_drill(drills, pytester, monkeypatch):
    folder = pytester.path / "kept"
    monkeypatch.setenv("TRACES", str(folder))
    outcome = drills(LATE, f"--dr-trace={folder}")
    outcome.result.assert_outcomes(passed=2, errors=2)
    assert outcome.verdicts == {"test_it": "failed", "test_broken": "failed"}
    told = "test_it: can't write the trace "
    assert told in outcome.drills["test_it"]["error"]
    assert outcome.drills["test_it"]["error"].endswith("a file is in the way")
    assert "of its own" in outcome.drills["test_broken"]["error"]


def test_half_a_trace_is_none(tmp_path, monkeypatch):
    path = tmp_path / "trace.jsonl"
    trace = Trace()
    trace.add(1, "a", "fails")
    trace.write(path)
    trace.add(2, "a", "recovers")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(type(path), "replace", full)
    with pytest.raises(OSError, match="No space left"):
        trace.write(path)
    assert [file.name for file in tmp_path.iterdir()] == ["trace.jsonl"]
    assert len(Trace.read(path)) == 1


def folded(name):
    return unicodedata.normalize("NFC", name).casefold()


@given(st.sets(st.text(max_size=300), min_size=2))
def test_names_are_unique_and_portable(nodeids):
    names = [trace_name(nodeid) for nodeid in sorted(nodeids)]
    assert len({folded(name) for name in names}) == len(names)
    for name in names:
        assert re.fullmatch(r"[0-9A-Za-z_-]{1,113}\.jsonl", name)
        assert not name.startswith("-")


def test_name_shows_the_end_of_a_long_id():
    name = trace_name("tests/" + "deep/" * 50 + "test_it.py::test_that[1]")
    assert "deep-test_it-py-test_that-1-" in name
    assert len(name) < 130
