"""Where a restore goes, what it replaces, and that it never leaves a half of anything."""

import errno
import os
from pathlib import Path

import pytest
from backup_trees import flip, picture

from needs import lacks
from pytest_drdrill.backup import (
    BackupDamaged,
    BackupError,
    BackupRefused,
    RestoreTargetError,
    restore,
    settle,
    swap,
)
from pytest_drdrill.backup.contents import Contents
from pytest_drdrill.backup.remove import remove_tree


@pytest.fixture
def job(full, small, vault):
    return full.create_backup(small, vault)


@pytest.fixture
def target(tmp_path):
    """A folder that holds something else already."""
    folder = tmp_path / "target"
    (folder / "old").mkdir(parents=True)
    (folder / "old" / "file").write_text("old")
    (folder / "a.txt").write_text("older alpha")
    os.utime(folder, ns=(0, 1_111_111_111))
    return folder


@pytest.fixture
def untouched(target):
    """Expect an error, and that the target and all around it are what they were."""

    def attempt(call, error, match=None):
        before = picture(target)
        around = sorted(target.parent.iterdir())
        with pytest.raises(error, match=match) as caught:
            call()
        assert picture(target) == before
        assert sorted(target.parent.iterdir()) == around
        return caught.value

    return attempt


def test_into_an_empty_folder(full, job, small, tmp_path):
    (tmp_path / "empty").mkdir()
    full.restore_backup(job, str(tmp_path / "empty"))
    assert picture(tmp_path / "empty") == picture(small)


def test_the_folders_above_the_target_are_made(full, job, small, tmp_path):
    full.restore_backup(job, tmp_path / "x" / "y" / "z")
    assert picture(tmp_path / "x" / "y" / "z") == picture(small)
    assert list((tmp_path / "x" / "y").iterdir()) == [tmp_path / "x" / "y" / "z"]


def test_a_target_in_use_takes_replace(full, job, small, target, untouched):
    untouched(
        lambda: full.restore_backup(job, target), RestoreTargetError, "not empty; replace=True"
    )
    result = full.restore_backup(job, target, replace=True)
    assert picture(target) == picture(small)
    assert sorted(path.name for path in target.parent.iterdir()) == ["small", "target", "vault"]
    assert result.warnings == []


@pytest.fixture
def meanwhile(monkeypatch):
    """Do something once, while the tree is written beside the target."""

    def arrange(change):
        real = Contents.copy
        left = [change]

        def copy(self, *args):
            if left:
                left.pop()()
            return real(self, *args)

        monkeypatch.setattr(Contents, "copy", copy)

    return arrange


@pytest.mark.parametrize("paths", [None, ["a.txt"]])
@pytest.mark.parametrize("empty", [True, False])
def test_what_arrives_in_the_target_meanwhile_stays(full, job, tmp_path, meanwhile, paths, empty):
    target = tmp_path / "new"
    if empty:
        target.mkdir()

    def arrive():
        target.mkdir(exist_ok=True)
        (target / "precious").write_text("written by a service")

    meanwhile(arrive)
    with pytest.raises(RestoreTargetError, match="new was filled while backup 000001"):
        full.restore_backup(job, target, paths=paths)
    assert {path.name for path in target.iterdir()} == {"precious"}
    assert {path.name for path in tmp_path.iterdir()} == {"small", "vault", "new"}


def test_a_file_that_takes_the_targets_place_meanwhile_stays(full, job, tmp_path, meanwhile):
    meanwhile(lambda: (tmp_path / "new").write_text("mine"))
    with pytest.raises(RestoreTargetError, match="was filled"):
        full.restore_backup(job, tmp_path / "new")
    assert (tmp_path / "new").read_text() == "mine"


def test_what_arrives_meanwhile_stays_where_single_paths_are_replaced(
    full, job, tmp_path, meanwhile
):
    target = tmp_path / "new"
    target.mkdir()
    meanwhile(lambda: (target / "precious").write_text("written by a service"))
    full.restore_backup(job, target, paths=["a.txt"], replace=True)
    assert (target / "precious").read_text() == "written by a service"
    assert (target / "a.txt").read_text() == "alpha"


