"""Live drills: who may run, on what, one at a time; and what stays when they could not undo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from live_sources import ALLOWED, LIVE, TARGET

ACKNOWLEDGE = "--dr-acknowledge=test_it.py::test_it"


@pytest.fixture(autouse=True)
def state(pytester, monkeypatch):
    """The folder of locks and records."""
    folder = pytester.path / "state"
    monkeypatch.setenv("DRDRILL_STATE", str(folder))
    return folder / "live"


def records(state):
    return [json.loads(path.read_text()) for path in (state / "drills").glob("*.json")]


def test_allowed_drill_runs_and_the_evidence_names_its_target(drills, state, mode):
    source = (
        LIVE
        + """
def test_it(live_target, live_targets):
    target = live_target()
    assert (target.host, target.port, target.address) == ("127.0.0.1", 5432, "127.0.0.1:5432")
    assert repr(target) == "<live target 127.0.0.1:5432>"
    assert live_target("127.0.0.1:5432") is target
    live_targets.check("127.0.0.1", 80)
    with pytest.raises(LiveRefused, match="does not declare the target that it asks for"):
        live_target("127.0.0.1:80")
    with pytest.raises(LiveRefused, match="10.0.0.1 is outside of dr_live_targets"):
        live_targets.check("10.0.0.1")
"""
    )
    outcome = drills(source, *ALLOWED, mode=mode)
    assert outcome.verdicts == {"test_it": "passed"}
    assert outcome.ret == 0
    drill = outcome.drills["test_it"]
    assert drill["mode"] == "live"
    assert drill["live"] == {
        "targets": [
            {"address": "127.0.0.1:5432", "breaks": "stops it", "undone_by": "starts it again"}
        ],
        "max_outage_s": 60,
        "aborted_after_s": None,
    }
    assert "live: 127.0.0.1:5432: stops it; undone by: starts it again; at most 1m" in outcome.text
    assert records(state) == []


def test_without_the_option_nothing_is_touched_or_kept(drills, state):
    outcome = drills(LIVE + "def test_it(live_target): live_target()")
    assert outcome.verdicts == {"test_it": "not_verified"}
    assert "give --dr-live" in outcome.drills["test_it"]["reason"]
    assert outcome.ret == 0
    assert not state.exists()


REFUSED = {
    "no target": (
        '@pytest.mark.dr_live(max_outage="1m")',
        ("a live drill declares what it breaks; write @pytest.mark.dr_live_target(",),
    ),
    "no end": (
        f'@pytest.mark.dr_live\n@pytest.mark.dr_live_target("127.0.0.1", {TARGET})',
        ("says when it is ended at the latest; write", "dr_max_outage = 5m in the ini file"),
    ),
    "outside": (
        (
            '@pytest.mark.dr_live(max_outage="1m")\n'
            f'@pytest.mark.dr_live_target("redis://u:s3cret@10.0.0.1", {TARGET})'
        ),
        ("10.0.0.1:6379 is outside of dr_live_targets, which lists 127.0.0.1",),
    ),
    "one of two outside": (
        (
            '@pytest.mark.dr_live(max_outage="1m")\n'
            f'@pytest.mark.dr_live_target("127.0.0.1", {TARGET})\n'
            f'@pytest.mark.dr_live_target("10.0.0.1", {TARGET})'
        ),
        ("10.0.0.1 is outside of dr_live_targets",),
    ),
    "no time": (
        '@pytest.mark.dr_live(max_outage="0s")',
        ("dr_live: max_outage: no drill ends in no time; write",),
    ),
    "no unit": ("@pytest.mark.dr_live(max_outage=5)", ("max_outage: 5 has no unit; write",)),
    "unknown argument": (
        '@pytest.mark.dr_live(limit="5m")',
        ("dr_live(limit='5m'): takes no argument but max_outage",),
    ),
    "not live": (
        f'@pytest.mark.dr_live_target("127.0.0.1", {TARGET})',
        ("dr_live_target: the drill is not marked as one that touches live systems; write",),
    ),
    "no words": (
        (
            '@pytest.mark.dr_live(max_outage="1m")\n'
            '@pytest.mark.dr_live_target("redis://u:s3cret@10.0.0.1")'
        ),
        ("dr_live_target: lacks breaks, undone_by; write",),
    ),
    "empty words": (
        (
            '@pytest.mark.dr_live(max_outage="1m")\n'
            '@pytest.mark.dr_live_target("127.0.0.1", breaks=" ", undone_by="x")'
        ),
        ("dr_live_target: breaks says nothing; write",),
    ),
    "two addresses": (
        (
            '@pytest.mark.dr_live(max_outage="1m")\n'
            f'@pytest.mark.dr_live_target("a", "redis://:s3cret@b", {TARGET})'
        ),
        ("dr_live_target: takes one address, breaks and undone_by; write",),
    ),
    "no address": (
        (
            '@pytest.mark.dr_live(max_outage="1m")\n'
            f'@pytest.mark.dr_live_target("redis://u:s3cret@/", {TARGET})'
        ),
        ("an address that may hold a password (not shown) names no host; write",),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_are_one_sentence_of_that_test(drills, state, case):
    markers, parts = REFUSED[case]
    source = f'{markers}\n@pytest.mark.dr_service("x")\ndef test_it(): assert False, "ran"\n'
    outcome = drills(source, *ALLOWED)
    outcome.result.assert_outcomes(errors=1)
    assert outcome.verdicts == {"test_it": "failed"}
    error = outcome.drills["test_it"]["error"]
    for part in parts:
        assert part in error
    assert error.endswith("(in test_it.py::test_it)")
    assert "\n" not in error
    assert outcome.ret == 1
    for secret in ("s3cret", "Traceback", "During handling", "ran"):
        assert secret not in outcome.text.replace("warnings", "")
    assert "s3cret" not in json.dumps(outcome.record)


def test_longest_outage_may_stand_in_the_ini_file_and_the_drills_own_wins(drills):
    source = f"""
