import os
import signal
import subprocess
import sys
import time

import pytest

from pytest_drdrill import FaultError, FaultInjector


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


@pytest.mark.parametrize("name", ["kill_process", "pause_process"])
def test_process_that_has_ended_is_refused(faults, child, name):
    child.communicate(b"\n", timeout=60)
    with pytest.raises(FaultError, match=f"process {child.pid} had ended already with status 0"):
        getattr(faults, name)(child)
    assert faults.told == []
    faults.stack.undo_all()
