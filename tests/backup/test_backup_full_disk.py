"""A disk that is full, a real one: at whatever byte it fills up, nothing half-done stays.

Each sweep leaves a page more room than the one before, so that every write of a run meets the end
of the disk in its turn.
"""

import itertools
import os
import re
import shutil
import subprocess

import pytest
from backup_trees import picture

from needs import lacks
from pytest_drdrill.backup import (
    BackupError,
    BackupRefused,
    BackupStatus,
    IncrementalBackupStrategy,
    RetentionPolicy,
)

PAGE = 4096
SENTENCE = r"No space left on device[^\n]*$"


class Disk:
    """A small file system in memory, which can be filled up to so many pages."""

    def __init__(self, path):
        self.path = path
        self._fill = path / "fill"

    def free_pages(self):
        return os.statvfs(self.path).f_bavail

    def leave(self, pages):
        """Fill it up but for so many pages."""
        self._fill.unlink(missing_ok=True)
        size = self.free_pages() - pages
        assert size > 0
        with self._fill.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size * PAGE)
        assert self.free_pages() == pages


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    path.mkdir()
    command = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=3m", "tmpfs", path]
    if not command or subprocess.run([command, *options], check=False).returncode:
        lacks("the right to mount")
    yield Disk(path)
    subprocess.run(["umount", path], check=True)


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


def refused(disk, act):
    """What an act on a disk with more and more room is refused with, until there is room enough."""
    for pages in itertools.count():
        disk.leave(pages)
        error = result = None
        try:
            result = act()
        except BackupError as raised:
            error = raised
        yield error, result
        if error is None:
            return
        assert re.search(SENTENCE, str(error)), str(error)
        assert disk.free_pages() >= pages  # it gave back what it had taken


@pytest.fixture
def strategy():
    return IncrementalBackupStrategy()


def test_a_backup_at_every_fill_level(strategy, disk, source, tmp_path):
    vault = disk.path / "vault"
    before = picture(source)
    first = strategy.create_backup(source, vault)
    change(source)
    failures = 0
    for error, job in refused(disk, lambda: strategy.create_backup(source, vault)):
        if job is None:
            failures += 1
            assert error.job.status is BackupStatus.FAILED
            assert error.job.error_message == str(error)
            assert str(vault) in str(error)
            assert error.job.id in str(error)
            assert strategy.list_backups(vault) == [first]
            assert sorted(path.name for path in vault.iterdir()) == [first.id, ".lock"][::-1]
    assert failures > 10
    assert strategy.list_backups(vault) == [job, first]
    strategy.restore_backup(first, tmp_path / "first")
    assert picture(tmp_path / "first") == before
    strategy.restore_backup(job, tmp_path / "second")
    assert picture(tmp_path / "second") == picture(source)


def test_the_first_backup_at_every_fill_level(full, disk, source):
    vault = disk.path / "vault"
    for error, job in refused(disk, lambda: full.create_backup(source, vault)):
        if job is None:
            # Only the folder and its lock could not be made; else there was a job.
            assert (error.job is None) == isinstance(error, BackupRefused)
            shutil.rmtree(vault, ignore_errors=True)
    full.verify_backup(job)


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
    job = full.create_backup(source, vault)
    target = disk.path / "target"
    paths = ["large", "sub/b.txt"] if holds == "some paths" else None
    if holds != "nothing":
        (target / "sub").mkdir(parents=True)
        (target / "sub" / "b.txt").write_text("older")
    names = set(os.listdir(disk.path))  # noqa: PTH208
    before = picture(target) if target.exists() else None
    failures = 0

    def act():
        return full.restore_backup(job, target, replace=True, paths=paths)

    for error, result in refused(disk, act):
        if result is None:
            failures += 1
            assert str(error).startswith(f"can't restore backup {job.id} to {target}: ")
            assert (picture(target) if target.exists() else None) == before
            assert set(os.listdir(disk.path)) == {*names, "fill"}  # noqa: PTH208
    assert failures > 10
    assert result.warnings == []
    if paths is None:
        assert picture(target) == picture(source)
    else:
        assert (target / "sub" / "b.txt").read_text() == "beta"
    assert set(os.listdir(disk.path)) == {*names, "fill", "target"}  # noqa: PTH208


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
