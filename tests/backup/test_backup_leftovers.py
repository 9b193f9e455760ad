"""What a dead restore left beside its target: known by its journal, undone, and nothing else is."""

import errno
import fcntl
import json
import logging
import os
import shutil
import signal

import pytest
from backup_trees import NOBODY, picture

from needs import lacks
from pytest_drdrill.backup import (
    BackupError,
    BackupLocked,
    RestoreTargetError,
    exchange,
    settle,
    swap,
)
from pytest_drdrill.backup.journal import Journal

DIGITS = "0123456789abcdef"


@pytest.fixture
def job(full, small, vault):
    return full.create_backup(small, vault)


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "home" / "target"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("older alpha")
    (folder / "sub" / "b.txt").write_text("older beta")
    return folder


@pytest.fixture
def die(full, job, target, monkeypatch):
    """Have a restore in another process die by SIGKILL where a function is called again."""

    def run(module, name, calls=0, where=target, **options):
        child = os.fork()
        if not child:
            try:
                real = getattr(module, name)
                left = [None] * calls

                def fatal(*args, **kwargs):
                    if not left:
                        os.kill(os.getpid(), signal.SIGKILL)
                    left.pop()
                    return real(*args, **kwargs)

                swap.exchange = lambda one, other: False
                setattr(module, name, fatal)
                full.restore_backup(job, where, replace=True, **options)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL, status

    return run


@pytest.fixture
def die_between(die):
    """Have a restore die when the old tree is nowhere but aside."""
    return lambda: die(os, "rename", calls=1)


def beside(target):
    return sorted(path.name for path in target.parent.iterdir() if path != target)


def journal_of(target):
    (found,) = target.parent.glob(".*.restore-*")
    return found


def test_a_half_written_tree_goes(full, job, small, target, die):
    before = picture(target)
    die(os, "utime", calls=1)
    assert len(beside(target)) == 2
    assert picture(target) == before
    result = full.restore_backup(job, target, replace=True)
    assert result.warnings == []
    assert picture(target) == picture(small)
    assert beside(target) == []


def test_the_old_tree_goes_back_first(full, job, target, die_between, caplog):
    before = picture(target)
    die_between()
    assert not target.exists()
    with pytest.raises(RestoreTargetError, match="target is not empty"):
        full.restore_backup(job, target)
    assert picture(target) == before
    assert beside(target) == []
    assert caplog.messages == [f"an earlier restore to {target} died midway and was undone"]


def test_a_restore_says_what_it_undid(full, job, small, target, die_between):
    die_between()
    result = full.restore_backup(job, target, replace=True)
    assert result.warnings == [f"an earlier restore to {target} died midway and was undone"]
    assert picture(target) == picture(small)


def test_the_old_tree_goes_back_to_an_empty_folder_that_somebody_made(
    full, job, target, die_between
):
    before = picture(target)
    die_between()
    target.mkdir()
    with pytest.raises(RestoreTargetError, match="target is not empty"):
        full.restore_backup(job, target)
    assert picture(target) == before


def test_the_only_copy_is_kept_where_something_else_has_its_place(
    full, job, small, target, die_between
):
    before = picture(target)
    die_between()
    target.mkdir()
    (target / "started").write_text("by a service that missed its folder")
    result = full.restore_backup(job, target, replace=True)
    (name,) = beside(target)
    aside = target.with_name(name)
    assert picture(aside) == before
    assert result.warnings == [
        f"{aside} holds what was taken from {target}, where it can't go back: it is left there"
    ]
    assert picture(target) == picture(small)


def test_what_was_kept_is_no_business_of_a_later_run(full, job, target, die, die_between):
    die_between()
    target.mkdir()
    (target / "started").touch()
    die(Journal, "remove", paths=["z.txt"])
    (aside,) = target.parent.glob(".target.replaced-*")
    before = picture(aside)
    full.restore_backup(job, target, replace=True)
    assert picture(aside) == before


def test_what_was_replaced_is_kept_where_the_new_is_gone(full, job, target, die):
    before = picture(target)
    die(settle, "remove_tree")
    shutil.rmtree(target)
    full.restore_backup(job, target)
    (name,) = beside(target)
    assert picture(target.with_name(name)) == before


def test_a_path_is_kept_where_something_else_has_its_place(full, job, target, die):
    die(os, "rename", calls=1, paths=["a.txt", "sub/b.txt"])
    (target / "a.txt").write_text("written by a service")
    result = full.restore_backup(job, target, replace=True, paths=["z.txt"])
    (name,) = beside(target)
    assert (target.with_name(name) / "0").read_text() == "older alpha"
    assert [name in warning for warning in result.warnings] == [True]
    assert (target / "a.txt").read_text() == "written by a service"
    assert (target / "sub" / "b.txt").read_text() == "older beta"