pytestmark = [pytest.mark.dr_service("x"), pytest.mark.dr_live_target("127.0.0.1", {TARGET})]
@pytest.mark.dr_live
def test_ini(): pass
@pytest.mark.dr_live(max_outage="7m")
def test_own(): pass
"""
    outcome = drills(source, *ALLOWED, "-o", "dr_max_outage=5m")
    found = {name: drill["live"]["max_outage_s"] for name, drill in outcome.drills.items()}
    assert found == {"test_ini": 300, "test_own": 420}
    outcome = drills(source, *ALLOWED, "-o", "dr_max_outage=soon")
    assert "dr_max_outage: 'soon' is no duration; write" in outcome.drills["test_ini"]["error"]
    assert outcome.verdicts["test_own"] == "passed"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("dr_live_targets=10.1.0.0/99", "dr_live_targets: '10.1.0.0/99' is no network; write one"),
        ("dr_live_targets=u:s3cret@db", "dr_live_targets: an address that may hold a password"),
        ("dr_live_wait=soon", "dr_live_wait: 'soon' is no duration; write"),
    ],
)
def test_ini_values_that_mean_nothing_are_usage_errors(drills, option, said):
    outcome = drills(LIVE + "def test_it(): pass", "--dr-live", "-o", option)
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    assert said in outcome.result.stderr.str()
    assert "s3cret" not in outcome.result.stderr.str() + outcome.text.partition("rootdir")[2]


def test_target_may_stand_in_the_environment_secret_and_all(drills, monkeypatch):
    source = f"""
from pathlib import Path
@pytest.mark.dr_service("x")
@pytest.mark.dr_live(max_outage="1m")
@pytest.mark.dr_live_target("$STAGING", {TARGET})
def test_it(live_target):
    assert live_target("$STAGING").dsn == os.environ["STAGING"]
    children = Path(f"/proc/self/task/{{os.getpid()}}/children").read_text().split()
    commands = [Path(f"/proc/{{child}}/cmdline").read_text() for child in children]
    assert any("live.sentry" in command for command in commands)
    assert not any("s3c" "ret" in command for command in commands)
    assert not live_target()
