"""Refused before anything is touched: what can't be reached, or lies beyond the scratch. What fails
half way says how far it got."""

import errno
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from needs import lacks, needs_root
from pytest_drdrill import FaultError, FaultInjector
from pytest_drdrill.faults import files
from pytest_drdrill.mounts import mounts_within

NOBODY = 65534


@pytest.fixture
def scratch():
    """A folder that an ordinary user reaches, which tmp_path of root is not."""
    path = Path(tempfile.mkdtemp(prefix="drdrill-test-"))
    yield path
    # Which take trees of any depth.
    subprocess.run(["chmod", "-R", "u+rwx", path], check=True)
    subprocess.run(["rm", "-r", path], check=True)


@pytest.fixture
def tree(scratch):
    folder = scratch / "tree"
    (folder / "sub").mkdir(parents=True)
    for name in ("a", "sub/f", "z"):
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def told():
    return []


@pytest.fixture(params=["encrypt_files", "delete_files"])
def strike(request, scratch, told):
    return getattr(FaultInjector([scratch], announce=lambda *t: told.append(t)), request.param)


@pytest.fixture
def refused(strike, told):
    """Expect a refusal, and that all is as it was."""

    def attempt(root, message):
        before = sorted(path.relative_to(root) for path in root.rglob("*"))
        with pytest.raises(FaultError, match=message):
            strike(root)
        assert sorted(path.relative_to(root) for path in root.rglob("*")) == before
        for name in ("a", "z"):
            assert (root / name).read_text() == name
        assert told == []

    return attempt


@pytest.fixture
def ordinary_user(scratch):
    if os.geteuid() != 0:
        yield
        return
    os.chown(scratch, NOBODY, NOBODY)
    for path in scratch.rglob("*"):
        os.chown(path, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    yield
    os.seteuid(0)


@pytest.mark.parametrize("mode", [0o555, 0o600, 0o300, 0])
def test_closed_folder(tree, ordinary_user, refused, mode):
    (tree / "sub").chmod(mode)
    refused(tree, r"tree/sub(/f: Permission denied| can't be written to|: Permission denied)")


def test_single_file_in_a_closed_folder(tree, ordinary_user, strike):
    (tree / "sub").chmod(0o555)
    with pytest.raises(FaultError, match="tree/sub can't be written to; nothing was touched"):
        strike(tree / "sub" / "f")
    assert (tree / "sub" / "f").read_text() == "sub/f"


def test_file_of_another_user_is_not_encrypted(tree, scratch, ordinary_user):
    needs_root()
    os.seteuid(0)
    os.chown(tree / "z", NOBODY + 1, NOBODY)
    os.seteuid(NOBODY)
    with pytest.raises(FaultError, match="tree/z belongs to another user; nothing was touched"):
        FaultInjector([scratch]).encrypt_files(tree)
    assert (tree / "a").read_text() == "a"


@pytest.mark.parametrize("kind", ["symlink", "broken", "folder", "pipe", "long"])
def test_new_name_that_is_taken(tree, scratch, kind):
    taken = tree / "sub" / "f.locked"
    if kind == "symlink":
        taken.symlink_to(tree / "z")
    elif kind == "broken":
        taken.symlink_to("nowhere")
    elif kind == "folder":
        taken.mkdir()
    elif kind == "pipe":
        os.mkfifo(taken)
    else:  # a file whose own new name would be too long, so that it does not move on
        taken = tree / "sub" / ("n" * 248 + ".locked")
        taken.write_text("kept")
        (tree / "sub" / ("n" * 248)).touch()
    with pytest.raises(FaultError, match=r"\.locked is in the way of .*; nothing was touched"):
        FaultInjector([scratch]).encrypt_files(tree)
    assert sorted(path.name for path in tree.iterdir()) == ["a", "sub", "z"]
    assert [(tree / name).read_text() for name in ("a", "z", "sub/f")] == ["a", "z", "sub/f"]


def test_new_name_of_a_single_file_that_is_taken(tree, scratch):
    (tree / "a.locked").write_text("kept")
    with pytest.raises(FaultError, match="in the way"):
        FaultInjector([scratch]).encrypt_files(tree / "a")
    assert (tree / "a.locked").read_text() == "kept"


def deepen(folder, depth, name):
    at = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=at)
        inner = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)


