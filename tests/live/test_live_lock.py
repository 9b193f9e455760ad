"""Locks and records: one drill at a time on a target, and what it left is never forgotten."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import pytest

from pytest_drdrill import LiveRefused, TargetHeld
from pytest_drdrill.live.left import LeftBehind
from pytest_drdrill.live.lock import TargetLock

NOW = timedelta(0)
ABOUT = {"nodeid": "test_a.py::test_first", "pid": 7, "since": "2026-03-01T02:00:00.000Z"}


def lock(folder, keys, about=ABOUT):
    return TargetLock(folder, keys, about)


def test_who_comes_second_is_told_who_holds_it(tmp_path):
    first, second = lock(tmp_path / "new", {"db:1": False}), lock(tmp_path / "new", {"db:1": False})
    first.acquire(NOW)
    with pytest.raises(TargetHeld) as caught:
        second.acquire(NOW)
    assert str(caught.value) == (
        "db:1 is held by test_a.py::test_first (process 7, since 2026-03-01T02:00:00.000Z)"
    )
    first.release()
    second.acquire(NOW)
    second.release()


def test_all_are_held_or_none(tmp_path):
    first, second = lock(tmp_path, {"b": False}), lock(tmp_path, {"a": False, "b": False})
    first.acquire(NOW)
    told = []
    with pytest.raises(TargetHeld, match="still after 1ms"):
        second.acquire(timedelta(milliseconds=1), told.append)
    assert len(told) == 1
    third = lock(tmp_path, {"a": False})
    third.acquire(NOW)
    third.release()
    first.release()


def test_shared_ones_exclude_only_who_wants_it_alone(tmp_path):
    first, second = lock(tmp_path, {"db": True}), lock(tmp_path, {"db": True})
    first.acquire(NOW)
    second.acquire(NOW)
    with pytest.raises(TargetHeld):
        lock(tmp_path, {"db": False}).acquire(NOW)
    first.release()
    second.release()


def test_it_ends_with_its_process_however_that_ends(tmp_path):
    code = f"""
import os, pathlib, datetime
from pytest_drdrill.live.lock import TargetLock
about = {{"nodeid": "test_it", "pid": os.getpid(), "since": "now"}}
lock = TargetLock(pathlib.Path({str(tmp_path)!r}), {{"db": False}}, about)
lock.acquire(datetime.timedelta(0))
print("held", flush=True)
os.read(0, 1)
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(
        TargetHeld, match=rf"db is held by test_it \(process {holder.pid}, since now\)"
    ):
        lock(tmp_path, {"db": False}).acquire(NOW)
    holder.kill()
    holder.communicate()
    again = lock(tmp_path, {"db": False})
    again.acquire(NOW)
    again.release()


def test_names_of_any_length_and_kind_are_locked(tmp_path):
    long = "/" + "x" * 5_000
    held = lock(tmp_path, {long: False, "/": True, "[::1]:5432": False, "/\udcff": False})
    held.acquire(NOW)
    with pytest.raises(TargetHeld):
        lock(tmp_path, {long: False}).acquire(NOW)
    held.release()


def test_folder_that_takes_no_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LiveRefused, match=r"no target can be locked in .*DRDRILL_STATE"):
        lock(tmp_path / "file", {"db": False}).acquire(NOW)
    with pytest.raises(LiveRefused, match=r"can't be kept in .*DRDRILL_STATE"):
        LeftBehind(tmp_path / "file").write(record())


def record(**changes):
    return {
        "nodeid": "test_a.py::test_first",
        "root": "/project",
        "pid": 7,
        "started": "2026-03-01T02:00:00.000Z",
        "targets": [{"address": "db:1", "breaks": "stops it", "undone_by": "starts it"}],
        "keys": {"db:1": False, "db": True},
        "state": "running",
        "done": [],
        "left": [],
    } | changes


@pytest.fixture
def left(tmp_path):
    return LeftBehind(tmp_path / "drills")


def test_nothing_left_refuses_nobody(left):
    left.refuse("test_a.py::test_first", "/project", {"db:1": False})
    left.write(record())
    left.remove(record())
    left.remove(record())
    left.refuse("test_a.py::test_first", "/project", {"db:1": False})


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("running", "was killed, with all that would have undone its faults"),
        ("undo failed", "could not undo all of its faults"),
        ("died", "was killed before it ended"),
        ("stuck", "did not end when it had to"),
    ],
)
def test_target_that_was_left_broken_is_left_alone(left, state, said):
    left.write(record(state=state, left=["stop it (exit status 1)"], done=["pause it"]))
    with pytest.raises(LiveRefused) as caught:
        left.refuse("test_b.py::test_other", "/other", {"db:1": False, "db": True})
    begun = "test_a.py::test_first, begun 2026-03-01T02:00:00.000Z, "
    assert str(caught.value).startswith(f"{begun}{said}")
    assert "db:1 (it stops it; undone by: starts it)" in str(caught.value)
    assert "not undone: stop it (exit status 1); undone since: pause it" in str(caught.value)
    assert str(caught.value).endswith("--dr-acknowledge=test_a.py::test_first")
    left.refuse("test_b.py::test_other", "/other", {"db:2": False, "db": True})


def test_drill_is_refused_on_another_target_too_unless_that_one_still_runs(left):
    left.write(record(state="running"))
    left.refuse("test_a.py::test_first", "/project", {"other:1": False})
    left.write(record(state="died"))
    with pytest.raises(LiveRefused):
        left.refuse("test_a.py::test_first", "/project", {"other:1": False})
    left.refuse("test_a.py::test_first", "/elsewhere", {"other:1": False})


def test_acknowledged_once_it_may_run_again(left, tmp_path):
    left.write(record(state="died"))
    with pytest.raises(ValueError, match=r"test_b left nothing behind; .*: test_a.py::test_first"):
        left.acknowledge("test_b", tmp_path / "locks")
    running = lock(tmp_path / "locks", record()["keys"])
    running.acquire(NOW)
    with pytest.raises(TargetHeld):
        left.acknowledge("test_a.py::test_first", tmp_path / "locks")
    running.release()
    left.acknowledge("test_a.py::test_first", tmp_path / "locks")
    assert list(left.all()) == []
    with pytest.raises(ValueError, match="drills that did: none"):
        left.acknowledge("test_a.py::test_first", tmp_path / "locks")


def test_records_are_for_their_owner_alone(left):
    left.write(record())
    assert left.path(record()).parent.stat().st_mode & 0o077 == 0
    assert [*left.path(record()).parent.iterdir()] == [left.path(record())]