def test_a_new_path_that_somebody_removed_is_no_obstacle(full, job, target, die):
    die(os, "rename", calls=2, paths=["a.txt", "sub/b.txt"])
    (target / "a.txt").unlink()
    full.restore_backup(job, target, replace=True, paths=["z.txt"])
    assert beside(target) == []
    assert (target / "a.txt").read_text() == "older alpha"


@pytest.mark.parametrize("instead", ["symlink", "file", "nothing"])
def test_a_path_goes_back_through_no_symlink(full, job, target, tmp_path, die, instead):
    die(os, "rename", calls=3, paths=["a.txt", "sub/b.txt"])
    shutil.rmtree(target / "sub")
    (tmp_path / "outside").mkdir()
    if instead == "symlink":
        (target / "sub").symlink_to(tmp_path / "outside")
    elif instead == "file":
        (target / "sub").touch()
    full.restore_backup(job, target, replace=True, paths=["z.txt"])
    (name,) = beside(target)
    assert (target.with_name(name) / "1").read_text() == "older beta"
    assert (target / "a.txt").read_text() == "older alpha"
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_restore_that_runs_is_left_alone(full, job, small, target):
    refused = []

    def again(progress):
        if not refused:
            before = picture(target.parent)
            with pytest.raises(BackupLocked) as caught:
                full.restore_backup(job, target, replace=True)
            refused.append(str(caught.value))
            assert picture(target.parent) == before
            full.restore_backup(job, target.with_name("other"))

    full.restore_backup(job, target, replace=True, progress=again)
    assert refused == [f"another run is restoring to {target}; try later"]
    assert picture(target) == picture(small)
    assert beside(target) == ["other"]


def test_a_restore_in_another_process_is_left_alone(full, job, target):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(read)
            journal = Journal.claim(target)
            (journal.make_stage() / "half").touch()
            os.write(write, b"ready")
            signal.pause()
        finally:
            os._exit(1)
    os.close(write)
    assert os.read(read, 5) == b"ready"
    try:
        before = picture(target.parent)
        with pytest.raises(BackupLocked):
            full.restore_backup(job, target, replace=True)
        assert picture(target.parent) == before
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    full.restore_backup(job, target, replace=True)
    assert beside(target) == []
    os.close(read)


def test_what_only_looks_like_a_leftover_stays(full, job, target, tmp_path, die):
    home = target.parent
    die(os, "utime")
    for name in ("restoring-" + DIGITS, "replaced-" + DIGITS, "restoring-abc", "restore-"):
        (home / f".target.{name}").mkdir()
        (home / f".target.{name}" / "mine").touch()
    (home / f".target.replaced-{DIGITS[::-1]}").symlink_to(target)
    (home / ".target.restore-000000000000").write_text("mine")
    kept = {name for name in beside(target) if "mine" in name or DIGITS in name}
    full.restore_backup(job, target, replace=True)
    assert kept < set(beside(target))
    assert len(beside(target)) == 6


def test_names_that_begin_alike_are_told_apart(full, job, small, target, die):
    long = "n" * 120
    one, other = target.with_name(long + "1"), target.with_name(long + "2")
    die(os, "utime", where=one)
    left = beside(target)
    full.restore_backup(job, other)
    assert beside(target) == sorted([*left, other.name])
    full.restore_backup(job, one)
    assert beside(target) == sorted([one.name, other.name])


def test_a_symlink_in_the_place_of_the_tree_is_not_followed(full, job, target, tmp_path, die):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    die(os, "utime")
    (stage,) = target.parent.glob(".target.restoring-*")
    shutil.rmtree(stage)
    stage.symlink_to(tmp_path / "mine")
    result = full.restore_backup(job, target, replace=True)
    (warning,) = result.warnings
    assert warning.startswith(f"the leftover {stage} of a restore can't be removed: ")
    assert (tmp_path / "mine" / "file").exists()
    assert stage.is_symlink()


def a_symlink(path):
    path.symlink_to("/etc/passwd")


def a_fifo(path):
    os.mkfifo(path)


def a_folder(path):
    path.mkdir()


def a_text(path):
    path.write_text("notes of mine\n")


def anothers(path):
    if os.geteuid() != 0:
        lacks("the right to give a file away")
    path.touch()
    os.chown(path, NOBODY, NOBODY)


@pytest.mark.parametrize("make", [a_symlink, a_fifo, a_folder, a_text, anothers])
def test_what_has_the_name_of_the_journal_is_no_journal(full, job, target, die, make):
    die(os, "utime")
    path = journal_of(target)
    path.unlink()
    make(path)
    before = picture(target.parent)
    with pytest.raises(RestoreTargetError, match=r"no journal .*; look at what it is, and move it"):
        full.restore_backup(job, target, replace=True)
    assert picture(target.parent) == before


