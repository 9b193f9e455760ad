"""Paths as people give them: each that can't be served is refused in one sentence, early."""

import os
import re
from pathlib import Path

import pytest
from backup_trees import picture

from pytest_drdrill.backup import BackupError, BackupRefused, RestoreTargetError


@pytest.fixture
def job(full, small, vault):
    return full.create_backup(small, vault)


@pytest.fixture
def uses(full, job, small, vault):
    """Each use of a path, and the refusal that belongs to it."""
    return {
        "source": (lambda path: full.create_backup(path, vault), BackupRefused),
        "destination": (lambda path: full.create_backup(small, path), BackupRefused),
        "list": (full.list_backups, BackupRefused),
        "restore": (lambda path: full.restore_backup(job, path), RestoreTargetError),
        "replace": (lambda path: full.restore_backup(job, path, replace=True), RestoreTargetError),
    }


USES = ["source", "destination", "list", "restore", "replace"]


@pytest.mark.parametrize("use", USES)
def test_an_empty_path_is_not_the_current_folder(uses, use, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "mine").write_text("mine")
    monkeypatch.chdir(tmp_path / "work")
    call, error = uses[use]
    before = picture(tmp_path)
    with pytest.raises(error, match=r"is an empty path, which names no folder$"):
        call("")
    assert picture(tmp_path) == before


@pytest.mark.parametrize("use", USES)
def test_a_nul(uses, use, tmp_path):
    call, error = uses[use]
    with pytest.raises(error, match=r"holds a NUL, which no path can$"):
        call(f"{tmp_path}/a\0b")


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("path", [b"bytes", None, 5])
def test_what_is_no_text(uses, use, path):
    call, _ = uses[use]
    with pytest.raises(TypeError):
        call(path)


@pytest.mark.parametrize("use", USES)
def test_a_name_that_is_too_long(uses, use, tmp_path):
    call, error = uses[use]
    with pytest.raises(error, match="File name too long") as caught:
        call(tmp_path / ("n" * 256))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("use", USES)
def test_a_file_on_the_way(uses, use, tmp_path):
    (tmp_path / "file").touch()
    call, error = uses[use]
    if use in {"restore", "replace"}:  # found when the folders above it are made
        error = BackupError
    with pytest.raises(error, match=r"does not exist|Not a directory|File exists|can't read"):
        call(tmp_path / "file" / "inside")


@pytest.mark.parametrize("use", USES)
def test_a_closed_folder(full, open_folder, as_user, use):
    (open_folder / "closed").mkdir()
    (open_folder / "closed" / "inside").mkdir()
    with as_user():
        (open_folder / "mine").mkdir()
        job = full.create_backup(open_folder / "mine", open_folder / "vault")
    (open_folder / "closed").chmod(0)
    inside = open_folder / "closed" / "inside"
    call, error = {
        "source": (lambda: full.create_backup(inside, open_folder / "vault"), BackupRefused),
        "destination": (lambda: full.create_backup(open_folder / "mine", inside), BackupRefused),
        "list": (lambda: full.list_backups(inside), BackupRefused),
        "restore": (lambda: full.restore_backup(job, inside), RestoreTargetError),
        "replace": (lambda: full.restore_backup(job, inside, replace=True), RestoreTargetError),
    }[use]
    message = re.escape(f"{inside}: Permission denied") + "$"
    with as_user(), pytest.raises(error, match=message):
        call()


@pytest.fixture
def homes(tmp_path, monkeypatch):
    """A symlink to another disk, whose ``..`` is there and not here; the current folder is here."""
    for name in ("disk/app", "disk/data", "home/data"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "home" / "current").symlink_to(tmp_path / "disk" / "app")
    (tmp_path / "home" / "data" / "mine").write_text("not meant")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path


def test_dot_dot_behind_a_symlink_leads_where_the_kernel_goes(full, homes, small, vault):
    (homes / "disk" / "data" / "real").write_text("meant")
    job = full.create_backup("current/../data", vault)
    assert job.source_path == homes / "disk" / "data"
    full.restore_backup(job, Path("current/../restored"))
    assert picture(homes / "disk" / "restored") == picture(homes / "disk" / "data")
    full.restore_backup(full.create_backup(small, homes / "other"), "current/../data", replace=True)
    assert picture(homes / "disk" / "data") == picture(small)
    assert (homes / "home" / "data" / "mine").read_text() == "not meant"
    assert full.list_backups("current/../../vault") == [job]


def test_a_symlink_itself_stays_as_it_is_written(full, homes, vault):
    job = full.create_backup("../home/current", vault)
    assert job.source_path == homes / "home" / "current"
    with pytest.raises(RestoreTargetError, match="is a symlink"):
        full.restore_backup(job, "../home/current", replace=True)
    assert full.create_backup("current/..", homes / "other").source_path == homes / "disk"


@pytest.mark.parametrize(
    ("paths", "error", "message"),
    [
        ([b"a.txt"], TypeError, "paths holds texts and Paths, not b'a.txt'"),
        ([5], TypeError, "paths holds texts and Paths, not 5"),
        ([None], TypeError, "paths holds texts and Paths, not None"),
        (5, TypeError, "paths is a list of paths, not 5"),
        ([""], BackupRefused, "paths holds an empty path"),
        (["a\0b"], BackupRefused, "holds no 'a\\\\x00b'"),
    ],
)
def test_paths_that_are_none(full, job, tmp_path, paths, error, message):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "mine").touch()
    with pytest.raises(error, match=message):
        full.restore_backup(job, tmp_path / "target", paths=paths, replace=True)
    assert os.listdir(tmp_path / "target") == ["mine"]  # noqa: PTH208
