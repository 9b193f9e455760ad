"""Whatever the kernel gives, a completed backup can be read again: times, warnings, names."""

import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from backup_trees import picture

from needs import lacks
from pytest_drdrill.backup import BackupError, IncrementalBackupStrategy, capture, source
from pytest_drdrill.backup import store as store_module
from pytest_drdrill.backup.entry import Entry, parse_line
from pytest_drdrill.backup.source import Source

SECONDS = 2**63
BEYOND_64_BITS = 10_413_792_000_123_456_789  # the year 2300, in nanoseconds
ENTRY = Entry(".", "folder", 0, 0o755, 0, 0, 0, 0, 1, 1, backup="000001-full-20260101T000000Z")


@pytest.fixture
def wide_folder(tmp_path):
    """A folder whose file system keeps times that 64 bits of nanoseconds do not hold."""
    for base in (tmp_path, Path("/dev/shm")):
        if not base.is_dir():
            continue
        folder = Path(tempfile.mkdtemp(dir=base))
        os.utime(folder, ns=(0, BEYOND_64_BITS))
        if folder.stat().st_mtime_ns == BEYOND_64_BITS:
            yield folder
            shutil.rmtree(folder)
            return
        folder.rmdir()
    lacks("a file system that keeps such times")


@pytest.mark.parametrize("mtime", [BEYOND_64_BITS, -1_500_000_001])
def test_times_beyond_64_bits_of_nanoseconds_come_back(full, wide_folder, mtime):
    source = wide_folder / "source"
    source.mkdir()
    (source / "photo").write_text("from a camera whose clock was wrong")
    for path in (source / "photo", source):
        os.utime(path, ns=(0, mtime))
    job = full.create_backup(source, wide_folder / "vault")
    full.verify_backup(job)
    full.restore_backup(job, wide_folder / "restored")
    assert (wide_folder / "restored" / "photo").stat().st_mtime_ns == mtime
    assert picture(wide_folder / "restored") == picture(source)


@pytest.mark.parametrize("moment", [-SECONDS * 10**9, SECONDS * 10**9 - 1])
def test_every_time_of_the_kernel_is_taken(tmp_path, moment):
    entry = replace(ENTRY, mtime_ns=moment, ctime_ns=moment)
    assert parse_line(entry.line()) == entry
    os.utime(tmp_path, ns=(moment, moment))  # as a restore does; it takes what it can keep


@pytest.mark.parametrize("moment", [-SECONDS * 10**9 - 1, SECONDS * 10**9])
@pytest.mark.parametrize("name", ["mtime_ns", "ctime_ns"])
def test_a_time_that_no_kernel_gives_is_none(name, moment):
    with pytest.raises(ValueError, match=name):
        parse_line(replace(ENTRY, **{name: moment}).line())


def test_warnings_end_at_a_number_and_are_counted(full, small, vault, monkeypatch):
    monkeypatch.setattr(capture, "_WARNINGS", 3)
    for name in "cdefg":
        os.mkfifo(small / name)
    job = full.create_backup(small, vault)
    assert [text.split()[0] for text in job.warnings] == ["'c'", "'d'", "'e'", "and"]
    assert job.warnings[3] == "and 2 more warnings, which are not listed"
    assert full.list_backups(vault) == [job]


def test_the_most_warnings_there_can_be_are_readable(full, small, vault):
    job = full.create_backup(small, vault)
    longest = repr("\udcff" * 4095) + " vanished or changed its type while it was read"
    job.warnings = [longest] * capture._WARNINGS
    assert len(json.dumps(job.to_metadata())) < store_module._METADATA_LIMIT