"""
    outcome = drills(source, *ALLOWED)
    assert outcome.verdicts == {"test_it": "not_verified"}
    said = "the environment variable STAGING, which names the target, is not set"
    assert said in outcome.drills["test_it"]["reason"]
    assert outcome.ret == 1
    monkeypatch.setenv("STAGING", "redis://u:s3cret@127.0.0.1")
    outcome = drills(source, *ALLOWED)
    assert outcome.verdicts == {"test_it": "failed"}
    assert "assert not <live target 127.0.0.1:6379>" in outcome.drills["test_it"]["error"]
    assert outcome.drills["test_it"]["live"]["targets"][0]["address"] == "127.0.0.1:6379"
    assert "s3cret" not in outcome.text
    assert "s3cret" not in json.dumps(outcome.record)


def test_tests_that_are_no_live_drills_reach_their_scratch_alone(drills):
    source = """
def test_ordinary(live_targets):
    live_targets.check("127.0.0.1", 5432)
    with pytest.raises(LiveRefused, match="only a live drill touches it"):
        live_targets.check("10.0.0.1", 5432)
@pytest.mark.dr_service("x")
def test_local(live_targets):
    with pytest.raises(LiveRefused): live_targets.check("10.0.0.1", 5432)
@pytest.mark.dr_service("x")
def test_asks(live_target): pass
"""
    outcome = drills(source, *ALLOWED, "-o", "dr_live_targets=10.0.0.1")
    outcome.result.assert_outcomes(passed=2, errors=1)
    assert "asks for the fixture 'live_target' but is no live drill" in outcome.text


def test_proxy_leads_to_no_system_that_is_not_listed(drills):
    source = """
def test_ordinary(fault_proxy):
    with pytest.raises(LiveRefused, match="10.0.0.1:5432 is no scratch of this test's"):
        fault_proxy("10.0.0.1:5432")
"""
    live = (
        LIVE
        + """
def test_it(fault_proxy):
    fault_proxy("10.1.0.1:5432")
    with pytest.raises(LiveRefused, match="10.0.0.1:5432 is outside of dr_live_targets"):
        fault_proxy("10.0.0.1:5432")
"""
    )
    drills(source).result.assert_outcomes(passed=1)
    listed = "dr_live_targets=127.0.0.1\n10.1.0.0/16"
    assert drills(live, "--dr-live", "-o", listed).verdicts == {"test_it": "passed"}


def test_several_targets_are_told_apart(drills):
    source = f"""
@pytest.mark.dr_service("x")
@pytest.mark.dr_live(max_outage="1m")
@pytest.mark.dr_live_target("127.0.0.1:1", {TARGET})
@pytest.mark.dr_live_target("127.0.0.1:2", {TARGET})
def test_it(live_target):
    assert live_target("127.0.0.1:2").port == 2
    with pytest.raises(LiveRefused, match="several targets; say which: 127.0.0.1:1, 127.0.0.1:2"):
        live_target()
"""
    outcome = drills(source, *ALLOWED)
    assert outcome.verdicts == {"test_it": "passed"}
    targets = outcome.drills["test_it"]["live"]["targets"]
    assert [target["address"] for target in targets] == ["127.0.0.1:1", "127.0.0.1:2"]


@pytest.mark.parametrize("forced", [["--reruns=2"], ["--force-reruns=2"]])
def test_live_drill_is_never_run_again_by_a_rerun(drills, pytester, forced):
    source = (
        LIVE
        + """
def test_it():
    with open("ran", "a") as file: file.write("x")
    assert False, "the first failure"
