"""The watchdog: a live drill ends with its longest outage, whatever its body hangs in."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from live_sources import ALLOWED, LIVE

from pytest_drdrill.live import watchdog

SHORT = (
    LIVE.replace('max_outage="1m"', 'max_outage="10s"')
    + """
from pytest_drdrill.session.runner import RUN
@pytest.fixture
def expire(request):
    def expire(outage=None):  # from now on all that it has is over, however busy the machine is
        run, over = request.node.stash[RUN], 10 if outage is None else 20
        run._started = run._started._replace(at=run._started.at - over)
        run.live._began -= over
        if outage is not None: outage.disaster = outage.disaster._replace(at=time.monotonic() - 10)
    return expire
"""
)


@pytest.fixture(autouse=True)
def state(pytester, monkeypatch):
    folder = pytester.path / "state"
    monkeypatch.setenv("DRDRILL_STATE", str(folder))
    return folder / "live"


def records(state):
    return [json.loads(path.read_text()) for path in (state / "drills").glob("*.json")]


BREAKS = """
    live_target().strike("stop it", ["touch", "struck"], undo=["mv", "struck", "undone"])
    expire()
"""
HANGS = {
    "sync": f"def test_it(live_target, expire):{BREAKS}    time.sleep(60)  # here\n",
    "await": f"""
async def test_it(live_target, expire):{BREAKS}
    await asyncio.sleep(60)  # here
""",
    "nested await": f"""
async def test_it(live_target, expire):{BREAKS}
    async def deeper():
        await asyncio.Event().wait()  # here
    async def other():
        await asyncio.Event().wait()
    task = asyncio.create_task(other())
    await deeper()
""",
    "call into C": f"""
import ctypes
def test_it(live_target, expire):{BREAKS}
    ctypes.CDLL(None).sleep(60)  # here
""",
    "busy": f"def test_it(live_target, expire):{BREAKS}    while True: 'here'\n",
    "lock": f"""
import threading
def test_it(live_target, expire):{BREAKS}
    threading.Event().wait()  # here
""",
    "outage": """
@pytest.mark.rto("1m")
def test_it(live_target, expire, rto_timer):
    with rto_timer.outage("pulled") as outage:
        live_target().strike("stop it", ["touch", "struck"], undo=["mv", "struck", "undone"])
        expire(outage)
        time.sleep(60)  # here
""",
}


@pytest.mark.parametrize("body", HANGS)
def test_body_that_hangs_is_ended_and_undone(drills, pytester, state, body):
    source = HANGS[body]
    outcome = drills(SHORT + source + "\ndef test_next(live_target): live_target()\n", *ALLOWED)
    assert outcome.verdicts == {"test_it": "failed", "test_next": "passed"}
    drill = outcome.drills["test_it"]
    written = (pytester.path / "test_it.py").read_text().split("\n")
    line = next(number for number, text in enumerate(written, 1) if "here" in text)
    since = "the disaster" if body == "outage" else "its beginning"
    assert re.match(
        rf"MaxOutageExceeded: max_outage of 10s exceeded: \S+ after {since} the drill still ran "
        rf"at test_it\.py:{line}, and was ended",
        drill["error"],
    )
    assert drill["live"]["aborted_after_s"] >= 10
    assert "at most 10s, ended after " in outcome.text
    assert (pytester.path / "undone").exists()
    assert records(state) == []
    assert "MaxOutageExceeded: max_outage of 10s" in outcome.text
    if body == "outage":
        assert "NotRecovered" in drill["error"]


def test_body_that_swallows_what_ends_it_fails_all_the_same(drills, pytester):
    source = (
        SHORT
        + f"""
def test_returns(live_target, expire):{BREAKS}
    try: time.sleep(60)
    except BaseException: pass
def test_raises(expire):
    expire()
    try: time.sleep(60)
    except BaseException: raise ValueError("of my own") from None
def test_skips(expire):
    expire()
    try: time.sleep(60)
    except BaseException: pytest.skip("not today")
"""
    )
    outcome = drills(source, *ALLOWED)
    assert set(outcome.verdicts.values()) == {"failed"}
    errors = {name: drill["error"] for name, drill in outcome.drills.items()}
    for error in errors.values():
        assert error.startswith("MaxOutageExceeded: max_outage of 10s exceeded")
    assert "its body took no notice and ended later" in errors["test_returns"]
    assert "its body then raised ValueError: of my own" in errors["test_raises"]
    assert "its body then raised Skipped: not today" in errors["test_skips"]


def test_except_exception_does_not_take_it(drills):
    source = (
        SHORT
        + """
def test_it(expire):
    expire()
    while True:
        try: time.sleep(60)
        except Exception: pass
