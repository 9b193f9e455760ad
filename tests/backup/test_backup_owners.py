"""Owners that can't be given back are said, and nothing runs with the rights of another one."""

import errno
import os
import stat

import pytest
from backup_trees import NOBODY, picture, rewrite_manifest

from needs import lacks, needs_root
from pytest_drdrill.backup import BackupError

SET_ID = stat.S_ISUID | stat.S_ISGID
STRANGER = 4321


def belonging_to(stranger, *names):
    def change(entries):
        for entry in entries:
            if entry["path"] in names:
                entry.update(stranger)
        return entries

    return change


@pytest.fixture
def tree(small):
    (small / "a.txt").chmod(0o4755)
    (small / "z.txt").chmod(0o2755)
    (small / "sub").chmod(0o2775)
    return small


def modes(root):
    return {name: stat.S_IMODE((root / name).stat().st_mode) for name in ("a.txt", "z.txt", "sub")}


@pytest.fixture
def refusing(monkeypatch):
    """As root of a container: the kernel refuses to give anything to the stranger."""

    def arrange(number):
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        for name, real in (("chown", os.chown), ("fchown", os.fchown)):

            def give(of, uid, gid, real=real, **options):
                if STRANGER in (uid, gid):
                    raise OSError(number, os.strerror(number))
                real(of, uid, gid, **options)

            monkeypatch.setattr(os, name, give)

    return arrange


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL])
@pytest.mark.parametrize("owner", [{"uid": STRANGER}, {"gid": STRANGER}])
def test_owners_that_the_kernel_refuses(full, tree, vault, tmp_path, refusing, number, owner):
    job = full.create_backup(tree, vault)
    rewrite_manifest(job, belonging_to(owner, "a.txt", "sub"))
    refusing(number)
    result = full.restore_backup(job, tmp_path / "restored")
    assert result.warnings == [
        f"owners could not be given back: {os.strerror(number)}",
        "'a.txt' and 1 more lost setuid and setgid, as the owner could not be given back",
    ]
    # The others, after it, still got their owners.
    assert modes(tmp_path / "restored") == {"a.txt": 0o755, "z.txt": 0o2755, "sub": 0o775}


def test_an_ordinary_user_keeps_the_bits_of_what_is_its_own_only(full, open_folder, as_user):
    source, vault, target = (open_folder / name for name in ("source", "vault", "restored"))
    with as_user():
        source.mkdir()
        for name in ("mine", "foreign"):
            (source / name).touch()
            (source / name).chmod(0o6755)
        job = full.create_backup(source, vault)
        rewrite_manifest(job, belonging_to({"uid": STRANGER}, "foreign"))
        result = full.restore_backup(job, target)
        assert result.warnings == [
            "'foreign' lost setuid and setgid, as the owner could not be given back"
        ]
    assert stat.S_IMODE((target / "mine").stat().st_mode) == 0o6755
    assert stat.S_IMODE((target / "foreign").stat().st_mode) == 0o755


def test_the_bits_come_back_with_their_owner(full, tree, vault, tmp_path):
    needs_root()
    for name in ("a.txt", "sub"):
        mode = (tree / name).stat().st_mode
        os.chown(tree / name, NOBODY, NOBODY)
        (tree / name).chmod(stat.S_IMODE(mode))
    job = full.create_backup(tree, vault)
    assert full.restore_backup(job, tmp_path / "restored").warnings == []
    assert picture(tmp_path / "restored") == picture(tree)
    assert modes(tmp_path / "restored")["a.txt"] & SET_ID


def test_another_error_of_the_disk_is_no_matter_of_owners(full, tree, vault, tmp_path, refusing):
    job = full.create_backup(tree, vault)
    rewrite_manifest(job, belonging_to({"uid": STRANGER}, "a.txt"))
    refusing(errno.EIO)
    with pytest.raises(BackupError, match="Input/output error"):
        full.restore_backup(job, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


@pytest.mark.parametrize("hands_down", [True, False])
def test_owners_come_back_where_new_files_get_another_group(
    full, tree, vault, tmp_path, hands_down
):
    shared = tmp_path / "shared"
    shared.mkdir()
    try:
        os.chown(shared, 0, STRANGER)
        os.chown(tree / "a.txt", NOBODY, STRANGER)
    except PermissionError:
        lacks("the right to give files away: run the tests as root")
    shared.chmod(0o2775 if hands_down else 0o775)
    (tree / "a.txt").chmod(0o4755)
    job = full.create_backup(tree, vault)
    result = full.restore_backup(job, shared / "restored")
    assert picture(shared / "restored") == picture(tree)
    assert result.warnings == []