"""
    )
    outcome = drills(source, *ALLOWED, *forced)
    assert (pytester.path / "ran").read_text() == "x"
    drill = outcome.drills["test_it"]
    assert drill["verdict"] == "failed"
    told = drill["error"] + "".join(attempt["error"] for attempt in drill["attempts"])
    assert "the first failure" in told
    if forced == ["--force-reruns=2"]:
        assert "a live drill is not run a second time by a rerun" in told
    assert outcome.ret == 1


def test_live_drill_under_given_is_refused(drills):
    source = (
        "from hypothesis import given, strategies as st\n"
        + LIVE
        + "@given(n=st.integers())\ndef test_it(n): pass\n"
    )
    outcome = drills(source, *ALLOWED)
    assert "a live drill runs once, and @given would break" in outcome.drills["test_it"]["error"]


def test_repeat_says_that_live_drills_run_once(drills):
    outcome = drills(LIVE + "def test_it(): pass", *ALLOWED, "--dr-repeat=3")
    assert "each drill 3 times, live ones once" in outcome.text
    assert len(outcome.record["drills"]) == 1


def test_workers_take_turns_on_a_target(drills, pytester):
    source = (
        LIVE
        + """
@pytest.mark.parametrize("n", range(6))
def test_it(n):
    alone = os.open("alone", os.O_CREAT | os.O_EXCL)  # fails where another drill is there
    time.sleep(0.05)
    os.close(alone)
    os.unlink("alone")
"""
    )
    outcome = drills(source, *ALLOWED, mode="n2")
    assert set(outcome.verdicts.values()) == {"passed"}
    assert outcome.ret == 0


def session(pytester, *args):
    """Another session, in a process of its own."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *ALLOWED, *args]
    return subprocess.Popen(
        command,
        cwd=pytester.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(path, process=None):
    patience = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < patience, path
        assert process is None or process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


HOLDS = (
    LIVE
    + """
def test_it(live_target):
    target = live_target()
    with target.strike("pause it", ["true"], undo=["true"]): pass  # undone by now
    target.strike("stop it", ["touch", "struck"], undo=["cp", "struck", "undone"])
    open("began", "w").close()
    while not os.path.exists("go"): time.sleep(0.01)
"""
)


def test_two_sessions_on_one_target(drills, pytester, tmp_path):
    pytester.makepyfile(test_it="import os, pytest, time" + HOLDS)
    first = session(pytester)
    wait_for(pytester.path / "began", first)
    source = LIVE.replace("127.0.0.1:5432", "localhost:5432") + "def test_other(): pass"
    allowed = ("--dr-live", "-o", "dr_live_targets=localhost")
    outcome = drills(source, *allowed, "-o", "dr_live_wait=0s")
    assert outcome.verdicts == {"test_other": "not_verified"}
    reason = outcome.drills["test_other"]["reason"]
    assert "127.0.0.1:5432 is held by test_it.py::test_it (process " in reason
    assert f"process {first.pid}, since 20" in reason
    assert outcome.ret == 1
    # On another port it need not wait; on the whole host it does.
    assert drills(source.replace("5432", "80"), *allowed).ret == 0
    whole = source.replace("localhost:5432", "localhost")
    outcome = drills(whole, *allowed, "-o", "dr_live_wait=10ms")
    assert outcome.verdicts == {"test_other": "not_verified"}
    assert "drdrill: waiting, 127.0.0.1 is held by test_it.py::test_it" in outcome.text
    (pytester.path / "go").touch()
    assert "1 passed" in first.communicate()[0]
    assert drills(source, *allowed).ret == 0


STRIKES = (
    LIVE
    + """
@pytest.fixture
def broken(live_target):
    live_target().strike("first", ["touch", "first"], undo=["rm", "first"])
def test_it(broken, live_target):
    assert os.path.exists("first")
    with live_target().strike("early", ["touch", "early"], undo=["rm", "early"]):
        assert os.path.exists("early")
    assert not os.path.exists("early")
    # Undone first: what comes later may rest on what came before.
    live_target().strike("last", ["touch", "last"], undo=["mv", "last", "first.d"])
    os.mkdir("first.d")
    {end}
"""
)


@pytest.mark.parametrize(
    ("end", "verdict"),
    [
        ("pass", "passed"),
        ("assert False", "failed"),
        ("pytest.skip('no more')", "not_verified"),
        ("raise KeyboardInterrupt", "failed"),
        ("pytest.exit('enough')", "failed"),
    ],
)
def test_what_commands_struck_is_undone_in_reverse_however_it_ends(
    drills, pytester, state, end, verdict
):
    outcome = drills(STRIKES.replace("{end}", end), *ALLOWED, subprocess="Keyboard" in end)
    assert outcome.verdicts == {"test_it": verdict}
    assert not (pytester.path / "first").exists()
    assert (pytester.path / "first.d" / "last").exists()
    if end == "pass":
        events = [event["event"] for event in outcome.drills["test_it"]["timeline"]]
        assert events == ["fault", "fault", "fault undone", "fault", "fault undone", "fault undone"]
    assert records(state) == []


def test_fault_of_a_set_up_that_fails_is_undone(drills, pytester, state):
    source = (
        LIVE
        + """
@pytest.fixture
def broken(live_target):
    live_target().strike("stop it", ["touch", "struck"], undo=["rm", "struck"])
    raise OSError("no more")
def test_it(broken): pass
"""
    )
    outcome = drills(source, *ALLOWED)
    assert "no more" in outcome.drills["test_it"]["error"]
    assert not (pytester.path / "struck").exists()
    assert records(state) == []


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ('strike("stop it", "rm x", undo=["true"])', "command is a list of a program and its arg"),
        ('strike("stop it", ["true"], undo=[])', "undo is a list of a program and its arguments"),
        ('strike("stop it", ["/nowhere/x"], undo=["true"])', "stop it: /nowhere/x can't be run"),
        ('strike("stop it", ["false"], undo=["true"])', "stop it: exit status 1"),
        (
            'strike("stop it", ["sleep", "9"], undo=["true"], timeout="10ms")',
            "stop it: not done within 10ms",
        ),
        (
            'strike("stop it", ["sh", "-c", "echo redis://u:hush@x >&2; exit 3"], undo=["x"])',
            "stop it: exit status 3: redis://***@x",
        ),
    ],
)
def test_strike_that_can_not_be_is_one_sentence(drills, call, said):
    outcome = drills(f"{LIVE}def test_it(live_target): live_target().{call}", *ALLOWED)
    error = outcome.drills["test_it"]["error"]
    assert said in error
    assert error.startswith("pytest_drdrill.FaultError: ")


