import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_drdrill import UndoStack
from pytest_drdrill.faults.journal import Journal, Owed, journal_folder, owe, recover
from pytest_drdrill.faults.tree import process_id
from pytest_drdrill.state import state_folder

DEAD = "0-1-1"


def removal(path):
    return Owed("remove", f"the file {path.name}", path=str(path))


def left_by_a_dead_run(*records, mark=DEAD):
    journal_folder().mkdir(exist_ok=True)
    path = journal_folder() / f"{mark}.jsonl"
    path.write_text("".join(records))
    return path


def line(number, path):
    return json.dumps({"owed": number, "do": "remove", "what": path.name, "path": str(path)}) + "\n"


def test_a_journal_is_on_disk_only_while_something_is_owed(tmp_path):
    journal = Journal.own()
    first = journal.owe(removal(tmp_path / "a"))
    second = journal.owe(removal(tmp_path / "b"))
    assert len(journal.path.read_text().splitlines()) == 2
    first()
    first()
    assert len(journal.path.read_text().splitlines()) == 3
    second()
    assert not journal.path.exists()
    journal.owe(removal(tmp_path / "c"))()
    assert not journal_folder().exists()


def test_the_folder_of_journals_may_go_at_any_moment(tmp_path, monkeypatch):
    folder = journal_folder()
    folder.mkdir()
    mkdir, removed = os.mkdir, []

    def removed_by_another(path, *args):
        try:
            mkdir(path, *args)
        except FileExistsError:
            if Path(path) == folder and not removed:
                removed.append(path)
                Path(path).rmdir()
            raise

    monkeypatch.setattr(os, "mkdir", removed_by_another)
    Journal.own().owe(removal(tmp_path / "a"))()
    assert removed == [folder]


@pytest.mark.parametrize("which", ["file", "dangling", "state dangling"])
def test_what_is_no_folder_of_journals_is_told(tmp_path, which):
    journal, folder = Journal.own(), journal_folder()
    if which == "file":
        folder.touch()
    elif which == "dangling":
        folder.symlink_to(tmp_path / "nowhere")
    else:
        folder.parent.rmdir()
        folder.parent.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        journal.owe(removal(tmp_path / "a"))


def test_what_a_live_process_owes_is_left_to_it(tmp_path):
    (tmp_path / "a").touch()
    Journal.own().owe(removal(tmp_path / "a"))
    assert recover() == ((), ())
    assert (tmp_path / "a").exists()
    assert Journal.own() is Journal.own()


def test_what_is_settled_or_torn_is_not_put_right(tmp_path):
    files = [tmp_path / name for name in "abc"]
    for file in files:
        file.touch()
    settled = json.dumps({"settled": 1}) + "\n"
    torn = line(3, files[2])[:-20]
    path = left_by_a_dead_run(line(1, files[0]), line(2, files[1]), settled, torn)
    assert recover().done == ("b",)
    assert [file.exists() for file in files] == [True, False, True]
    assert not path.exists()


def test_what_fails_is_told_and_stays_for_another_time(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "later").touch()
    bad = tmp_path / "file" / "below"
    path = left_by_a_dead_run(line(1, tmp_path / "later"), line(2, bad))
    recovery = recover()
    assert recovery.done == ("later",)
    assert recovery.failed == ("below: Not a directory",)
    assert path.exists()
    (tmp_path / "file").unlink()
    assert recover() == (("below",), ())
    assert not path.exists()


def test_what_a_later_release_has_written_is_told_and_stays():
    record = {"owed": 1, "do": "mend", "what": "the sky"}
    path = left_by_a_dead_run(json.dumps(record) + "\n")
    assert recover().failed == ("the sky: 'mend' is nothing that this release can do",)
    assert path.exists()


def test_processes_of_an_earlier_boot_are_others(tmp_path):
    with subprocess.Popen(["/bin/sleep", "600"]) as child:
        own = process_id(child.pid)
        record = {"owed": 1, "do": "kill tree", "what": "x", "pid": own.pid, "started": own.started}
        left_by_a_dead_run(json.dumps(record) + "\n")
        recover()
        assert child.poll() is None
        boot = Journal.own().path.stem.partition("-")[0]
        left_by_a_dead_run(json.dumps(record) + "\n", mark=f"{boot}-1-1")
        recover()
        child.wait(30)
        assert child.returncode == -9


def test_a_fork_has_a_journal_of_its_own(tmp_path):
    settled = Journal.own().owe(removal(tmp_path / "a"))
    if os.fork() == 0:
        settled()  # not its to say
        os._exit(int(Journal.own().path == journal_folder() / "x"))
    os.wait()
    assert Journal.own().path.exists()
    settled()


def test_an_undo_is_in_the_journal_until_it_has_been_done(tmp_path):
    stack, done = UndoStack(), []
    early = owe(stack, removal(tmp_path / "a"), lambda: done.append(1))
    assert Journal.own().path.exists()
    early()
    assert not Journal.own().path.exists()
    owe(stack, removal(tmp_path / "a"), lambda: 1 / 0)
    with pytest.raises(ExceptionGroup):
        stack.undo_all()
    assert Journal.own().path.exists()  # so the next run tries


def test_a_state_folder_that_others_can_write_to_is_refused(state):
    state.mkdir()
    state.chmod(0o777)
    with pytest.raises(PermissionError, match="can be written to by others; remove it, or chmod"):
        state_folder()


def test_who_has_no_home_has_a_folder_beside_temporary_files(tmp_path):
    program = "from pytest_drdrill.state import state_folder; print(state_folder())"
    bare = {"PATH": os.defpath, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    for more, expected in (
        ({"HOME": "/dev/null"}, tmp_path / f"pytest-drdrill-{os.geteuid()}"),
        ({"HOME": str(tmp_path)}, tmp_path / ".local/state/pytest-drdrill"),
        ({"XDG_STATE_HOME": str(tmp_path / "s")}, tmp_path / "s/pytest-drdrill"),
    ):
        run = subprocess.run(
            [sys.executable, "-c", program],
            env=bare | more,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        assert Path(run.stdout.strip()) == expected
