import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import pytest

from needs import needs_root
from pytest_drdrill import ComponentMissing, ScratchServer, ServerFailed
from pytest_drdrill.faults.journal import Journal, recover
from pytest_drdrill.faults.tree import process_id, tree_of
from pytest_drdrill.live.account import Account, server_account
from pytest_drdrill.live.ports import accepts, free_port
from pytest_drdrill.live.programs import program

SERVER = """
import os, socket, sys, time
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    if os.fork() == 0:
        os.setsid()  # as the children of PostgreSQL do
        if os.fork() == 0:
            os.setsid()
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("DRDRILL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(Journal, "_own", None)


@pytest.fixture
def server():
    with ScratchServer("echo") as server:
        yield server


def start(server, port=None):
    port = free_port() if port is None else port
    python = sys.executable if server.account.may_run(sys.executable) else "/usr/bin/python3"
    server.start([python, "-c", SERVER, str(port)], lambda: server.tail().count("up") == 3)
    return port


def tree(server):
    return tree_of(process_id(server.process.pid))


def states(ids):
    texts = (Path(f"/proc/{each.pid}/stat").read_text() for each in ids)
    return {text.rpartition(")")[2].split()[0] for text in texts}


def soon(check):
    patience = time.monotonic() + 30
    while not check():
        assert time.monotonic() < patience
        time.sleep(0.002)


def test_a_server_is_killed_with_children_that_lead_sessions_and_starts_again(server):
    port = start(server)
    ids = tree(server)
    assert len(ids) == 3
    assert len({os.getsid(each.pid) for each in ids}) == 3
    server.kill()
    soon(lambda: not any(each.is_alive for each in ids))
    assert server.process.returncode == -signal.SIGKILL
    assert not server.is_running
    assert not accepts(port)
    server.kill()
    start(server, port)
    assert server.is_running


def test_a_paused_server_accepts_and_answers_nothing_until_it_is_resumed(server):
    port = start(server)
    server.pause()
    soon(lambda: states(tree(server)) == {"T"})
    assert server.is_paused
    assert accepts(port)  # by the kernel, as with a machine that hangs
    server.resume()
    soon(lambda: states(tree(server)) == {"S"})
    assert not server.is_paused
    server.pause()
    server.kill()
    assert not server.is_paused


def test_a_server_that_is_asked_to_end_does_or_is_killed(server):
    start(server)
    ids = tree(server)
    server.stop()
    assert server.process.returncode == -signal.SIGTERM
    assert not any(each.is_alive for each in ids)  # those too that it has left behind
    start(server)
    server.pause()
    server.stop()
    assert server.process.returncode == -signal.SIGKILL


def test_a_server_is_restarted_as_it_was_started(server):
    with pytest.raises(ServerFailed, match="echo was never started, so it can't be started again"):
        server.restart()
    port = start(server)
    first, ids = server.process, tree(server)
    away = server.restart()
    assert timedelta(0) < away < timedelta(minutes=2)
    assert first.returncode == -signal.SIGTERM
    assert not any(each.is_alive for each in ids)  # its children too, who did not hear of it
    assert server.process.pid != first.pid
    assert server.process.args == first.args
    assert accepts(port)
    assert server.tail().count("up") == 3  # it was ready
    second = server.process
    server.pause()
    server.restart()
    assert second.returncode == -signal.SIGKILL
    assert not server.is_paused
    server.kill()
    server.restart()
    assert server.is_running


def test_what_a_server_wrote_says_why_it_did_not_start(server):
    with pytest.raises(ServerFailed, match=r"echo ended with status 3; the end of its log:\nno ro"):
        server.start(["/bin/sh", "-c", "echo no room; exit 3"], lambda: False)
    with pytest.raises(ServerFailed, match=r"echo was not ready within 10ms$"):
        server.start(["/bin/sleep", "600"], lambda: False, timeout=0.01)
    assert not server.is_running
    with pytest.raises(ServerFailed, match="/no/such: No such file or directory"):
        server.start(["/no/such"], lambda: True)
    with pytest.raises(ServerFailed, match="does not run, so it can't be paused"):
        server.pause()
    start(server)
    with pytest.raises(ServerFailed, match="runs already"):
        start(server)


def test_a_server_never_runs_as_root_and_owns_its_folder_alone(server):
    start(server)
    uid = Path(f"/proc/{server.process.pid}").stat().st_uid
    assert uid == server.account.uid == server.folder.stat().st_uid != 0
    assert server.folder.stat().st_mode & 0o777 == 0o700
    server.close()
    assert not server.folder.exists()
    server.close()


def test_root_has_an_ordinary_user_run_servers():
    needs_root()
    assert server_account("no-such-user", "root").name == "nobody"
    account = server_account("daemon")
    assert (account.name, account.is_us) == ("daemon", False)


def test_what_is_in_a_closed_folder_can_not_be_run_by_others(tmp_path):
    tool = tmp_path / "tool"
    tool.touch(mode=0o755)
    tmp_path.chmod(0o700)
    other = Account(os.geteuid() + 1, os.getegid() + 1, "other")
    assert not other.may_run(tool)
    assert Account(os.geteuid(), os.getegid(), "us").may_run(tool)


def test_what_a_closed_folder_leads_to_can_not_be_run_by_others():
    # As Python of a virtual environment, which is a link to the system's.
    other = Account(os.geteuid() + 1, os.getegid() + 1, "other")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "closed").mkdir()
        for link, target in (
            ("open", "/bin/sh"),
            ("closed/link", "/bin/sh"),
            ("through", "closed/link"),
            ("folder", "closed"),
            ("up", "closed/../open"),
        ):
            (folder / link).symlink_to(target)
        assert other.may_run(folder / "open")
        assert other.may_run(folder / "closed" / "link")
        (folder / "closed").chmod(0o700)
        assert other.may_run(folder / "open")
        for link in ("closed/link", "through", "folder/link", "up"):
            assert not other.may_run(folder / link)
        (folder / "round").symlink_to("round")
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            other.may_run(folder / "round")


def test_a_missing_program_is_named_with_what_to_install(tmp_path):
    tool = tmp_path / "pg_tool"
    tool.touch(mode=0o755)
    assert program("pg_tool", "apt-get install x", [tmp_path]) == str(tool)
    with pytest.raises(ComponentMissing) as caught:
        program("no-such-tool", "apt-get install tool")
    assert str(caught.value) == "this machine lacks no-such-tool; install it: apt-get install tool"


KILLED = """
import os, sys
from pytest_drdrill import ScratchServer
from pytest_drdrill.faults.journal import Journal
from pytest_drdrill.faults.tree import process_id, tree_of
server = ScratchServer("echo")
server.start(sys.argv[1:], lambda: "up" in server.tail())
ids = tree_of(process_id(server.process.pid))
print(server.folder, *(each.pid for each in ids), flush=True)
Journal.own()._guardian._shell.kill()  # which would be as quick as who comes next
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_run_leaves_is_ended_and_removed_by_the_next_one(server):
    command = [sys.executable, "-c", KILLED, "/bin/sh", "-c", "sleep 600 & echo up; wait"]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert run.returncode == -signal.SIGKILL
    folder, *pids = run.stdout.split()
    ids = [process_id(int(pid)) for pid in pids]
    start(server)
    recovery = recover()
    assert recovery.failed == ()
    assert recovery.done == (f"echo, process {pids[0]}", f"the folder of echo, {folder}")
    soon(lambda: not any(each is not None and each.is_alive for each in ids))
    assert not Path(folder).exists()
    assert server.is_running  # its owner lives
    assert recover() == ((), ())
