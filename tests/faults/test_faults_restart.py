"""A child that is restarted: the new one is what the old one was, and ends with the drill."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from needs import needs_root
from pytest_drdrill import FaultError, FaultInjector, FaultNotPermitted, RestartedProcess
from pytest_drdrill.faults import started
from pytest_drdrill.faults.journal import Journal
from pytest_drdrill.faults.tree import process_id

SERVICE = """
import os, signal, sys
children = []
{}
print(
    os.getpid(), os.getcwd(), os.environ.get("COLOUR"), *sys.argv[1:], *children, flush=True
)
for line in sys.stdin: print("got", line.strip(), flush=True)
"""
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
POLITE = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))"
WITH_CHILDREN = """
for _ in range(2):
    children.append(os.fork())
    if children[-1] == 0:
        os.setsid()
        signal.alarm(60)
        while True: signal.pause()
"""


@pytest.fixture
def begin():
    """Starts services that say who they are, and what they get; they are killed in the end."""
    made = []

    def begin(how="", *arguments, **options):
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True} | options
        command = options.pop("command", [sys.executable, "-c", SERVICE.format(how), *arguments])
        made.append(subprocess.Popen(command, **options))
        return made[-1]

    yield begin
    for each in made:
        each.kill()
        each.wait()
        for stream in (each.stdin, each.stdout, each.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def faults(begin):  # what it made ends before that, and lets go of the streams
    told = []
    injector = FaultInjector([], announce=lambda *event: told.append(event))
    injector.told = told
    yield injector
    injector.stack.undo_all()


def says(process):
    return process.stdout.readline().split()


def family(said):
    """A service with children, as it has told of them."""
    return [process_id(int(each)) for each in (said[0], *said[3:])]


def soon(check):
    patience = time.monotonic() + 30
    while not check():
        assert time.monotonic() < patience
        time.sleep(0.002)


@pytest.mark.parametrize("text", [True, False])
def test_new_child_is_what_the_old_one_was(faults, begin, tmp_path, text):
    environment = {"COLOUR": "red", "PATH": os.environ["PATH"]}
    old = begin(POLITE, "a b", "c", cwd=tmp_path, env=environment, text=text)
    before = says(old)
    restarted = faults.restart_process(old, grace="1m")
    new = restarted.process
    after = says(new)
    assert after[1:] == before[1:]
    assert [str(each) for each in after[1:]] == (
        [str(tmp_path), "red", "a", "b", "c"]
        if text
        else [str(each.encode()) for each in (str(tmp_path), "red", "a", "b", "c")]
    )
    assert int(after[0]) == new.pid != old.pid
    assert new.args == old.args
    new.stdin.write("7\n" if text else b"7\n")
    new.stdin.flush()
    assert says(new) == (["got", "7"] if text else [b"got", b"7"])
    assert isinstance(restarted, RestartedProcess)
    assert restarted.undoable
    assert restarted.status == old.returncode == 7
    assert timedelta(0) < restarted.away < timedelta(minutes=1)
    assert faults.told == [
        ("fault", f"restarting process {old.pid}"),
        ("restarted", f"process {old.pid}, after status 7, is process {new.pid} now"),
    ]
    # And once more.
    third = faults.restart_process(new).process
    assert says(third)[1:] == before[1:]
    told, _ = third.communicate("8\n" if text else b"8\n", timeout=60)
    assert told == ("got 8\n" if text else b"got 8\n")


def test_new_child_ends_with_the_drill_and_with_all_that_it_started(faults, begin):
    old = begin(WITH_CHILDREN, start_new_session=True)
    first = family(says(old))
    assert all(first)
    assert len(first) == 3
    restarted = faults.restart_process(old)
    assert not any(each.is_alive for each in first)  # those too that lead a session of their own
    new = restarted.process
    second = family(says(new))
    assert all(second)
    assert os.getsid(new.pid) == new.pid
    restarted.undo()
    assert new.returncode == -signal.SIGKILL
    soon(lambda: not any(each.is_alive for each in second))
    assert faults.told[2:] == [("fault undone", f"restarted process {old.pid}")]
    assert not Journal.own().path.exists()
    restarted.undo()
    faults.stack.undo_all()


def test_new_child_that_has_ended_needs_no_undo(faults, begin):
    with faults.restart_process(begin()) as restarted:
        restarted.process.communicate()
        assert restarted.process.returncode == 0


def test_deaf_child_is_killed_after_the_grace(faults, begin):
    old = begin(DEAF)
    says(old)
    restarted = faults.restart_process(old, grace="50ms")
    assert restarted.status == -signal.SIGKILL
    assert restarted.away >= timedelta(milliseconds=50)
    told = faults.told[1][1]
    assert told.startswith(f"process {old.pid}, killed, as it had not ended within 50ms, is proc")


def test_paused_child_hears_nothing_and_the_new_one_is_not_paused(faults, begin):
    old = begin(POLITE)
    says(old)
    faults.pause_process(old)
    restarted = faults.restart_process(old, grace=timedelta(milliseconds=20))
    assert restarted.status == -signal.SIGKILL
    assert says(restarted.process)[0] == str(restarted.process.pid)


def test_without_grace_it_is_killed_at_once(faults, begin):
    old = begin(POLITE)
    says(old)
    restarted = faults.restart_process(old, grace="0s")
    assert restarted.status == -signal.SIGKILL
    new = restarted.process
    assert faults.told[1][1] == f"process {old.pid}, killed, is process {new.pid} now"


def test_output_goes_on_in_the_file_that_it_went_to(faults, begin, tmp_path):
    log = tmp_path / "log"
    with log.open("w") as file:
        old = begin(stdout=file, stderr=subprocess.STDOUT)
    soon(lambda: log.read_text().count("\n") == 1)
    faults.restart_process(old)
    soon(lambda: log.read_text().count("\n") == 2)
    first, second = log.read_text().splitlines()
    assert first.split()[1:] == second.split()[1:]


def test_pipe_that_nobody_reads_any_more_is_waited_for_by_nobody(faults, begin, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with fifo.open("w") as file:
        old = begin(stdout=file)
    assert select.select([reader], [], [], 60)[0]
    os.close(reader)
    with pytest.raises(FaultError, match=r"was not restarted, .*/fd/1: No such device or address"):
        faults.restart_process(old)
    assert old.poll() is None
    assert faults.told == []
    # One without a name breaks for the new one as for the old one.
    old = begin(POLITE, stderr=subprocess.PIPE)
    says(old)
    old.stderr.close()
    assert says(faults.restart_process(old).process)


def test_streams_that_are_ours_or_closed_or_nothing(faults, begin, capfd):
    sleeps = "import os, time; os.close(0); print('up', flush=True); time.sleep(600)"
    command = [sys.executable, "-c", sleeps]
    old = begin(command=command, stdin=None, stdout=None, stderr=subprocess.DEVNULL)
    out = []

    def up(count):
        out.append(capfd.readouterr().out)
        return "".join(out).count("up") == count

    soon(lambda: up(1))
    new = faults.restart_process(old).process
    soon(lambda: up(2))
    names = [Path(f"/proc/{new.pid}/fd/{number}").readlink() for number in (1, 2)]
    assert names == [Path("/proc/self/fd/1").readlink(), Path(os.devnull)]


def test_stream_that_is_ours_may_be_anything(faults, begin):
    ours, theirs = socket.socketpair()
    stdin = os.dup(0)
    with ours, theirs:
        try:
            os.dup2(theirs.fileno(), 0)
            old = begin(stdin=None)
            says(old)
            new = faults.restart_process(old).process
        finally:
            os.dup2(stdin, 0)
            os.close(stdin)
        says(new)
        ours.sendall(b"7\n")
        assert says(new) == ["got", "7"]


@pytest.mark.parametrize(
    "line", ["echo $0; exec cat", "echo sh; cat; true", ["echo sh; cat; true"]]
)
def test_line_for_the_shell_is_one_again(faults, begin, line):
    old = begin(command=line, shell=True)
    assert old.stdout.readline()
    new = faults.restart_process(old).process
    assert new.stdout.readline().endswith("sh\n")
    new.stdin.write("hello\n")
    new.stdin.flush()
    assert new.stdout.readline() == "hello\n"


def test_start_of_the_users_own(faults, begin, monkeypatch):
    monkeypatch.setattr(started, "_PROC", Path("/no/proc"))
    old = begin("", "old")
    says(old)
    # Whoever starts it knows how; nothing is read of the old one.
    new = faults.restart_process(old, lambda: begin("", "new")).process
    assert says(new)[-1] == "new"
    assert new.stdout is not old.stdout
    with pytest.raises(FaultNotPermitted, match="restart_process is not permitted on this machine"):
        faults.restart_process(new)
    assert new.poll() is None
    assert "pass start=" in faults.permits("restart_process")


def test_what_is_not_known_is_refused_before_anything_ends(faults, begin, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        cases = {
            "its folder is gone, ": begin(cwd=gone),
            "its stdout is a socket": begin(stdout=theirs, stderr=None),
        }
        says(cases["its folder is gone, "])
        gone.rmdir()
        for why, old in cases.items():
            with pytest.raises(FaultError) as refused:
                faults.restart_process(old)
            assert re.fullmatch(
                f"process {old.pid} was not restarted, since how to start it again is not known: "
                f"{why}.*; pass start=, which starts it and returns the new child",
                str(refused.value),
            )
            assert old.poll() is None
    assert faults.told == []
    assert not Journal.own().path.exists()


def test_child_of_another_user_is_refused(faults, begin):
    needs_root()
    old = begin(command=["/bin/cat"], user=65534, extra_groups=[])
    with pytest.raises(FaultError, match="it runs as another user; pass start="):
        faults.restart_process(old)
    assert old.poll() is None


def test_overwritten_environment_is_refused(faults, begin, monkeypatch):
    old = begin(env={"COLOUR": "red", "PATH": os.environ["PATH"]})
    says(old)
    real = Path.read_bytes

    def read(path):
        return b"d --port=80\0\0\0\0" if path.name == "environ" else real(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    with pytest.raises(FaultError, match="it has overwritten its environment; pass start="):
        faults.restart_process(old)
    assert old.poll() is None


@pytest.mark.parametrize("grace", [5, "soon", None])
def test_grace_is_a_duration(faults, begin, grace):
    old = begin()
    with pytest.raises(FaultError, match=r"grace: .*"):
        faults.restart_process(old, grace=grace)
    assert old.poll() is None


def test_start_that_fails_says_that_the_old_one_has_ended(faults, begin, tmp_path):
    program = tmp_path / "service"
    program.symlink_to("/bin/cat")
    old = begin(command=[str(program)])
    program.unlink()
    message = f"process {old.pid} has ended, and was not started again: .*service: No such file"
    with pytest.raises(FaultError, match=message) as caught:
        faults.restart_process(old)
    assert caught.value.__suppress_context__  # whose frames hold the environment
    assert old.returncode == -signal.SIGTERM
    same, other = begin(), begin()
    for child, returned in ((same, same), (other, 7)):
        with pytest.raises(FaultError, match=r"has ended, and start= returned .*, not the new chi"):
            faults.restart_process(child, lambda returned=returned: returned)
    with pytest.raises(FaultError, match=f"process {old.pid} had ended already"):
        faults.restart_process(old)
    assert not Journal.own().path.exists()


KILLED = """
import os, signal, subprocess, sys
from pytest_drdrill import FaultInjector
child = subprocess.Popen(["sleep", "100"], stdout=subprocess.DEVNULL)
new = FaultInjector([]).restart_process(child).process
print(new.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_new_child_does_not_outlive_a_killed_run():
    done = subprocess.run([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, check=False)
    assert done.returncode == -signal.SIGKILL
    number = int(done.stdout)
    soon(lambda: process_id(number) is None)
