"""A disk with room left, and no inode: at whichever file that is, nothing half-done stays."""

from __future__ import annotations

import itertools
import os

import pytest
from tight_disk import TightDisk, mounted, sweep_first_backup, sweep_restore, sweep_second_backup

from pytest_drdrill.backup import IncrementalBackupStrategy, RetentionPolicy


class Disk(TightDisk):
    """One of which all inodes but so many can be taken."""

    sentence = r": No space left on device; no inode is left$"

    def __init__(self, path):
        super().__init__(path, "taken")
        self.filler.mkdir()

    def free(self):
        return os.statvfs(self.path).f_ffree

    def leave(self, amount):
        files = sorted(self.filler.iterdir())
        names = itertools.count(len(files))
        while self.free() < amount:
            files.pop().unlink()
        while self.free() > amount:
            (self.filler / f"{next(names):06}").touch()
        assert self.free() == amount

    def check_given_back(self, amount):
        assert self.free() == amount


@pytest.fixture
def disk(tmp_path):
    with mounted(tmp_path / "disk", "size=8m,nr_inodes=120") as path:
        yield Disk(path)


def test_a_backup_at_every_number_of_inodes(disk, small, tmp_path):
    def change(source):
        (source / "a.txt").write_text("changed")

    errors = sweep_second_backup(IncrementalBackupStrategy(), disk, small, change, tmp_path)
    assert len(errors) == 4  # its folder, the tar, the manifest, the metadata
    for error in errors:
        where = f"can't write backup {error.job.id} to {disk.path / 'vault'}: "
        assert str(error).startswith(where)
        assert "\n" not in str(error)


def test_a_first_backup_without_an_inode(full, disk, small):
    for error in sweep_first_backup(full, disk, small):
        assert str(disk.path / "vault") in str(error)


@pytest.mark.parametrize("holds", ["nothing", "a tree", "some paths"])
def test_a_restore_at_every_number_of_inodes(full, disk, small, vault, holds):
    paths = ["a.txt", "sub/b.txt"] if holds == "some paths" else None
    errors = sweep_restore(full, disk, small, vault, holds_tree=holds != "nothing", paths=paths)
    assert len(errors) >= 5
    assert not any("\n" in str(error) for error in errors)


def test_what_a_disk_without_inodes_can_still_do(full, disk, small):
    vault = disk.path / "vault"
    jobs = [full.create_backup(small, vault) for _ in range(3)]
    disk.leave(0)
    assert full.list_backups(vault) == jobs[::-1]
    for job in jobs:
        assert full.verify_backup(job).file_count == 3
    result = full.prune_backups(vault, RetentionPolicy(keep_last=1))
    assert list(result.pruned) == [jobs[1].id, jobs[0].id]
    assert disk.free() >= 6
    full.create_backup(small, vault)