def test_tree_deeper_than_the_stack(tree, strike):
    deepen(tree, 1050, "d")
    assert "3 files" in strike(tree).what


def test_tree_deeper_than_the_kernel_takes_paths(tree, strike, told):
    deepen(tree, 30, "d" * 200)
    with pytest.raises(FaultError, match="File name too long; nothing was touched"):
        strike(tree)
    assert [(tree / name).read_text() for name in ("a", "z", "sub/f")] == ["a", "z", "sub/f"]
    assert told == []


# -- mounts ------------------------------------------------------------------------------------


@pytest.fixture
def bind(scratch, tmp_path):
    def mount(what, where):
        command = shutil.which("mount")
        if not command or subprocess.run([command, "--bind", what, where], check=False).returncode:
            lacks("the right to mount")

    yield mount
    for where in [*mounts_within(scratch), *mounts_within(tmp_path)]:
        subprocess.run(["umount", where], check=True)


@pytest.fixture
def precious(tmp_path):
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "ledger").write_text("the only copy")
    yield folder
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"ledger": "the only copy"}


@pytest.mark.parametrize("at", ["tree/sub", "tree/sub/mount", "tree/z"])
def test_mount_below_the_target(scratch, tree, precious, bind, strike, told, at):
    if at.endswith("mount"):
        (scratch / at).mkdir()
    (scratch / at).is_dir() or (precious / "ledger").touch()
    bind(precious if (scratch / at).is_dir() else precious / "ledger", scratch / at)
    with pytest.raises(FaultError, match=f"through a mount, {scratch / at}; nothing was touched"):
        strike(tree)
    assert (tree / "a").read_text() == "a"
    assert told == []


@pytest.mark.parametrize("path", ["tree/sub", "tree/sub/ledger"])
def test_mount_above_the_target(scratch, tree, precious, bind, strike, path):
    bind(precious, tree / "sub")
    with pytest.raises(FaultError, match=f"through a mount, {tree / 'sub'}; nothing"):
        strike(scratch / path)


def test_mount_elsewhere_in_the_scratch_is_no_obstacle(scratch, tree, precious, bind, strike):
    (scratch / "mount").mkdir()
    bind(precious, scratch / "mount")
    assert "3 files" in strike(tree).what


def test_mount_that_is_named_as_scratch_is_scratch(tmp_path, scratch, tree, bind):
    (tmp_path / "mount").mkdir()
    bind(scratch, tmp_path / "mount")
    faults = FaultInjector([tmp_path, tmp_path / "mount"])
    faults.delete_files(tmp_path / "mount" / "tree")
    assert list(tree.iterdir()) == []


# -- half way ----------------------------------------------------------------------------------


def test_encryption_that_fails_half_way_says_how_far_it_got(scratch, tree, told, monkeypatch):
    real = files._encrypt

    def encrypt(path, key):
        if path.name == "a":  # the last one
            raise OSError(errno.EIO, os.strerror(errno.EIO), os.fspath(path))
        real(path, key)

    monkeypatch.setattr(files, "_encrypt", encrypt)
    faults = FaultInjector([scratch], announce=lambda *event: told.append(event))
    message = f"encrypted 2 of 3 files in {tree}, then failed: {tree / 'a'}: Input/output error"
    with pytest.raises(FaultError) as caught:
        faults.encrypt_files(tree)
    assert str(caught.value) == message
    assert told == [("fault", message)]


def test_deletion_that_fails_half_way_says_how_far_it_got(scratch, tree, told, monkeypatch):
    real = Path.unlink

    def unlink(self):
        if self.name == "f":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(self)

    monkeypatch.setattr(Path, "unlink", unlink)
    faults = FaultInjector([scratch], announce=lambda *event: told.append(event))
    message = f"deleted 2 of 3 files in {tree}, then failed: Input/output error"
    with pytest.raises(FaultError, match=f"^{message}$"):
        faults.delete_files(tree)
    assert told == [("fault", message)]


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_what_is_no_path(strike, path):
    with pytest.raises(FaultError, match="is no path, so there is nothing to break"):
        strike(path)


def test_loop_of_links(strike, scratch):
    (scratch / "loop").symlink_to("loop")
    with pytest.raises(FaultError, match="Too many levels of symbolic links"):
        strike(scratch / "loop")