def test_what_arrives_meanwhile_goes_where_all_is_replaced(full, job, small, tmp_path, meanwhile):
    target = tmp_path / "new"
    target.mkdir()
    meanwhile((target / "precious").touch)
    full.restore_backup(job, target, replace=True)
    assert picture(target) == picture(small)
    assert {path.name for path in tmp_path.iterdir()} == {"small", "vault", "new"}


def test_a_symlink_in_the_new_tree_is_not_written_through(full, job, tmp_path, meanwhile):
    # Somebody else with a right to the folder plants it while the tree is written.
    (tmp_path / "outside").write_text("mine")

    def plant():
        (stage,) = tmp_path.glob(".new.restoring-*")
        (stage / "z.txt").symlink_to(tmp_path / "outside")

    meanwhile(plant)
    with pytest.raises(BackupError, match="File exists"):
        full.restore_backup(job, tmp_path / "new")
    assert (tmp_path / "outside").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"small", "vault", "outside"}


def test_the_source_itself_can_be_replaced(full, job, small):
    before = picture(small)
    (small / "a.txt").write_text("encrypted")
    (small / "ransom.txt").write_text("pay")
    full.restore_backup(job, small, replace=True)
    assert picture(small) == before


def test_damage_leaves_the_target_alone(full, job, target, untouched):
    flip(job.path / "data.tar", (job.path / "data.tar").read_bytes().index(b"zeta"))
    call = lambda: full.restore_backup(job, target, replace=True)  # noqa: E731
    assert untouched(call, BackupDamaged).damaged == ("z.txt",)


@pytest.fixture
def no_exchange(monkeypatch):
    """As on a file system that can't have two paths change places in one step."""
    monkeypatch.setattr(swap, "exchange", lambda one, other: False)


@pytest.mark.parametrize("failing", [1, 2])
def test_a_swap_that_fails_is_undone(
    full, job, target, untouched, monkeypatch, no_exchange, failing
):
    real = Path.rename
    calls = []

    def rename(self, to):
        calls.append(to)
        if len(calls) == failing:
            raise OSError(5, "Input/output error")
        return real(self, to)

    monkeypatch.setattr(Path, "rename", rename)
    untouched(
        lambda: full.restore_backup(job, target, replace=True), BackupError, "Input/output error"
    )
    assert len(calls) >= failing


