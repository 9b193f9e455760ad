import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_drdrill import FaultError, FaultInjector
from pytest_drdrill.faults import processes


@pytest.fixture
def child():
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture
def faults():
    told = []
    injector = FaultInjector([], announce=lambda *event: told.append(event))
    injector.told = told
    return injector


def state(pid):
    """The letter of a process's state, from what follows its name."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def children():
    """The children of this process, zombies too."""
    threads = Path("/proc/self/task").iterdir()
    return {int(pid) for each in threads for pid in (each / "children").read_text().split()}


def told_by_kernel(process, change):
    """Whether a child stops or goes on, soon: it does so when it is next scheduled."""
    patience = time.monotonic() + 30
    while time.monotonic() < patience:
        if os.waitid(os.P_PID, process.pid, change | os.WNOHANG) is not None:
            return True
    return False


def test_killed_process_is_dead_on_return(faults, child):
    fault = faults.kill_process(child)
    assert child.returncode == -signal.SIGKILL
    assert not fault.undoable
    assert faults.told == [("fault", f"killed process {child.pid}")]
    fault.undo()


def test_paused_process_goes_on_when_undone(faults, child):
    fault = faults.pause_process(child)
    assert fault.undoable
    assert told_by_kernel(child, os.WSTOPPED)
    assert faults.told == [("fault", f"paused process {child.pid}")]
    fault.undo()
    assert told_by_kernel(child, os.WCONTINUED)
    child.communicate(b"\n", timeout=60)
    assert child.returncode == 0


def test_pause_is_undone_early_by_with(faults, child):
    with faults.pause_process(child):
        assert told_by_kernel(child, os.WSTOPPED)
    child.communicate(b"\n", timeout=60)
    faults.stack.undo_all()


def test_pause_is_undone_with_the_stack(faults, child):
    faults.pause_process(child)
    faults.stack.undo_all()
    child.communicate(b"\n", timeout=60)
    assert child.returncode == 0


def test_interrupt_right_after_the_pause_leaves_it_to_be_undone(faults, child, monkeypatch):
    def interrupted(signal_number, send=child.send_signal):
        send(signal_number)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(child, "send_signal", interrupted)
        with pytest.raises(KeyboardInterrupt):
            faults.pause_process(child)
    faults.stack.undo_all()
    child.communicate(b"\n", timeout=60)


def test_paused_process_that_died_meanwhile_needs_no_undo(faults, child):
    faults.pause_process(child)
    faults.kill_process(child)
    faults.stack.undo_all()
    assert child.returncode == -signal.SIGKILL


def test_paused_process_has_stopped_on_return(faults, child, monkeypatch):
    # Asked of the kernel, not awaited here: it is stopped before the fault says so.
    answers = []
    real = os.waitid

    def waitid(*args):
        answers.append(real(*args))
        return answers[-1]

    monkeypatch.setattr(os, "waitid", waitid)
    faults.pause_process(child)
    assert [(told.si_pid, told.si_code) for told in answers] == [(child.pid, os.CLD_STOPPED)]
    assert state(child.pid) == "T"
    faults.stack.undo_all()


def test_second_pause_of_one_child_is_refused(faults, child):
    first = faults.pause_process(child)
    for injector in (faults, FaultInjector([])):
        with pytest.raises(FaultError, match=f"process {child.pid} is paused already"):
            injector.pause_process(child)
        assert state(child.pid) == "T"
    first.undo()
    faults.pause_process(child).undo()
    child.communicate(b"\n", timeout=60)
    assert child.returncode == 0


@pytest.mark.parametrize("reaped", [True, False])
def test_child_that_dies_meanwhile_was_not_paused(faults, child, monkeypatch, reaped):
    def die(signal_number):
        os.kill(child.pid, signal.SIGKILL)
        if reaped:
            child.wait()

    with monkeypatch.context() as patch:
        patch.setattr(child, "send_signal", die)
        with pytest.raises(FaultError, match=f"process {child.pid} ended before it was paused"):
            faults.pause_process(child)
    assert faults.told == []
    assert children() == set()
    faults.stack.undo_all()


def test_pause_without_a_watchdog_is_refused(faults, child, monkeypatch):
    def no_shell(*args, **options):
        raise FileNotFoundError(2, "No such file or directory", "/bin/sh")

    with monkeypatch.context() as patch:
        patch.setattr(processes.subprocess.Popen, "__init__", no_shell)
        patch.setattr(processes.subprocess.Popen, "__del__", lambda self: None)
        with pytest.raises(FaultError, match="was not paused, as nothing would let it go on"):
            faults.pause_process(child)
    assert state(child.pid) != "T"
    child.communicate(b"\n", timeout=60)


def test_watchdog_ends_with_the_pause_and_leaves_no_zombie(faults, child):
    fault = faults.pause_process(child)
    (watchdog,) = children() - {child.pid}
    assert os.getsid(watchdog) == watchdog  # neither Ctrl-C nor a hang-up reaches it
    fault.undo()
    fault.undo()
    assert children() == {child.pid}


def test_watchdog_that_was_killed_keeps_nothing_from_being_undone(faults, child):
    fault = faults.pause_process(child)
    (watchdog,) = children() - {child.pid}
    os.kill(watchdog, signal.SIGKILL)
    os.waitid(os.P_PID, watchdog, os.WEXITED | os.WNOWAIT)
    fault.undo()
    assert children() == {child.pid}
    child.communicate(b"\n", timeout=60)


PAUSES = """
import signal, subprocess, sys
from pytest_drdrill import FaultInjector
child = subprocess.Popen(["cat"])  # with the pipes of the test, so that it outlives this process
FaultInjector([]).pause_process(child)
print(child.pid, file=sys.stderr, flush=True)
signal.pause()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_paused_process_goes_on_when_the_one_who_paused_it_is_killed(how):
    with subprocess.Popen(
        [sys.executable, "-c", PAUSES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as drill:
        paused = int(drill.stderr.readline())
        assert state(paused) == "T"
        drill.send_signal(how)
        assert drill.wait() == -how
        # It answers again: no state is polled, and a child that stays frozen runs into the limit.
        drill.stdin.write(b"alive\n")
        drill.stdin.flush()
        ready, _, _ = select.select([drill.stdout], [], [], 60)
        if not ready:
            os.kill(paused, signal.SIGKILL)
        assert ready
        assert drill.stdout.readline() == b"alive\n"
        assert state(paused) != "T"


@pytest.mark.parametrize("name", ["kill_process", "pause_process"])
def test_process_that_has_ended_is_refused(faults, child, name):
    child.communicate(b"\n", timeout=60)
    with pytest.raises(FaultError, match=f"process {child.pid} had ended already with status 0"):
        getattr(faults, name)(child)
    assert faults.told == []
    faults.stack.undo_all()