FAILS_TO_UNDO = (
    LIVE
    + """
def test_it(live_target):
    live_target().strike("stop it", ["true"], undo=["test", "-e", "mended"])
def test_same_target(): pass
@pytest.mark.dr_live_target("127.0.0.1:5432", breaks="x", undone_by="x")
class TestOther:
    def test_class(self): pass
"""
)


def test_drill_whose_undo_failed_is_refused_until_acknowledged(drills, pytester, state):
    outcome = drills(FAILS_TO_UNDO, *ALLOWED, "--deselect=test_it.py::TestOther", "-x")
    assert outcome.verdicts["test_it"] == "failed"
    assert "stop it: its undo failed: exit status 1" in outcome.drills["test_it"]["error"]
    (record,) = records(state)
    assert record["state"] == "undo failed"
    assert record["left"] == ["FaultError: stop it: its undo failed: exit status 1"]
    # Refused, and so is any other drill on what it left broken.
    outcome = drills(FAILS_TO_UNDO, *ALLOWED)
    assert set(outcome.verdicts.values()) == {"failed"}
    for drill in outcome.drills.values():
        assert "test_it.py::test_it, begun 20" in drill["error"]
        assert "could not undo all of its faults: 127.0.0.1:5432 (it stops it;" in drill["error"]
        assert "not undone: FaultError: stop it: its undo failed: exit status 1" in drill["error"]
        assert "acknowledge it once with " + ACKNOWLEDGE in drill["error"]
    unknown = drills(FAILS_TO_UNDO, *ALLOWED, "--dr-acknowledge=test_it.py::test_no")
    assert unknown.ret == pytest.ExitCode.USAGE_ERROR
    said = "test_it.py::test_no left nothing behind; drills that did: test_it.py::test_it"
    assert f"--dr-acknowledge: {said}" in unknown.result.stderr.str()
    (pytester.path / "mended").touch()
    outcome = drills(FAILS_TO_UNDO, *ALLOWED, ACKNOWLEDGE)
    assert set(outcome.verdicts.values()) == {"passed"}
    assert records(state) == []