"""
    )
    assert drills(source, *ALLOWED).verdicts == {"test_it": "failed"}


def test_set_up_that_hangs_is_ended(drills, pytester, state):
    source = (
        SHORT
        + f"""
@pytest.fixture
def broken(request, expire):
    live_target = request.getfixturevalue("live_target"){BREAKS}
    time.sleep(60)
def test_it(broken): pass
"""
    )
    outcome = drills(source, *ALLOWED)
    outcome.result.assert_outcomes(errors=1)
    assert "max_outage of 10s exceeded" in outcome.drills["test_it"]["error"]
    assert (pytester.path / "undone").exists()
    assert records(state) == []


def test_undo_that_hangs_is_ended_and_remembered(drills, pytester, state, monkeypatch):
    source = (
        SHORT
        + """
@pytest.fixture
def first():
    yield
    open("torn_down", "w").close()
@pytest.fixture
def broken(request):
    yield
    request.node.stash[RUN].live.watchdog._limit_s = 0.2
    time.sleep(60)
def test_it(first, broken): pass
"""
    )
    monkeypatch.setattr(watchdog, "_UNDO_MOST_S", 0.2)
    outcome = drills(source, *ALLOWED)
    assert outcome.verdicts == {"test_it": "failed"}
    assert "its undo did not end in time, and was ended" in outcome.drills["test_it"]["error"]
    assert (pytester.path / "torn_down").exists()
    assert records(state)[0]["state"] == "undo failed"


def test_faults_fixture_is_undone_in_a_body_that_swallows_everything(drills, pytester):
    """The body goes on until somebody else has undone its faults."""
    source = (
        SHORT
        + """
def test_it(live_target, faults, expire):
    faults.stack.push("the fault", lambda: open("undone", "w").close())
    expire()
    while not os.path.exists("undone"):
        try: time.sleep(60)
        except BaseException: pass
"""
    )
    outcome = drills(source, *ALLOWED)
    assert outcome.verdicts == {"test_it": "failed"}
    assert "MaxOutageExceeded" in outcome.drills["test_it"]["error"]


STUCK = {
    "is stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
    "blocks the signals": "time.sleep(60)",
}


@pytest.mark.parametrize("how", STUCK)
def test_process_that_reacts_to_nothing_is_killed_and_undone(drills, pytester, state, how):
    source = f"""{LIVE}
from pytest_drdrill.session.runner import RUN
def test_it(live_target, request):
    live_target().strike("stop it", ["touch", "struck"], undo=["mv", "struck", "undone"])
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    request.node.stash[RUN].live.watchdog._link.within(0.2, "1m")  # not the minute
    {STUCK[how]}
"""
    pytester.makepyfile(test_it="import os, signal, time, pytest\n" + source)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *ALLOWED]
    done = subprocess.run(
        command,
        cwd=pytester.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert (pytester.path / "undone").exists()
    assert re.search(
        r"drdrill: test_it\.py::test_it reacted to nothing \S+ after it began, long past its "
        r"max_outage of 1m; process \d+ was killed; undone: stop it\n",
        done.stdout,
    )
    assert records(state)[0]["state"] == "stuck"
    outcome = drills(source, *ALLOWED)
    assert "did not end when it had to, and was killed" in outcome.drills["test_it"]["error"]


def test_time_counts_anew_from_each_disaster_and_recovery(drills):
    source = (
        LIVE
        + """
from pytest_drdrill.session.runner import RUN
def test_it(request, rto_timer):
    turn = request.node.stash[RUN].last_turn
    assert turn()[0] == "its beginning"
    outage = rto_timer.disaster()
    assert turn() == ("the disaster", outage.disaster.at)
    rto_timer.recovered()
    assert turn() == ("the recovery", outage.recovered_at)
    again = rto_timer.disaster()
    assert turn() == ("the disaster", again.disaster.at)
    rto_timer.recovered()
"""
    )
    assert drills(source, *ALLOWED).verdicts == {"test_it": "passed"}


def test_nothing_is_left_of_it_when_the_drill_is_over(drills):
    source = (
        LIVE
        + """
import threading
import pytest_drdrill.live.watchdog as watchdog
def test_it(): assert signal.getsignal(watchdog._SIGNAL) is not signal.SIG_DFL
def test_end():
    assert len([t for t in threading.enumerate() if t.name == "drdrill-watchdog"]) == 1
"""
    )
    before = len([*Path("/proc/self/fd").iterdir()])
    assert set(drills(source, *ALLOWED).verdicts.values()) == {"passed"}
    assert signal.getsignal(watchdog._SIGNAL) is signal.SIG_DFL
    assert len([*Path("/proc/self/fd").iterdir()]) <= before
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if "sentry" in Path(f"/proc/{pid}/cmdline").read_text()]