@pytest.mark.parametrize("paths", [None, ["a.txt"]])
def test_what_can_not_be_put_back_is_kept_and_named(
    full, job, target, monkeypatch, no_exchange, paths
):
    before = picture(target)
    real = Path.rename
    calls = []

    def rename(self, to):
        calls.append(to)
        if len(calls) > 1:  # the old went aside; nothing can be moved any more
            raise OSError(5, "Input/output error")
        return real(self, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(BackupError, match="could not be put back") as raised:
        full.restore_backup(job, target, paths=paths, replace=True)
    monkeypatch.undo()
    (aside,) = target.parent.glob(".target.replaced-*")
    assert str(aside) in str(raised.value)
    if paths is None:
        assert picture(aside) == before
    else:
        assert (aside / "0").read_text() == "older alpha"
    # As after a kill: the next restore, though it is refused itself, puts it back.
    assert len(list(target.parent.glob(".target.*"))) == 3
    with pytest.raises(RestoreTargetError, match="is not empty"):
        full.restore_backup(job, target)
    assert (target / "a.txt").read_text() == "older alpha"
    assert not list(target.parent.glob(".target.*"))


def test_a_swap_in_two_steps_does_the_same(full, job, small, target, no_exchange):
    full.restore_backup(job, target, replace=True)
    assert picture(target) == picture(small)
    assert not list(target.parent.glob(".target.*"))


def test_an_exchange_that_is_refused(full, job, target, untouched, monkeypatch):
    def refuse(one, other):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(swap, "exchange", refuse)
    untouched(
        lambda: full.restore_backup(job, target, replace=True), BackupError, "Permission denied"
    )


def test_two_folders_change_places(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not swap.exchange(tmp_path / "one", tmp_path / "other"):
        lacks("a file system that can exchange two paths")
    assert (tmp_path / "one" / "other").exists()
    assert (tmp_path / "other" / "one").exists()
    with pytest.raises(FileNotFoundError):
        swap.exchange(tmp_path / "one", tmp_path / "missing")


def test_an_old_tree_that_can_not_be_removed_is_named(full, job, small, target, monkeypatch):
    def stuck(path):
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(settle, "remove_tree", stuck)
    result = full.restore_backup(job, target, replace=True)
    assert picture(target) == picture(small)
    (warning,) = result.warnings
    (left,) = target.parent.glob(".target.*")
    assert warning == f"the leftover {left} of a restore can't be removed: Input/output error"


def test_a_tree_deeper_than_the_stack(full, vault, tmp_path):
    (tmp_path / "source").mkdir()
    folder = os.open(tmp_path / "source", os.O_RDONLY)
    for _ in range(1050):
        os.mkdir("d", dir_fd=folder)
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("bottom", os.O_CREAT, dir_fd=folder))
    os.close(folder)
    job = full.create_backup(tmp_path / "source", vault)
    full.verify_backup(job)
    full.restore_backup(job, tmp_path / "source", replace=True)
    assert (tmp_path / "source" / ("d/" * 1050) / "bottom").exists()
    remove_tree(tmp_path / "source")  # which pytest itself could not clear away
    assert list(tmp_path.iterdir()) == [vault]


def test_an_interrupt_in_mid_restore(full, job, target, untouched, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "utime", interrupt)
    untouched(lambda: full.restore_backup(job, target, replace=True), KeyboardInterrupt)


def test_a_target_whose_folder_can_not_be_written(full, job, open_folder, as_user):
    # The job's owner reads the backup; an ordinary user can't write beside the target.
    closed = open_folder / "closed"
    with as_user():
        (open_folder / "source").mkdir()
        (open_folder / "source" / "file").write_text("mine")
        mine = full.create_backup(open_folder / "source", open_folder / "vault")
    closed.mkdir(mode=0o555)
    with as_user(), pytest.raises(BackupError, match=r"can't restore backup .* Permission denied"):
        full.restore_backup(mine, closed / "target")
    assert list(closed.iterdir()) == []


def test_a_target_that_is_a_file(full, job, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RestoreTargetError, match="is no folder"):
        full.restore_backup(job, tmp_path / "file", replace=True)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("where", ["target", "nowhere"])
def test_a_target_that_is_a_symlink(full, job, target, tmp_path, untouched, where):
    (tmp_path / "link").symlink_to(tmp_path / where)
    untouched(
        lambda: full.restore_backup(job, tmp_path / "link", replace=True),
        RestoreTargetError,
        "is a symlink",
    )
    assert not (tmp_path / "nowhere").exists()


def test_the_backups_are_never_replaced(full, job, vault, tmp_path):
    (tmp_path / "alias").symlink_to(tmp_path)
    before = picture(vault)
    for where in (vault, tmp_path, job.path, job.path / "inside", tmp_path / "alias" / "vault"):
        with pytest.raises(RestoreTargetError, match=r"destination"):
            full.restore_backup(job, where, replace=True)
    assert picture(vault) == before


def test_beside_the_backups_is_fine(full, job, small, vault):
    full.restore_backup(job, vault / "restored")
    assert picture(vault / "restored") == picture(small)
    assert full.list_backups(vault) == [job]


def test_dot_dot_in_the_target(full, job, small, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    full.restore_backup(job, "../restored")
    assert picture(tmp_path / "restored") == picture(small)


def test_single_paths(full, job, small, tmp_path):
    result = full.restore_backup(job, tmp_path / "some", paths=["sub/b.txt", Path("z.txt")])
    assert result.file_count == 2
    whole, some = picture(small), picture(tmp_path / "some")
    assert some.keys() == {b".", b"./sub", b"./sub/b.txt", b"./z.txt"}
    assert all(some[name] == whole[name] for name in some)


def test_a_folder_by_its_path_brings_what_it_holds(full, job, tmp_path):
    full.restore_backup(job, tmp_path / "some", paths=["./sub/"])
    assert picture(tmp_path / "some").keys() == {b".", b"./sub", b"./sub/b.txt"}


def test_the_root_by_its_path_is_all(full, job, small, target):
    full.restore_backup(job, target, paths=["."], replace=True)
    assert picture(target) == picture(small)


def test_one_name_of_a_hard_link_brings_its_content(full, small, vault, tmp_path):
    (small / "sub" / "again").hardlink_to(small / "a.txt")
    (small / "sub" / "third").hardlink_to(small / "a.txt")
    job = full.create_backup(small, vault)
    full.restore_backup(job, tmp_path / "some", paths=["sub"])
    again, third = tmp_path / "some/sub/again", tmp_path / "some/sub/third"
    assert again.read_text() == "alpha"
    assert again.samefile(third)


def test_replacing_single_paths_keeps_the_rest(full, job, small, target):
    full.restore_backup(job, target, paths=["a.txt", "sub/b.txt", "sub"], replace=True)
    assert (target / "a.txt").read_text() == "alpha"
    assert (target / "old" / "file").read_text() == "old"
    assert picture(target / "sub") == picture(small / "sub")
    assert not (target / "z.txt").exists()
    assert sorted(path.name for path in target.parent.iterdir()) == ["small", "target", "vault"]


def test_two_paths_in_a_folder_that_the_target_lacks(full, small, vault, target):
    (small / "sub" / "c.txt").write_text("gamma")
    job = full.create_backup(small, vault)
    full.restore_backup(job, target, paths=["sub/b.txt", "sub/c.txt", "a.txt"], replace=True)
    assert picture(target / "sub") == picture(small / "sub")
    assert (target / "a.txt").read_text() == "alpha"


def test_replacing_a_file_in_a_folder_that_is_there(full, job, target):
    (target / "sub").mkdir()
    (target / "sub" / "b.txt").mkdir()
    (target / "sub" / "kept").write_text("kept")
    full.restore_backup(job, target, paths=["sub/b.txt"], replace=True)
    assert (target / "sub" / "b.txt").read_text() == "beta"
    assert (target / "sub" / "kept").read_text() == "kept"


def test_replacing_single_paths_is_all_or_nothing(full, job, target, untouched, monkeypatch):
    real = Path.rename
    calls = []

    def rename(self, to):
        calls.append(to)
        if len(calls) == 3:  # a.txt went aside, the new one came, then z.txt fails
            raise OSError(5, "Input/output error")
        return real(self, to)

    os.utime(target, ns=(0, 0))
    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(BackupError, match="Input/output error"):
        full.restore_backup(job, target, paths=["a.txt", "z.txt"], replace=True)
    monkeypatch.undo()
    assert (target / "a.txt").read_text() == "older alpha"
    assert sorted(path.name for path in target.iterdir()) == ["a.txt", "old"]
    assert sorted(path.name for path in target.parent.iterdir()) == ["small", "target", "vault"]


@pytest.mark.parametrize("kind", ["symlink", "file"])
def test_single_paths_go_through_no_symlink(full, job, target, tmp_path, untouched, kind):
    (tmp_path / "outside").mkdir()
    if kind == "symlink":
        (target / "sub").symlink_to(tmp_path / "outside")
    else:
        (target / "sub").write_text("a file")
    untouched(
        lambda: full.restore_backup(job, target, paths=["a.txt", "sub/b.txt"], replace=True),
        RestoreTargetError,
        "is no folder",
    )
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["nothing.txt", "a.txt"], "holds no 'nothing.txt'"),
        (["a.txt/b"], "holds no 'a.txt/b'"),
        (["/etc/passwd"], "relative to the backed-up folder"),
        (["../a.txt"], "relative to the backed-up folder"),
        ([], "names nothing"),
        ("a.txt", "not the single path 'a.txt'"),
    ],
)
def test_paths_that_can_not_be(full, job, target, untouched, paths, message):
    untouched(
        lambda: full.restore_backup(job, target, paths=paths, replace=True), BackupRefused, message
    )


def test_what_is_restored_is_on_the_disk_before_the_old_is_dropped(
    full, job, target, tmp_path, monkeypatch
):
    seen = []
    monkeypatch.setattr(
        restore,
        "sync_file_system",
        lambda stage: seen.append((stage / "a.txt").read_text() + (target / "a.txt").read_text()),
    )
    full.restore_backup(job, target, replace=True)
    assert seen == ["alphaolder alpha"]
    full.restore_backup(job, tmp_path / "nothing to lose here")
    assert len(seen) == 1


def test_a_file_system_that_can_not_be_synced(full, job, target, untouched, monkeypatch):
    def broken(stage):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(restore, "sync_file_system", broken)
    untouched(
        lambda: full.restore_backup(job, target, replace=True), BackupError, "Input/output error"
    )
