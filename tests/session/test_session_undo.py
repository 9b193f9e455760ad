"""Whatever ends a drill: nothing that it broke stays broken, nothing that it made stays there."""

import json
import os
import signal

import pytest
from leaks import Leaks

BREAKS = """
import subprocess, sys
from pathlib import Path
from pytest_drdrill.faults.cgroups import hierarchy
from pytest_drdrill.faults.journal import Journal

CHILD = "import os, sys; os.fork(); os.fork(); sys.stdin.read()"

@pytest.fixture
def broken(faults, scratch_network, tmp_path):
    # Children that read until the run ends, which they do not notice while they are frozen.
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE) for _ in range(3)
    ]
    faults.pause_process(children[0])
    faults.pause_tree(children[1])
    if faults.permits("slow_process") is None:
        faults.slow_process(children[2])
        Path("groups").write_text(str(hierarchy().group_of(children[2].pid)))
        faults.pause_tree(children[2])
    config = Path(CONFIG)
    (tmp_path / "config").mkdir()
    settings = tmp_path / "config" / "settings"
    os.link(config, settings)
    Path("named").write_text(str(settings))
    faults.wrong_config(settings, "nonsense")
    faults.leak_files(settings)
    if faults.permits("small_disk") is None:
        disk = faults.small_disk("256KiB")
        (disk.path / "held").touch()
        held = open(disk.path / "held")
        faults.fill_disk(disk)
    try:
        network = scratch_network("a", "b")
    except PreconditionNotMet:
        pass
    else:
        Path("networks").write_text(network.name)
        network.partition("a")
        with network["a"].within():  # in the background, as daemons are
            subprocess.run(["/bin/sh", "-c", "setsid sleep 600 >/dev/null 2>&1 &"], check=True)
    Path("broken").touch()
    yield
    for child in children:
        child.communicate(timeout=60)  # for ever, were it frozen still
    if faults.permits("small_disk") is None: held.close()
    assert settings.samefile(config)
    Path("mended").touch()

pytestmark = pytest.mark.dr_service("x")
"""
ENDS = {
    "pass": "def test_it(broken): pass",
    "fail": "def test_it(broken): assert 0",
    "skip": "def test_it(broken): pytest.skip('half way')",
    "interrupt": "def test_it(broken): os.kill(os.getpid(), signal.SIGINT); time.sleep(60)",
    "terminate": "def test_it(broken): os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)",
    "first failure": "def test_it(broken): assert 0\ndef test_other(): Path('went on').touch()",
}
KILL = "def test_it(broken): os.kill(os.getpid(), signal.SIGKILL)"
NEXT = "def test_next(): pass"
TOLD = "drdrill: put right what a killed run had left: "


@pytest.fixture
def leaks(pytester, monkeypatch):
    found = Leaks(pytester.path)
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def run(pytester, drills):
    """Runs drills on a service whose settings must be there afterwards, the very same."""
    config = pytester.path / "settings"
    config.write_text("port = 5432")
    os.utime(config, (1, 2))
    status = config.stat()

    def run(source, *args, mode="no-xdist"):
        # The settings file of the drill is another name of this one.
        head = BREAKS.replace("CONFIG", repr(str(config)))
        outcome = drills(head + source, *args, mode=mode, subprocess=True)
        assert (pytester.path / "broken").exists()
        assert config.read_text() == "port = 5432"
        assert (config.stat().st_mtime, config.stat().st_mode) == (2, status.st_mode)
        return outcome

    return run


@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left_behind(run, leaks, pytester, end):
    outcome = run(ENDS[end], *(["-x"] if end == "first failure" else []))
    assert (pytester.path / "mended").exists()
    assert not (pytester.path / "went on").exists()
    assert leaks.left() == []
    assert not leaks.owed.exists()
    assert outcome.ret == {"pass": 0, "skip": 0, "fail": 1, "first failure": 1}.get(end, 2)