def test_metadata_that_no_reader_takes_are_never_published(full, small, vault, monkeypatch):
    job = full.create_backup(small, vault)
    size = (job.path / "metadata.json").stat().st_size
    monkeypatch.setattr(store_module, "_METADATA_LIMIT", size)
    assert full.list_backups(vault) == [job]
    monkeypatch.setattr(store_module, "_METADATA_LIMIT", size - 100)
    with pytest.raises(BackupError, match="metadata of backup 000002"):
        full.create_backup(small, vault)
    monkeypatch.undo()
    assert full.list_backups(vault) == [job]


@pytest.mark.parametrize("name", ["数" * 80, "n" * 250, "é" * 120, "\udcff" * 250])
def test_a_target_with_a_long_name(full, small, vault, tmp_path, name):
    job = full.create_backup(small, vault)
    target = tmp_path / name
    full.restore_backup(job, target)
    full.restore_backup(job, target, replace=True)
    assert picture(target) == picture(small)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("length", [4090, 4094, 4095])
def test_paths_as_long_as_the_kernel_takes(full, vault, tmp_path, length):
    # A replaced tree of such paths is removed too: relative to it, none may be a byte longer.
    source = tmp_path / "s"
    source.mkdir()
    folder, left = os.open(source, os.O_RDONLY), length
    while left > 0:
        name = "d" * (250 if left > 252 else min(left, 250))
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder, left = inner, left - len(name) - 1
    os.close(folder)
    job = full.create_backup(source, vault)
    full.restore_backup(job, tmp_path / "r")
    result = full.restore_backup(job, tmp_path / "r", replace=True)
    assert result.warnings == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r", "s", "vault"]


def test_attributes_that_no_reader_takes_fail_the_job(full, small, vault, monkeypatch):
    # More than ext4 keeps for a file; others keep it.
    real = Source.xattrs

    def many(self, path, fd=None):
        if path != "a.txt":
            return real(self, path, fd)
        return {f"user.{number}": "A" * 65536 for number in range(20)}

    monkeypatch.setattr(Source, "xattrs", many)
    with pytest.raises(BackupError, match=r"can't back up 'a.txt': its attributes take 1,31\d,"):
        full.create_backup(small, vault)
    assert full.list_backups(vault) == []


def test_a_folder_with_very_many_names_is_in_order(full, small, vault, tmp_path, monkeypatch):
    # Names that sort by what follows them, and kinds that only a further look tells apart.
    for name in ("a", "a!", "a.", "a0", "\udcff", "\u00e4"):
        (small / name).write_text(name, errors="surrogateescape")
    (small / "b").mkdir()
    (small / "c").symlink_to("a")
    os.mkfifo(small / "d")
    few = list(Source(small).listing("."))
    monkeypatch.setattr(source, "_MANY", 3)
    assert list(Source(small).listing(".")) == few
    job = full.create_backup(small, vault)
    full.verify_backup(job)
    (small / "d").unlink()
    again = IncrementalBackupStrategy().create_backup(small, vault)
    full.restore_backup(again, tmp_path / "restored")
    assert picture(tmp_path / "restored") == picture(small)


@pytest.mark.parametrize("most", [3, 1000])
def test_a_name_that_the_file_system_gives_twice_comes_once(
    full, small, vault, tmp_path, monkeypatch, most
):
    real = os.scandir

    class Twice:
        def __init__(self, of):
            self.found = real(of)

        def __enter__(self):
            return self.items()

        def __exit__(self, *_):
            self.found.close()

        def items(self):
            known = list(self.found)
            return iter([*known, *known])

    with monkeypatch.context() as patch:
        patch.setattr(source, "_MANY", most)
        patch.setattr(
            source.os, "scandir", lambda of: Twice(of) if isinstance(of, int) else real(of)
        )
        patch.setattr(os, "listdir", lambda of, names=os.listdir: names(of) * 2)
        job = full.create_backup(small, vault)
        (small / "z.txt").unlink()
        job = IncrementalBackupStrategy().create_backup(small, vault)
        assert job.parent_id
    full.restore_backup(job, tmp_path / "restored")
    assert picture(tmp_path / "restored") == picture(small)
