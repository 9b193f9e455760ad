"""A disk that is full, a real one: at whatever byte it fills up, nothing half-done stays.

Each sweep leaves a page more room than the one before, so that every write of a run meets the end
of the disk in its turn.
"""

import os

import pytest
from backup_trees import picture
from tight_disk import (
    TightDisk,
    mounted,
    refused,
    sweep_first_backup,
    sweep_restore,
    sweep_second_backup,
)

from pytest_drdrill.backup import (
    BackupError,
    BackupStatus,
    IncrementalBackupStrategy,
    RetentionPolicy,
)

PAGE = 4096
SENTENCE = r"No space left on device(?!.*inode)[^\n]*$"


class Disk(TightDisk):
    """One that can be filled up to so many pages."""

    sentence = SENTENCE

    def __init__(self, path):
        super().__init__(path, "fill")

    def free_pages(self):
        return os.statvfs(self.path).f_bavail

    def leave(self, amount):
        self.filler.unlink(missing_ok=True)
        size = self.free_pages() - amount
        assert size > 0
        with self.filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size * PAGE)
        assert self.free_pages() == amount

    def check_given_back(self, amount):
        assert self.free_pages() >= amount


@pytest.fixture
def disk(tmp_path):
    with mounted(tmp_path / "disk", "size=3m") as path:
        yield Disk(path)


@pytest.fixture
def source(small):
    """Large enough that the tar and the manifest meet the end of the disk midway, each of them."""
    (small / "large").write_bytes(os.urandom(40_000))
    for number in range(40):
        (small / f"{number:0100}").write_text(str(number))
    return small


def change(source):
    (source / "a.txt").write_text("changed")
    (source / "large").write_bytes(os.urandom(40_000))


@pytest.fixture
def strategy():
    return IncrementalBackupStrategy()


def test_a_backup_at_every_fill_level(strategy, disk, source, tmp_path):
    errors = sweep_second_backup(strategy, disk, source, change, tmp_path)
    assert len(errors) > 10
    for error in errors:
        assert str(disk.path / "vault") in str(error)
        assert error.job.id in str(error)


def test_the_first_backup_at_every_fill_level(full, disk, source):
    sweep_first_backup(full, disk, source)


@pytest.mark.parametrize("name", ["data.tar", "manifest.jsonl", "metadata.json.part"])
def test_a_disk_that_is_full_just_when_a_file_is_written(strategy, disk, source, monkeypatch, name):
    vault = disk.path / "vault"
    first = strategy.create_backup(source, vault)
    change(source)
    made = type(vault).open

    def fill_then_open(self, *args, **options):
        opened = made(self, *args, **options)
        if self.name == name:
            disk.leave(0)
        return opened

    monkeypatch.setattr(type(vault), "open", fill_then_open)
    with pytest.raises(BackupError, match=SENTENCE) as caught:
        strategy.create_backup(source, vault)
    assert caught.value.job.status is BackupStatus.FAILED
    assert strategy.list_backups(vault) == [first]
    assert [path for path in vault.iterdir() if path.is_dir()] == [first.path]


def test_what_a_full_disk_can_still_do(strategy, disk, source):
    vault = disk.path / "vault"
    for _ in range(4):
        job = strategy.create_backup(source, vault)
        change(source)
    strategy.verify_backup(job)
    disk.leave(0)
    listed = strategy.list_backups(vault)
    assert len(listed) == 4
    for job in listed:  # that it was can't be kept, which is no damage
        assert strategy.verify_backup(job).file_count == job.file_count
        assert not (job.path / "verified.json.part").exists()
    kept = [job.verified_at is not None for job in strategy.list_backups(vault)]
    assert kept == [True, False, False, False]


def test_pruning_a_full_disk_frees_it(full, disk, source):
    vault = disk.path / "vault"
    jobs = [full.create_backup(source, vault) for _ in range(4)]
    disk.leave(0)
    result = full.prune_backups(vault, RetentionPolicy(keep_last=1))
    assert list(result.pruned) == [job.id for job in jobs[2::-1]]
    assert result.warnings == ()
    assert disk.free_pages() * PAGE >= result.freed_bytes > 0
    assert full.list_backups(vault) == jobs[3:]
    full.create_backup(source, vault)


@pytest.mark.parametrize("holds", ["nothing", "a tree", "some paths"])
def test_a_restore_at_every_fill_level(full, disk, source, vault, holds):
    paths = ["large", "sub/b.txt"] if holds == "some paths" else None
    errors = sweep_restore(full, disk, source, vault, holds_tree=holds != "nothing", paths=paths)
    assert len(errors) > 10


def test_a_journal_that_no_longer_fits(full, disk, small, vault):
    # The whole tree was written; what fails is the last line before the first rename.
    many = [f"{number:0200}" for number in range(40)]
    for name in many:
        (small / name).touch()
    job = full.create_backup(small, vault)
    target = disk.path / "target"
    target.mkdir()
    (target / many[0]).write_text("older")
    before = picture(target)
    seen = []
    for error, result in refused(
        disk, lambda: full.restore_backup(job, target, replace=True, paths=many)
    ):
        if result is None:
            assert picture(target) == before
            seen.append(str(error))
    assert len(seen) > 1  # its first line fitted, then
    assert (target / many[0]).read_text() == ""
    assert (target / many[-1]).exists()