ENDED = """
from pathlib import Path
@pytest.fixture
def server():
    yield
    Path("ended").touch()
{}
def test_it(server): os.kill(os.getpid(), signal.{}); time.sleep(60)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signal_ends_a_session_with_drills_as_ctrl_c_does(drills, pytester, name):
    source = ENDED.format('@pytest.mark.dr_service("x")', name)
    number = signal.Signals[name]
    before = signal.signal(number, signal.SIG_DFL)  # below nohup, what we start would ignore it
    try:
        outcome = drills(source, subprocess=True)
    finally:
        signal.signal(number, before)
    assert outcome.ret == pytest.ExitCode.INTERRUPTED
    assert (pytester.path / "ended").exists()
    assert outcome.verdicts == {"test_it": "failed"}
    assert f"Terminated: ended by {name}" in outcome.text


def test_signal_ends_a_session_without_drills_as_ever(drills, pytester):
    assert drills(ENDED.format("", "SIGTERM"), subprocess=True).ret == -signal.SIGTERM
    assert not (pytester.path / "ended").exists()


def test_killed_run_is_put_right_at_once_and_the_next_one_tells(run, leaks, drills):
    assert run(KILL).ret == -signal.SIGKILL
    assert leaks.none_soon() == []
    (word,) = leaks.owed.glob("*.jsonl")
    assert {each for line in word.read_text().splitlines() for each in json.loads(line)} == {"done"}
    text = drills(NEXT, report=False).text
    (told,) = [line for line in text.splitlines() if line.startswith(TOLD)]
    assert told.count("the paused process") >= 5
    assert "the text of " in told
    assert "leaked files, " in told
    assert not leaks.owed.exists()
    assert "drdrill:" not in drills(NEXT, report=False).text


def test_next_run_puts_right_what_no_guardian_did(run, leaks, drills):
    source = """
def test_it(broken):
    Journal.own()._guardian._shell.kill()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    # Children that are still frozen hold the output of the run, for which its end would wait.
    assert run(source, "-s").ret == -signal.SIGKILL
    assert leaks.left() != []
    # Put right before anything runs, and told at the end.
    source = """
from pathlib import Path
def test_next(): assert Path(Path("named").read_text()).read_text() == "port = 5432"
"""
    outcome = drills(source, report=False)
    outcome.result.assert_outcomes(passed=1)
    assert TOLD in outcome.text
    assert leaks.none_soon() == []  # what was frozen ends by itself
    assert not leaks.owed.exists()


def test_what_a_killed_worker_had_broken_is_put_right_and_told_by_the_controller(run, leaks):
    # Before the next worker begins, whether or not there is a guardian.
    source = """
def test_it(broken):
    Journal.own()._guardian._shell.kill()
    os.kill(os.getpid(), signal.SIGKILL)
def test_next():
    assert Path(Path("named").read_text()).read_text() == "port = 5432"
"""
    outcome = run(source, "-n1", mode="n2")
    assert "crashed while running" in outcome.drills["test_it"]["error"]
    assert outcome.verdicts["test_next"] == "passed"
    assert leaks.none_soon() == []
    assert not leaks.owed.exists()
    (told,) = [line for line in outcome.text.splitlines() if line.startswith(TOLD)]
    assert "the text of " in told


def test_what_can_not_be_put_right_is_one_sentence_and_tried_again(leaks, drills):
    leaks.owed.mkdir(parents=True)
    deed = {
        "owed": 1,
        "do": "put back",
        "what": "the text of x",
        "path": "/dev/null/x",
        "other": "y",
    }
    (leaks.owed / "0-1-1.jsonl").write_text(json.dumps(deed))
    for _ in range(2):
        outcome = drills(NEXT, report=False)
        (told,) = [line for line in outcome.text.splitlines() if "drdrill:" in line]
        assert told == (
            "ERROR: drdrill: could not put right what a killed run had left: "
            "the text of x: Not a directory"
        )
        assert outcome.ret == 0
    leaks.owed.parent.chmod(0o777)
    text = drills(NEXT, report=False).text
    assert "ERROR: drdrill: could not put right" in text
    assert "can be written to by others; remove it, or chmod 700 it" in text


def test_killed_controller_leaves_nothing_either(run, leaks):
    # Its workers end some seconds later, as execnet has it.
    source = "def test_it(broken): os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)"
    assert run(source, "-n1", mode="n2").ret == -signal.SIGKILL
    assert leaks.none_soon() == []


def test_terminated_controller_ends_its_workers_and_tells_of_their_drills(run, leaks):
    source = """
def test_before(): pass
def test_it(broken): os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)
"""
    outcome = run(source, "-n1", mode="n2")
    assert outcome.ret == pytest.ExitCode.INTERRUPTED
    assert outcome.verdicts["test_before"] == "passed"
    assert outcome.verdicts["test_it"] != "passed"
    assert leaks.none_soon() == []
    assert not leaks.owed.exists()