def test_fixture_that_fails_to_undo_is_remembered_too(drills, state):
    source = (
        LIVE
        + """
@pytest.fixture
def broken():
    yield
    pytest.fail("the database does not start")
def test_it(broken): pass
"""
    )
    outcome = drills(source, *ALLOWED)
    assert outcome.verdicts == {"test_it": "failed"}
    (record,) = records(state)
    assert record["left"] == ["Failed: the database does not start"]
    assert drills(source, *ALLOWED).result.assert_outcomes(errors=1) is None


def test_only_what_is_of_a_fault_is_remembered(drills, state):
    source = (
        LIVE
        + """
async def test_it(failover_manager):
    class Broken:
        async def open(self): pass
        async def close(self): pass
        async def probe(self, endpoint): raise RuntimeError("out of order")
    endpoint = ServiceEndpoint("a", "http://127.0.0.1:9")
    manager = failover_manager([endpoint], check_interval="10ms", prober=Broken())
    await manager.start_monitoring()
    while manager.is_monitoring: await asyncio.sleep(0.001)
@pytest.mark.dr_live_target("127.0.0.1:80", breaks="x", undone_by="x")
def test_fault(faults): faults.stack.push("cut it off", lambda: 1 / 0)
"""
    )
    outcome = drills(source, *ALLOWED)
    assert outcome.verdicts == {"test_it": "failed", "test_fault": "failed"}
    (record,) = records(state)
    assert record["nodeid"] == "test_it.py::test_fault"
    assert record["left"] == ["ZeroDivisionError: division by zero"]


def test_run_that_is_terminated_undoes_by_itself(drills, pytester, state):
    pytester.makepyfile(test_it="import os, pytest, time" + HOLDS)
    ended = session(pytester)
    wait_for(pytester.path / "began", ended)
    ended.terminate()
    text = ended.communicate()[0]
    assert ended.returncode == pytest.ExitCode.INTERRUPTED
    assert "ended by SIGTERM" in text
    assert (pytester.path / "undone").exists()
    (pytester.path / "go").touch()
    assert drills(HOLDS, *ALLOWED).ret == 0


@pytest.mark.parametrize("kill", [os.kill, os.killpg])
def test_killed_run_is_undone_by_who_outlives_it(drills, pytester, state, kill):
    pytester.makepyfile(test_it="import os, pytest, time" + HOLDS)
    killed = session(pytester)
    wait_for(pytester.path / "began", killed)
    kill(killed.pid, signal.SIGKILL)
    text = killed.communicate()[0]  # which ends when the last that holds the pipe has ended
    assert (pytester.path / "undone").exists()
    assert f"drdrill: process {killed.pid} died in test_it.py::test_it, " in text
    assert text.endswith("after it began; undone: stop it\n")
    (record,) = records(state)
    assert (record["state"], record["done"], record["left"]) == ("died", ["stop it"], [])
    outcome = drills(HOLDS, *ALLOWED)
    error = outcome.drills["test_it"]["error"]
    assert "was killed before it ended: 127.0.0.1:5432 (it stops it;" in error
    assert "undone since: stop it" in error
    (pytester.path / "go").touch()
    assert drills(HOLDS, *ALLOWED, ACKNOWLEDGE).ret == 0


def test_nobody_drills_a_target_while_it_is_undone(drills, pytester):
    slow = HOLDS.replace('["cp", "struck", "undone"]', '["sh", "-c", SLOW]').replace(
        "def test_it", 'SLOW = "touch undoing; while [ ! -e go ]; do sleep 0.01; done"\ndef test_it'
    )
    pytester.makepyfile(test_it="import os, pytest, time" + slow)
    killed = session(pytester)
    wait_for(pytester.path / "began", killed)
    killed.kill()
    wait_for(pytester.path / "undoing")
    outcome = drills(LIVE + "def test_other(): pass", *ALLOWED, "-o", "dr_live_wait=0s")
    assert outcome.verdicts == {"test_other": "not_verified"}
    assert f"held by test_it.py::test_it (process {killed.pid}, " in outcome.text
    (pytester.path / "go").touch()
    killed.communicate()


