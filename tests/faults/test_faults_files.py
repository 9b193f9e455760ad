import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_drdrill import FaultError, FaultInjector
from pytest_drdrill.faults import files

BLOCK = 1 << 20


@pytest.fixture
def scratch(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def outside(tmp_path):
    """What no fault may touch."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "kept.txt").write_text("kept")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["kept.txt"]
    assert (folder / "kept.txt").read_text() == "kept"


@pytest.fixture
def faults(scratch):
    return FaultInjector([scratch])


@pytest.fixture
def orders(scratch):
    folder = scratch / "orders"
    (folder / "2026").mkdir(parents=True)
    (folder / "2026" / "1.txt").write_text("order 1")
    (folder / "2.txt").write_text("order 2")
    return folder


def names(folder):
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    )


# -- encryption --------------------------------------------------------------------------------


def test_every_file_is_replaced_in_place_and_renamed(faults, orders):
    inode = (orders / "2.txt").stat().st_ino
    fault = faults.encrypt_files(orders)
    assert names(orders) == ["2.txt.locked", "2026/1.txt.locked"]
    for path in (orders / "2.txt.locked", orders / "2026" / "1.txt.locked"):
        assert len(path.read_bytes()) == len("order 1")
        assert b"order" not in path.read_bytes()
    assert (orders / "2.txt.locked").stat().st_ino == inode
    assert fault.what == f"encrypted 2 files in {orders}"
    assert not fault.undoable
    with fault:
        pass
    fault.undo()
    assert names(orders) == ["2.txt.locked", "2026/1.txt.locked"]


def test_single_file_can_be_encrypted(faults, orders):
    faults.encrypt_files(orders / "2.txt")
    assert names(orders) == ["2.txt.locked", "2026/1.txt"]


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_files_of_any_size_are_encrypted_to_their_last_byte(faults, scratch, size):
    path = scratch / "file"
    path.write_bytes(bytes(size))
    faults.encrypt_files(path)
    locked = (scratch / "file.locked").read_bytes()
    assert len(locked) == size
    tail = 0 if size < 16 else -16
    assert size < 16 or any(locked[:16])
    assert size < 16 or any(locked[tail:])
    blocks = [locked[begin : begin + 64] for begin in range(0, size, BLOCK)]
    assert len(set(blocks)) == len(blocks)  # no key stream is used twice


def test_equal_files_are_encrypted_unlike(faults, scratch):
    for name in ("a", "b"):
        (scratch / name).write_bytes(bytes(64))
    for name in ("a", "b"):
        faults.encrypt_files(scratch / name)
    assert (scratch / "a.locked").read_bytes() != (scratch / "b.locked").read_bytes()


def test_empty_files_are_renamed(faults, orders):
    (orders / "empty").touch()
    assert "encrypted 3 files" in faults.encrypt_files(orders).what
    assert (orders / "empty.locked").read_bytes() == b""


def test_read_only_and_unreadable_files_are_encrypted_and_keep_their_modes(faults, orders):
    (orders / "2.txt").chmod(0o444)
    (orders / "2026" / "1.txt").chmod(0)
    faults.encrypt_files(orders)
    assert stat.S_IMODE((orders / "2.txt.locked").stat().st_mode) == 0o444
    assert stat.S_IMODE((orders / "2026" / "1.txt.locked").stat().st_mode) == 0
    (orders / "2026" / "1.txt.locked").chmod(0o600)
    assert b"order" not in (orders / "2026" / "1.txt.locked").read_bytes()


def test_files_are_made_accessible_first(faults, orders, monkeypatch):
    # What root would not need: an ordinary user opens no file without these.
    modes = []

    def encrypt(path, key, encrypt=files._encrypt):
        modes.append(stat.S_IMODE(path.stat().st_mode))
        encrypt(path, key)

    monkeypatch.setattr(files, "_encrypt", encrypt)
    (orders / "2.txt").chmod(0o444)
    (orders / "2026" / "1.txt").chmod(0)
    faults.encrypt_files(orders)
    assert modes == [0o600, 0o644]


def test_file_that_bears_the_locked_name_already_is_not_overwritten(faults, orders):
    (orders / "2.txt.locked").write_text("an older one")
    faults.encrypt_files(orders)
    assert names(orders) == ["2.txt.locked", "2.txt.locked.locked", "2026/1.txt.locked"]
    assert len((orders / "2.txt.locked").read_bytes()) == len("order 2")
    assert len((orders / "2.txt.locked.locked").read_bytes()) == len("an older one")


def test_encryption_can_strike_twice(faults, orders):
    faults.encrypt_files(orders)
    faults.encrypt_files(orders)
    assert names(orders) == ["2.txt.locked.locked", "2026/1.txt.locked.locked"]


@pytest.mark.parametrize("length", [248, 249, 255])
def test_long_names_are_kept_where_no_longer_one_fits(faults, scratch, length):
    (scratch / "x").mkdir()
    (scratch / "x" / ("n" * length)).write_text("order 1")
    faults.encrypt_files(scratch / "x")
    (name,) = names(scratch / "x")
    assert name == "n" * length + (".locked" if length == 248 else "")
    assert b"order" not in (scratch / "x" / name).read_bytes()


def test_names_that_are_not_utf8(faults, scratch):
    raw = os.fsencode(scratch / "x") + b"/\xff\xfe"
    os.mkdir(os.path.dirname(raw))  # noqa: PTH102, PTH120 - names of bytes
    Path(os.fsdecode(raw)).write_text("order")
    faults.encrypt_files(scratch / "x")
    assert Path(os.fsdecode(raw + b".locked")).exists()
    assert "deleted 1 files" in faults.delete_files(scratch / "x").what


def test_links_and_pipes_are_left_alone(faults, orders, outside):
    (orders / "to-file").symlink_to(outside / "kept.txt")
    (orders / "to-folder").symlink_to(outside)
    (orders / "broken").symlink_to("nowhere")
    os.mkfifo(orders / "pipe")
    faults.encrypt_files(orders)
    assert names(orders) == [
        "2.txt.locked",
        "2026/1.txt.locked",
        "broken",
        "pipe",
        "to-file",
        "to-folder",
    ]


def test_hard_link_to_elsewhere_is_refused_before_anything_happens(faults, orders, outside):
    (orders / "3.txt").hardlink_to(outside / "kept.txt")
    with pytest.raises(FaultError, match=r"3\.txt is a hard link .* outside"):
        faults.encrypt_files(orders)
    assert names(orders) == ["2.txt", "2026/1.txt", "3.txt"]
    assert (orders / "2.txt").read_text() == "order 2"
    with pytest.raises(FaultError, match="is a hard link"):
        faults.encrypt_files(orders / "3.txt")


def test_hard_links_within_the_folder_are_encrypted(faults, orders):
    (orders / "3.txt").hardlink_to(orders / "2.txt")
    assert "encrypted 3 files" in faults.encrypt_files(orders).what
    assert (orders / "3.txt.locked").samefile(orders / "2.txt.locked")
    assert b"order" not in (orders / "2.txt.locked").read_bytes()


# -- deletion ----------------------------------------------------------------------------------


def test_everything_in_a_folder_is_deleted_but_the_folder(faults, orders, outside):
    (orders / "empty" / "deeper").mkdir(parents=True)
    (orders / "to-file").symlink_to(outside / "kept.txt")
    (orders / "to-folder").symlink_to(outside)
    (orders / "linked").hardlink_to(outside / "kept.txt")
    os.mkfifo(orders / "pipe")
    fault = faults.delete_files(orders)
    assert list(orders.iterdir()) == []
    assert fault.what == f"deleted 6 files in {orders}"
    assert not fault.undoable


def test_single_file_can_be_deleted(faults, orders):
    assert "deleted 1 files" in faults.delete_files(orders / "2.txt").what
    assert names(orders) == ["2026/1.txt"]


def test_folder_of_links_alone_holds_something_to_delete(faults, scratch, outside):
    (scratch / "x").mkdir()
    (scratch / "x" / "to-folder").symlink_to(outside)
    assert "deleted 1 files" in faults.delete_files(scratch / "x").what
    assert list((scratch / "x").iterdir()) == []


# -- refusals ----------------------------------------------------------------------------------


@pytest.fixture(params=["encrypt_files", "delete_files"])
def strike(request, faults):
    return getattr(faults, request.param)


def test_folder_without_a_file_is_refused_before_anything_happens(strike, scratch):
    (scratch / "x" / "empty").mkdir(parents=True)
    with pytest.raises(FaultError, match="holds no file"):
        strike(scratch / "x")
    assert (scratch / "x" / "empty").is_dir()


def test_what_does_not_exist_is_refused(strike, scratch):
    (scratch / "broken").symlink_to(scratch / "nowhere")
    for name in ("nowhere", "broken"):
        with pytest.raises(FaultError, match="does not exist, so there is nothing to break"):
            strike(scratch / name)


def test_everything_outside_the_scratch_is_refused(strike, scratch, outside, orders):
    (scratch / "link").symlink_to(outside)
    (scratch / "orders-2").mkdir()
    with pytest.raises(FaultError):
        FaultInjector([orders]).delete_files(scratch / "orders-2")
    for path in (
        outside,
        outside / "kept.txt",
        scratch / "link",
        scratch / "link" / "kept.txt",
        scratch / ".." / "outside",
        scratch.parent,
        scratch,  # the root itself: others drill below it
        scratch / "orders" / "..",
        "/",
    ):
        with pytest.raises(FaultError, match="is not this drill's scratch"):
            strike(path)


def test_refusal_names_the_scratch(outside, scratch, tmp_path):
    with pytest.raises(FaultError, match=f"anything below {scratch}, {tmp_path}/x$"):
        FaultInjector([scratch, tmp_path / "x"]).delete_files(outside)
    with pytest.raises(FaultError, match="anything below none"):
        FaultInjector([]).delete_files(outside)


def test_scratch_behind_a_link_is_scratch(tmp_path, orders):
    (tmp_path / "alias").symlink_to(orders.parent)
    FaultInjector([tmp_path / "alias"]).delete_files(tmp_path / "alias" / "orders")
    assert list(orders.iterdir()) == []


def test_faults_are_announced_once_they_have_struck(scratch, orders):
    told = []
    faults = FaultInjector([scratch], announce=lambda *event: told.append(event))
    with pytest.raises(FaultError):
        faults.delete_files(scratch / "nowhere")
    assert told == []
    faults.encrypt_files(orders / "2.txt")
    assert told == [("fault", f"encrypted 1 files in {orders / '2.txt'}")]


def test_faults_load_no_heavy_module():
    script = """
import sys, pytest_drdrill.faults
assert not {"pytest", "asyncio", "aiohttp", "hypothesis"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
