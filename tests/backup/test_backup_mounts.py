"""What is mounted in a folder is not the folder's own: it is never moved, replaced or removed."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from backup_trees import picture

from needs import lacks
from pytest_drdrill import mounts
from pytest_drdrill.backup import RestoreTargetError
from pytest_drdrill.backup.remove import remove_tree


@pytest.fixture
def bind(tmp_path):
    """Mount a folder in another place too: the same device, so that no status tells."""

    def mount(what, where):
        command = shutil.which("mount")
        if not command or subprocess.run([command, "--bind", what, where], check=False).returncode:
            lacks("the right to mount")

    yield mount
    for where in mounts.mounts_within(tmp_path):  # wherever a failed test may have moved it
        subprocess.run(["umount", where], check=True)


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    (folder / "sub").mkdir(parents=True)
    (folder / "ledger").write_text("the only copy")
    before = picture(folder)
    yield folder
    assert picture(folder) == before


@pytest.fixture
def other_device(tmp_path):
    """A folder on a file system of its own."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        lacks("a second file system")
    folder = Path(tempfile.mkdtemp(dir=shared))
    (folder / "file").touch()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "target"
    (folder / "sub" / "archive").mkdir(parents=True)
    (folder / "a.txt").write_text("old")
    return folder


@pytest.mark.parametrize("paths", [None, ["sub"], ["sub/archive/x", "a.txt"], ["sub/archive"]])
def test_a_mount_in_what_would_be_replaced(full, small, vault, target, outside, bind, paths):
    (small / "sub" / "archive").mkdir()
    (small / "sub" / "archive" / "x").write_text("x")
    job = full.create_backup(small, vault)
    bind(outside, target / "sub" / "archive")
    around = sorted(target.parent.iterdir())
    with pytest.raises(RestoreTargetError, match=r"target/sub/archive is a mount point in "):
        full.restore_backup(job, target, replace=True, paths=paths)
    assert (target / "a.txt").read_text() == "old"
    assert sorted(target.parent.iterdir()) == around


def test_a_mount_beside_what_is_replaced_is_no_obstacle(full, small, vault, target, outside, bind):
    job = full.create_backup(small, vault)
    bind(outside, target / "sub" / "archive")
    full.restore_backup(job, target, replace=True, paths=["a.txt", "sub/b.txt"])
    assert (target / "a.txt").read_text() == "alpha"
    assert (target / "sub" / "archive" / "ledger").exists()


@pytest.mark.parametrize("options", [{}, {"replace": True}, {"replace": True, "paths": ["a.txt"]}])
def test_a_target_that_is_a_mount_point(full, small, vault, tmp_path, bind, options):
    job = full.create_backup(small, vault)
    for name in ("volume", "mounted"):
        (tmp_path / name).mkdir()
    bind(tmp_path / "mounted", tmp_path / "volume")
    with pytest.raises(RestoreTargetError, match="volume is a mount point, which nothing can"):
        full.restore_backup(job, tmp_path / "volume", **options)
    full.restore_backup(job, tmp_path / "volume" / "below")
    assert picture(tmp_path / "volume" / "below") == picture(small)


def test_nothing_mounted_is_removed(tmp_path, outside, bind):
    tree = tmp_path / "tree"
    (tree / "a" / "mount").mkdir(parents=True)
    (tree / "file").touch()
    bind(outside, tree / "a" / "mount")
    with pytest.raises(OSError, match="is a mount point"):
        remove_tree(tree)
    assert (tree / "file").exists()


def test_another_device_is_not_removed_where_the_kernel_has_no_table(
    tmp_path, other_device, bind, monkeypatch
):
    tree = tmp_path / "tree"
    (tree / "mount").mkdir(parents=True)
    bind(other_device, tree / "mount")
    with monkeypatch.context() as patch:
        patch.setattr(mounts, "_TABLE", tmp_path / "nothing")
        with pytest.raises(OSError, match="another file system"):
            remove_tree(tree)
    assert (other_device / "file").exists()


def test_the_table_of_the_kernel_is_read(tmp_path, monkeypatch):
    (tmp_path / "a b").mkdir()
    line = "42 27 254:0 /x {} rw,relatime - ext4 /dev/vda rw\n"
    escaped = str(tmp_path).replace(" ", r"\040")
    points = [rf"{escaped}/a\040b/c\134d", f"{escaped}/a", "/", rf"{escaped}/a\040b"]
    table = tmp_path / "table"
    table.write_text("".join(line.format(point) for point in points))
    monkeypatch.setattr(mounts, "_TABLE", table)
    within = mounts.mounts_within(tmp_path / "a b")
    assert within == [f"{tmp_path}/a b", rf"{tmp_path}/a b/c\d"]
    assert "/" in mounts.mounts_within("/")
    monkeypatch.setattr(mounts, "_TABLE", tmp_path / "nothing")
    assert mounts.mounts_within("/") == ["/"]
    assert mounts.mounts_within(tmp_path) == []