def test_worker_that_is_killed_is_undone_and_its_drill_failed(drills, pytester, state):
    source = HOLDS.replace('open("began", "w").close()', "os.kill(os.getpid(), signal.SIGKILL)")
    outcome = drills(source, *ALLOWED, mode="n2")
    assert outcome.verdicts == {"test_it": "failed"}
    wait_for(pytester.path / "undone")
    while records(state)[0]["state"] == "running":
        time.sleep(0.01)
    assert records(state)[0]["done"] == ["stop it"]


def test_folder_that_others_can_write_to_is_refused(drills, state):
    state.parent.mkdir(mode=0o777)
    state.parent.chmod(0o777)
    outcome = drills(LIVE + "def test_it(): pass", *ALLOWED)
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    said = f"live drills need a folder for locks: {state.parent} can be written to by others"
    assert said in outcome.result.stderr.str()


SH = 'through=["sh", "-c"]'


def test_commands_may_run_through_another_one(drills, pytester):
    source = (
        LIVE
        + f"""
def test_it(live_target):
    with live_target().strike("stop it", ["touch", "a b"], undo=["rm", "a b"], {SH}):
        assert os.path.exists("a b")
    assert not os.path.exists("a b")
"""
    )
    assert drills(source, *ALLOWED).verdicts == {"test_it": "passed"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('expires="30s"', 'say how commands run there, such as through=["ssh", "db1"]'),
        (f'{SH}, expires="2s"', "expires=2s is too short: 3s or more"),
        ('through=["false"], expires="30s"', "no lease of 30s could be begun through false, so"),
        ('through=["echo", "-"], expires="30s"', "stop it: not struck: no lease of 30s could be"),
        ('through="sh -c"', "through is a list of a program and its arguments"),
    ],
)
def test_lease_that_can_not_be_had_strikes_nothing(drills, pytester, settings, said):
    call = f'strike("stop it", ["touch", "struck"], undo=["true"], {settings})'
    outcome = drills(f"{LIVE}def test_it(live_target): live_target().{call}", *ALLOWED)
    assert said in outcome.drills["test_it"]["error"]
    assert not (pytester.path / "struck").exists()


def test_lease_ends_a_fault_that_nobody_else_can_undo(drills, pytester, state):
    """The way to the target is gone, and so are pytest and what would outlive it."""
    (pytester.path / "way").write_text('#!/bin/sh\nexec sh -c "$1"\n')
    (pytester.path / "way").chmod(0o755)
    source = (
        LIVE
        + """
def test_it(live_target):
    live_target().strike(
        "stop it", ["touch", "struck"], undo=["mv", "struck", "undone"],
        through=[os.path.abspath("way")], expires="3s",
    )
    os.unlink("way")
"""
    )
    outcome = drills(source, *ALLOWED)
    error = outcome.drills["test_it"]["error"]
    assert (
        "its undo failed: No such file or directory; the target tries by itself within 3s" in error
    )
    assert (pytester.path / "struck").exists()
    wait_for(pytester.path / "undone")
    assert records(state)[0]["state"] == "undo failed"


def test_lease_is_renewed_while_the_drill_lives_and_given_back(drills, pytester, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(pytester.path))
    source = (
        LIVE
        + f"""
import glob
def test_it(live_target):
    live_target().strike("stop it", ["true"], undo=["touch", "undone"], {SH}, expires="3s")
    (lease,) = glob.glob("drdrill-lease.*")
    for _ in range(2):  # the guard has seen it renewed, and waits for the next time
        while os.path.exists(lease + "/renewed"): time.sleep(0.01)
        while not os.path.exists(lease + "/renewed"): time.sleep(0.01)
    assert not os.path.exists("undone")
"""
    )
    outcome = drills(source, *ALLOWED)
    assert outcome.verdicts == {"test_it": "passed"}
    assert [*pytester.path.glob("drdrill-lease.*")] == []
