import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_drdrill import FaultError, FaultInjector
from pytest_drdrill.faults import processes, tree
from pytest_drdrill.faults.journal import Journal
from pytest_drdrill.faults.tree import process_id

OTHERS = set()
"""Children of this process that were there before the test, as servers of a whole session are."""


@pytest.fixture(autouse=True)
def _guardian_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("DRDRILL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(Journal, "_own", None)
    OTHERS.clear()
    OTHERS.update(children())


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
    """The children that this process has had since the test began, zombies too."""
    threads = Path("/proc/self/task").iterdir()
    found = {int(pid) for each in threads for pid in (each / "children").read_text().split()}
    return found - OTHERS


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
    def interrupted(process, signal_number, send=tree.send):
        send(process, signal_number)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tree, "send", interrupted)
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
    # A signal takes its time: here, until somebody has looked whether it has come.
    looks = []

    def look(process, has_stopped=tree.has_stopped):
        looks.append(process.pid)
        if len(looks) == 2:
            child.send_signal(signal.SIGSTOP)
        return has_stopped(process)

    monkeypatch.setattr(tree, "send", lambda process, number: None)
    monkeypatch.setattr(tree, "has_stopped", look)
    faults.pause_process(child)
    assert state(child.pid) == "T"
    assert set(looks) == {child.pid}
    monkeypatch.undo()
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
    def die(process, signal_number):
        if signal_number != signal.SIGSTOP:
            return
        os.kill(child.pid, signal.SIGKILL)
        if reaped:
            child.wait()
        else:
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    with monkeypatch.context() as patch:
        patch.setattr(tree, "send", die)
        with pytest.raises(FaultError, match=f"process {child.pid} ended before it was paused"):
            faults.pause_process(child)
    assert faults.told == []
    assert children() == set()
    faults.stack.undo_all()


def test_pause_without_a_guardian_is_refused(faults, child, monkeypatch):
    def no_shell(*args, **options):
        raise FileNotFoundError(2, "No such file or directory", "/bin/sh")

    with monkeypatch.context() as patch:
        patch.setattr(processes.subprocess.Popen, "__init__", no_shell)
        patch.setattr(processes.subprocess.Popen, "__del__", lambda self: None)
        message = f"nothing was broken, as nothing would put the paused process {child.pid} right"
        with pytest.raises(FaultError, match=message):
            faults.pause_process(child)
    assert state(child.pid) != "T"
    child.communicate(b"\n", timeout=60)


def test_guardian_ends_with_the_pause_and_leaves_no_zombie(faults, child):
    fault = faults.pause_process(child)
    (guardian,) = children() - {child.pid}
    assert os.getsid(guardian) == guardian  # neither Ctrl-C nor a hang-up reaches it
    fault.undo()
    fault.undo()
    assert children() == {child.pid}


def test_guardian_that_was_killed_keeps_nothing_from_being_undone(faults, child):
    fault = faults.pause_process(child)
    (guardian,) = children() - {child.pid}
    os.kill(guardian, signal.SIGKILL)
    os.waitid(os.P_PID, guardian, os.WEXITED | os.WNOWAIT)
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


# -- trees -------------------------------------------------------------------------------------

LEADERS = """
import os, sys
for _ in range(2):
    if os.fork() == 0: os.setsid()  # as the children of PostgreSQL do
os.write(1, b"%d\\n" % os.getpid())
sys.stdin.read()
"""


@pytest.fixture
def family():
    """A child, of which four processes are made, each in a session of its own."""
    command = [sys.executable, "-c", LEADERS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        parent.pids = {int(parent.stdout.readline()) for _ in range(4)}
        processes = [process_id(pid) for pid in parent.pids]
        yield parent
        for each in processes:
            tree.send(each, signal.SIGKILL)


def all_end(family):
    """Whether all of them do once their input ends: each holds the output."""
    family.stdin.close()
    ready, _, _ = select.select([family.stdout], [], [], 60)
    return bool(ready) and family.stdout.read() == b""


def test_whole_tree_is_dead_on_return(faults, family):
    fault = faults.kill_tree(family)
    assert family.returncode == -signal.SIGKILL
    assert not any(map(process_id, family.pids))
    assert faults.told == [("fault", f"killed process {family.pid} and its tree, 4 processes")]
    assert not fault.undoable


def test_whole_tree_has_stopped_on_return_and_goes_on_when_undone(faults, family):
    fault = faults.pause_tree(family)
    assert {state(pid) for pid in family.pids} == {"T"}
    what = f"paused process {family.pid} and its tree"
    assert faults.told == [("fault", f"{what}, 4 processes")]
    fault.undo()
    assert faults.told[1:] == [("fault undone", what)]
    assert all_end(family)


def test_orphans_of_a_paused_tree_go_on_too(faults, family):
    faults.pause_tree(family)
    faults.kill_process(family)
    assert {state(pid) for pid in family.pids - {family.pid}} == {"T"}
    faults.stack.undo_all()
    assert all_end(family)


def test_process_is_paused_once_alone_or_with_its_tree(faults, family):
    with faults.pause_tree(family):
        for again in (faults.pause_tree, faults.pause_process):
            with pytest.raises(FaultError, match=f"process {family.pid} is paused already"):
                again(family)
    with faults.pause_process(family):
        assert [state(pid) == "T" for pid in family.pids].count(True) == 1


def test_process_that_obeys_no_signal_is_told(faults, family, monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(tree, "has_stopped", lambda process: False)
        with pytest.raises(FaultError, match=r"process \d+ did not obey a signal within 0 s"):
            faults.pause_tree(family)
    assert faults.told == []
    assert all_end(family)


FORKS_AND_DIES = """
import os, signal, subprocess, sys
from pytest_drdrill import FaultInjector
child = subprocess.Popen(["cat"])  # with the pipes of the test, so that it outlives this process
FaultInjector([]).pause_process(child)
if os.fork() == 0:
    signal.pause()  # a fork that lives on
print(child.pid, file=sys.stderr, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_fork_that_lives_on_keeps_nothing_from_being_put_right():
    with subprocess.Popen(
        [sys.executable, "-c", FORKS_AND_DIES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as drill:
        drill.stderr.readline()
        drill.wait()
        drill.stdin.write(b"alive\n")
        drill.stdin.flush()
        ready, _, _ = select.select([drill.stdout], [], [], 60)
        os.killpg(drill.pid, signal.SIGKILL)  # the fork, and what is frozen still
        assert ready
        assert drill.stdout.readline() == b"alive\n"


@pytest.mark.parametrize("name", ["kill_process", "kill_tree", "pause_process", "pause_tree"])
def test_process_that_has_ended_is_refused(faults, child, name):
    child.communicate(b"\n", timeout=60)
    with pytest.raises(FaultError, match=f"process {child.pid} had ended already with status 0"):
        getattr(faults, name)(child)
    assert faults.told == []
    faults.stack.undo_all()