def test_a_journal_cut_anywhere(full, job, small, target, die, tmp_path):
    # Without power a line may be cut, or a file end in zeros; what it tells of was not begun.
    die(os, "utime")
    whole = journal_of(target).read_bytes()
    shutil.move(target.parent, tmp_path / "dead")
    for size in range(len(whole) + 1):
        for tail in (b"", b"\0" * 9):
            shutil.copytree(tmp_path / "dead", target.parent)
            journal_of(target).write_bytes(whole[:size] + tail)
            full.restore_backup(job, target, replace=True)
            assert picture(target) == picture(small)
            assert len(beside(target)) == (size < len(whole))
            shutil.rmtree(target.parent)


@pytest.mark.parametrize(
    "lines",
    [
        [{"stage": "../precious"}],
        [{"stage": "precious"}],
        [{"stage": f".other.restoring-{DIGITS}"}],
        [{"stage": f".target.restoring-{DIGITS}/../precious"}],
        [{"stage": f".target.restoring-{DIGITS}"}, {"aside": "precious", "units": None}],
        [
            {"stage": f".target.restoring-{DIGITS}"},
            {"aside": f".target.replaced-{DIGITS}", "units": ["../precious/file"]},
        ],
        [
            {"stage": f".target.restoring-{DIGITS}"},
            {"aside": f".target.replaced-{DIGITS}", "units": ["/precious"]},
        ],
        [["stage"]],
        [None],
        [{"stage": 5}],
        [{}],
    ],
)
def test_a_journal_that_no_run_wrote_leads_nowhere(full, job, small, target, die, lines):
    die(os, "utime")
    path = journal_of(target)
    head = path.read_bytes().splitlines(keepends=True)[0]
    path.write_bytes(head + b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    precious = target.with_name("precious")
    for folder in (precious, target.with_name(f".target.replaced-{DIGITS}")):
        folder.mkdir()
        (folder / "file").touch()
    full.restore_backup(job, target, replace=True)
    assert (precious / "file").exists()
    assert target.with_name(f".target.replaced-{DIGITS}").exists()
    assert picture(target) == picture(small)


def test_what_can_not_be_undone_yet_stays_for_the_next_run(
    full, job, target, die_between, monkeypatch
):
    before = picture(target)
    die_between()
    left = beside(target)

    def broken(tree, to):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(settle, "move_in", broken)
        with pytest.raises(BackupError, match=r"error; an earlier restore died midway, and what"):
            full.restore_backup(job, target, replace=True)
    assert beside(target) == left
    with pytest.raises(RestoreTargetError):
        full.restore_backup(job, target)
    assert picture(target) == before


def test_what_can_not_be_looked_at_may_well_be_there(full, job, target, die_between, monkeypatch):
    before = picture(target)
    die_between()
    left = beside(target)
    lstat = type(target).lstat

    def broken(path):
        if ".replaced-" in path.name:
            raise OSError(errno.EIO, "Input/output error")
        return lstat(path)

    with monkeypatch.context() as patch:
        patch.setattr(type(target), "lstat", broken)
        with pytest.raises(BackupError, match="Input/output error; an earlier restore died midway"):
            full.restore_backup(job, target, replace=True)
    assert beside(target) == left
    with pytest.raises(RestoreTargetError):
        full.restore_backup(job, target)
    assert picture(target) == before


def test_a_failure_names_what_it_can_not_put_back(full, job, target, monkeypatch):
    before = picture(target)
    rename = os.rename

    def and_something_comes(old, new):
        rename(old, new)
        if old == target:
            target.mkdir()
            (target / "started").touch()

    monkeypatch.setattr(swap, "exchange", lambda one, other: False)
    monkeypatch.setattr(os, "rename", and_something_comes)
    with pytest.raises(BackupError, match="Directory not empty") as caught:
        full.restore_backup(job, target, replace=True)
    (name,) = beside(target)
    assert picture(target.with_name(name)) == before
    assert f"{target.with_name(name)} holds what was taken from {target}" in str(caught.value)
    assert (target / "started").exists()


def test_the_journal_is_on_the_disk_before_anything_is_moved(full, job, target, monkeypatch):
    seen = []
    fsync, rename, mkdir = os.fsync, os.rename, os.mkdir

    def note(what, path):
        if target.parent in (path, *path.parents):
            seen.append((what, path.name.partition("-")[0]))

    def note_fsync(fd):
        note("fsync", type(target)(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    def note_rename(old, new, **options):
        note("rename", type(target)(old))
        rename(old, new, **options)

    def note_mkdir(path, *args, **options):
        note("mkdir", type(target)(path))
        mkdir(path, *args, **options)

    def note_sync(path):
        note("sync", path)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "rename", note_rename)
    monkeypatch.setattr(os, "mkdir", note_mkdir)
    monkeypatch.setattr(settle, "sync_file_system", note_sync)
    full.restore_backup(job, target, replace=True, paths=["a.txt", "z.txt"])
    assert seen == [
        ("mkdir", "home"),
        ("fsync", ".target.restore"),
        ("fsync", "home"),
        ("mkdir", ".target.restoring"),
        ("fsync", ".target.restore"),
        ("mkdir", ".target.replaced"),
        ("rename", "a.txt"),
        ("rename", "a.txt"),
        ("rename", "z.txt"),
        ("sync", ".target.replaced"),
    ]


def test_what_was_replaced_is_kept_where_the_disk_can_not_be_synced(
    full, job, target, small, monkeypatch
):
    before = picture(target)

    def broken(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(swap, "exchange", lambda one, other: False)
    monkeypatch.setattr(settle, "sync_file_system", broken)
    (warning,) = full.restore_backup(job, target, replace=True).warnings
    (name,) = beside(target)
    assert warning.startswith(f"{target.with_name(name)} is kept, as what replaced it may not be")
    assert picture(target.with_name(name)) == before
    assert picture(target) == picture(small)


def test_a_journal_that_another_run_removes_just_then(full, job, target, monkeypatch):
    flock = fcntl.flock
    removed = []

    def late(fd, how):
        if not removed:
            removed.append(journal_of(target))
            removed[0].unlink()
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    seen = []
    full.restore_backup(job, target, replace=True, progress=lambda _: seen.append(beside(target)))
    assert removed[0].name in seen[0]
    assert beside(target) == []


def test_a_child_that_was_forked_meanwhile_holds_nothing(full, job, target, monkeypatch):
    children = []
    monkeypatch.setattr(Journal, "remove", lambda journal: None)  # so that it meets the same one

    def fork(progress):
        if not children:
            children.append(os.fork())
            if not children[0]:
                signal.pause()

    full.restore_backup(job, target, replace=True, progress=fork)
    try:
        full.restore_backup(job, target, replace=True)
    finally:
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children[0], 0)


def test_a_journal_that_can_not_be_removed(full, job, target, small, monkeypatch, caplog):
    def stuck(journal):
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "remove", stuck)
        full.restore_backup(job, target, replace=True)
    assert picture(target) == picture(small)
    assert caplog.record_tuples == [
        (
            "pytest_drdrill.backup",
            logging.WARNING,
            f"the journal {journal_of(target)} can't be removed: Read-only file system",
        )
    ]
    full.restore_backup(job, target, replace=True)
    assert beside(target) == []


def test_a_folder_that_may_be_written_to_and_not_read(full, open_folder, as_user):
    with as_user():
        (open_folder / "source").mkdir()
        (open_folder / "drop").mkdir()
        (open_folder / "drop").chmod(0o300)
        job = full.create_backup(open_folder / "source", open_folder / "vault")
        full.restore_backup(job, open_folder / "drop" / "target")
    assert [path.name for path in (open_folder / "drop").iterdir()] == ["target"]


def test_a_system_that_has_no_such_call(tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "_libc", object)
    assert not exchange.exchange(tmp_path, tmp_path)


def between_two_renames(target):
    """As a run that was killed there left it: the old is aside, and nothing in its place."""
    journal = Journal.claim(target)
    stage = journal.make_stage()
    (stage / "new").touch()
    aside = journal.set_aside()
    target.rename(aside)
    journal.close()
    return aside


def test_what_can_not_go_back_outlives_a_run_that_dies_while_it_says_so(
    full, small, vault, tmp_path, monkeypatch
):
    job = full.create_backup(small, vault)
    target = tmp_path / "target"
    target.mkdir()
    (target / "only copy").touch()
    aside = between_two_renames(target)
    target.mkdir()
    (target / "refilled").touch()

    def die(journal):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "clear", die)
        with pytest.raises(KeyboardInterrupt):
            full.restore_backup(job, target, replace=True)
    full.restore_backup(job, target, replace=True)
    assert [path.name for path in aside.iterdir()] == ["only copy"]
    assert picture(target) == picture(small)


@pytest.mark.parametrize("rest", [bytes(50), b"drdrill-re", b""])
def test_a_journal_that_a_power_cut_left_without_a_line_is_begun_anew(tmp_path, rest):
    target = tmp_path / "target"
    target.mkdir()
    journal = Journal.claim(target)
    journal.path.write_bytes(rest)
    journal.close()
    aside = between_two_renames(target)
    journal = Journal.claim(target)
    assert journal.aside == aside
    journal.close()
