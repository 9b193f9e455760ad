"""What can't be read: by policy the job fails, or it is left out and named."""

import errno
import os
from pathlib import Path

import pytest
from backup_trees import fail_reading, picture

from pytest_drdrill.backup import (
    BackupError,
    BackupRefused,
    FullBackupStrategy,
    IncrementalBackupStrategy,
)

LARGE = 3 << 20


@pytest.fixture
def skipping():
    return IncrementalBackupStrategy(unreadable="skip")


@pytest.fixture
def closed(open_folder, as_user):
    """A source with a file and a folder that an ordinary user can't read, and where to put it."""
    source, vault = open_folder / "source", open_folder / "vault"
    for folder in (source, vault, source / "closed", source / "open"):
        folder.mkdir()
    vault.chmod(0o777)
    for name in ("closed/in", "open/in", "secret", "shown"):
        (source / name).write_text(name)
    (source / "secret").chmod(0)
    (source / "closed").chmod(0)
    return source, vault


def test_it_is_left_out_and_named(skipping, closed, as_user, open_folder):
    source, vault = closed
    with as_user():
        job = skipping.create_backup(source, vault)
        skipping.verify_backup(job)
        skipping.restore_backup(job, vault / "restored")
    assert job.warnings[1:] == [
        f"can't read {str(source / 'closed')!r}: Permission denied; what it holds was left out",
        f"can't read {str(source / 'secret')!r}: Permission denied; it was left out",
    ]
    found = {path.relative_to(vault / "restored") for path in (vault / "restored").rglob("*")}
    assert found == {Path("closed"), Path("open"), Path("open/in"), Path("shown")}


def test_once_it_can_be_read_it_is_in_the_next_backup(skipping, closed, as_user, tmp_path):
    source, vault = closed
    with as_user():
        skipping.create_backup(source, vault)
    (source / "closed").chmod(0o755)
    (source / "secret").chmod(0o644)
    with as_user():
        job = skipping.create_backup(source, vault)
    assert job.warnings == []
    skipping.restore_backup(job, tmp_path / "restored")
    assert picture(tmp_path / "restored") == picture(source)


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_disk_that_fails_in_mid_file(skipping, small, vault, tmp_path, monkeypatch, size):
    for name in ("l1", "l2", "l3", "l4", "m"):
        (small / name).write_bytes(os.urandom(size))
    fail_reading(monkeypatch, "l", errno.EIO, after=0 if size == 10 else 1)
    job = skipping.create_backup(small, vault)
    assert [text.partition("; ")[0] for text in job.warnings[1:]] == [
        f"can't read {str(small / name)!r}: Input/output error" for name in ("l1", "l2", "l3", "l4")
    ]
    monkeypatch.undo()
    skipping.verify_backup(job)
    skipping.restore_backup(job, tmp_path / "restored")
    assert {path.name for path in (tmp_path / "restored").iterdir()} == {
        "a.txt",
        "m",
        "sub",
        "z.txt",
    }


def test_the_source_itself_is_never_left_out(skipping, open_folder, as_user):
    source = open_folder / "source"
    source.mkdir(mode=0)
    with as_user(), pytest.raises(BackupError, match="Permission denied"):
        skipping.create_backup(source, open_folder / "vault")


def test_nor_when_it_fails_while_it_is_listed(skipping, small, vault, monkeypatch):
    real = os.scandir

    def fail(of):
        if isinstance(of, int) and Path(f"/proc/self/fd/{of}").readlink() == small:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(of)

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(BackupError, match=r"can't read '.*/small': Input/output error"):
        skipping.create_backup(small, vault)
    assert skipping.list_backups(vault) == []


def test_without_that_policy_the_job_fails(full, closed, as_user):
    source, vault = closed
    with as_user(), pytest.raises(BackupError, match="closed'") as caught:
        full.create_backup(source, vault)
    assert caught.value.job.error_message == str(caught.value)


@pytest.mark.parametrize("policy", ["ignore", "", None, True])
def test_another_policy_is_refused(policy):
    with pytest.raises(BackupRefused, match="unreadable is 'fail' or 'skip', not"):
        FullBackupStrategy(unreadable=policy)
