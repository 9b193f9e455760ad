"""Bad input: one clear sentence each, and nothing changed."""

import errno
import fcntl
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from backup_trees import picture

from pytest_drdrill.backup import (
    BackupError,
    BackupJob,
    BackupLocked,
    BackupNotFound,
    BackupRefused,
    BackupStatus,
    BackupStrategy,
    BackupType,
)
from pytest_drdrill.backup import store as store_module


def one_sentence(error):
    text = str(error)
    assert "\n" not in text
    assert len(text) < 300
    return text


def test_source_missing(full, tmp_path, vault):
    with pytest.raises(BackupRefused, match="does not exist") as caught:
        full.create_backup(tmp_path / "nothing", vault)
    assert str(tmp_path / "nothing") in one_sentence(caught.value)
    assert caught.value.job is None
    assert not vault.exists()


def test_source_is_a_file(full, small, vault):
    with pytest.raises(BackupRefused, match="is no folder"):
        full.create_backup(small / "a.txt", vault)
    assert not vault.exists()


@pytest.mark.parametrize("inside", ["vault", "sub/vault"])
def test_destination_inside_the_source(full, small, inside):
    before = picture(small)
    with pytest.raises(BackupRefused, match="lies inside the source"):
        full.create_backup(small, small / inside)
    assert picture(small) == before


def test_destination_inside_the_source_through_a_symlink(full, small, tmp_path):
    (tmp_path / "alias").symlink_to(small / "sub")
    with pytest.raises(BackupRefused, match="lies inside the source"):
        full.create_backup(small, tmp_path / "alias" / "vault")


def test_source_inside_the_destination(full, small, tmp_path):
    with pytest.raises(BackupRefused, match="lies inside the destination"):
        full.create_backup(small, tmp_path)
    assert not (tmp_path / ".lock").exists()


def test_source_inside_the_destination_through_a_symlink(full, small, tmp_path):
    (tmp_path / "alias").symlink_to(small / "sub")
    before = picture(small)
    with pytest.raises(BackupRefused, match="lies inside the destination") as caught:
        full.create_backup(tmp_path / "alias", small)
    assert str(tmp_path / "alias") in one_sentence(caught.value)
    assert picture(small) == before


def test_source_is_the_destination(full, small):
    with pytest.raises(BackupRefused, match="the same folder"):
        full.create_backup(small, small)


def test_a_name_that_only_begins_alike_is_no_overlap(full, small, tmp_path):
    assert full.create_backup(small, tmp_path / "small-vault").file_count == 3


def test_destination_is_a_file(full, small, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BackupRefused, match="can't write to"):
        full.create_backup(small, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_destination_read_only(full, open_folder, as_user):
    source, vault = open_folder / "source", open_folder / "vault"
    source.mkdir()
    vault.mkdir(mode=0o555)
    with as_user(), pytest.raises(BackupRefused, match="Permission denied") as caught:
        full.create_backup(source, vault)
    assert str(vault) in one_sentence(caught.value)
    assert list(vault.iterdir()) == []


def test_destination_that_takes_no_folder(full, open_folder, as_user):
    # The lock can be taken, but no backup begun: the job is attached.
    source, vault = open_folder / "source", open_folder / "vault"
    source.mkdir()
    vault.mkdir()
    (vault / ".lock").touch()
    (vault / ".lock").chmod(0o666)
    vault.chmod(0o555)
    with as_user(), pytest.raises(BackupError, match="can't write backup") as caught:
        full.create_backup(source, vault)
    assert caught.value.job.status is BackupStatus.FAILED
    assert [path.name for path in vault.iterdir()] == [".lock"]


def test_disk_full(full, small, vault, monkeypatch):
    first = full.create_backup(small, vault)
    real = os.fsync

    def full_disk(fd):
        if Path(f"/proc/self/fd/{fd}").readlink().name == "manifest.jsonl":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(fd)

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(BackupError, match="No space left on device") as caught:
        full.create_backup(small, vault)
    job = caught.value.job
    assert job.status is BackupStatus.FAILED
    assert job.error_message == one_sentence(caught.value)
    assert job.completed_at is None
    assert not job.path.exists()
    monkeypatch.undo()
    assert full.list_backups(vault) == [first]
    full.verify_backup(first)


def test_a_real_limit_on_file_size(small, vault):
    # The kernel itself refuses to write: the same as a full disk, from the outside.
    (small / "big").write_bytes(os.urandom(300_000))
    script = """
import resource, signal, sys
from pytest_drdrill.backup import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    FullBackupStrategy().create_backup(*sys.argv[1:])
except BackupError as error:
    print(error.job.status, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, small, vault], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("failed can't write backup 000001-full")
    assert "File too large" in done.stdout
    assert [path.name for path in vault.iterdir()] == [".lock"]


def test_interrupted_by_the_user(full, small, vault, monkeypatch):
    def interrupt(fd):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    vault.mkdir()
    with pytest.raises(KeyboardInterrupt) as caught:
        full.create_backup(small, vault)
    assert [path.name for path in vault.iterdir()] == [".lock"]
    (note,) = caught.value.__notes__
    assert re.fullmatch(rf"backup 000001-full-\w+ failed, and is not in {vault}", note)


def test_two_writers_at_once(full, small, vault, monkeypatch):
    errors = []
    real = store_module.Store.publish

    def meanwhile(self, job):
        with pytest.raises(BackupLocked) as caught:
            full.create_backup(small, vault)
        errors.append(one_sentence(caught.value))
        assert full.list_backups(vault) == []  # a reader does not wait
        real(self, job)

    monkeypatch.setattr(store_module.Store, "publish", meanwhile)
    job = full.create_backup(small, vault)
    assert errors == [f"another run is writing to {vault}; try later"]
    assert full.list_backups(vault) == [job]


def test_a_writer_in_another_process(full, small, vault):
    first = full.create_backup(small, vault)
    script = """
import sys
from pathlib import Path
from pathlib import Path
from pytest_drdrill.backup.store import Store
with Store(sys.argv[1]).writing():
    print("locked", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", script, vault]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"locked\n"
        with pytest.raises(BackupLocked):
            full.create_backup(small, vault)
        full.verify_backup(first)
        writer.kill()
    # The lock dies with its process.
    full.create_backup(small, vault)


def test_a_child_forked_meanwhile_does_not_keep_the_lock(full, small, vault):
    # The child stands for a worker that a thread started: it has a copy of every descriptor.
    script = """
import os, sys
from pytest_drdrill.backup import FullBackupStrategy
from pytest_drdrill.backup.store import Store
end, begin = os.pipe()
with Store(sys.argv[2]).writing():
    child = os.fork()
    if not child:
        os.close(begin)
        os.read(end, 1)
        os._exit(0)
print(FullBackupStrategy().create_backup(*sys.argv[1:]).status)
os.close(begin)
os.waitpid(child, 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, small, vault], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("completed\n", "")


def test_the_lock_is_taken_through_no_symlink(full, small, vault, tmp_path):
    vault.mkdir()
    (vault / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BackupRefused, match="can't write to"):
        full.create_backup(small, vault)
    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_that_nobody_holds_is_no_obstacle(full, small, vault):
    vault.mkdir()
    with (vault / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
    full.create_backup(small, vault)


@pytest.mark.parametrize("job_id", ["../x", "/etc", "", ".", "000001-full-20260101T000000Z/../x"])
def test_a_job_id_that_climbs_out(full, small, vault, tmp_path, job_id):
    job = full.create_backup(small, vault)
    job.id = job_id
    for attempt in (lambda: full.restore_backup(job, tmp_path / "r"), lambda: job.path):
        with pytest.raises(BackupRefused, match="is no id of a backup"):
            attempt()
    with pytest.raises(BackupRefused, match="is no id of a backup"):
        full.verify_backup(job)
    assert not (tmp_path / "r").exists()


def test_a_backup_that_is_not_there(full, small, vault, tmp_path):
    job = full.create_backup(small, vault)
    job.id = "000002-full-20260101T000000Z"
    with pytest.raises(BackupNotFound, match="there is no backup 000002"):
        full.restore_backup(job, tmp_path / "restored")


@pytest.mark.parametrize("status", ["pending", "running", "failed"])
def test_a_job_that_was_never_completed(full, small, vault, tmp_path, status):
    job = full.create_backup(small, vault)
    job.status = BackupStatus(status)
    for attempt in (full.verify_backup, lambda job: full.restore_backup(job, tmp_path / "r")):
        with pytest.raises(BackupRefused, match=f"is {status}, not completed"):
            attempt(job)


def test_metadata_of_a_job_that_never_completed_counts_for_nothing(full, small, vault):
    job = full.create_backup(small, vault)
    job.status = BackupStatus.RUNNING
    document = store_module._document(job.to_metadata())
    (job.path / "metadata.json").write_bytes(document)
    assert full.list_backups(vault) == []


def test_listing_what_is_no_vault(full, tmp_path):
    with pytest.raises(BackupRefused, match="there is no folder"):
        full.list_backups(tmp_path / "nothing")
    (tmp_path / "file").touch()
    with pytest.raises(BackupRefused, match="can't read"):
        full.list_backups(tmp_path / "file")


def test_foreign_things_in_the_vault_are_left_alone(full, small, vault):
    leftover = vault / "000007-full-20260101T000000Z"
    leftover.mkdir(parents=True)
    (leftover / "mine.txt").write_text("mine")
    (vault / "notes").mkdir()
    (vault / "notes" / "data.tar").write_text("mine")
    outside = vault.parent / "outside"
    outside.mkdir()
    (outside / "data.tar").write_text("mine")
    (vault / "000008-full-20260101T000000Z").symlink_to(outside)
    job = full.create_backup(small, vault)
    assert (leftover / "mine.txt").exists()
    assert (vault / "notes" / "data.tar").exists()
    assert (outside / "data.tar").exists()
    assert full.list_backups(vault) == [job]


@pytest.mark.parametrize("mode", [0o755, 0o700, 0])
def test_a_leftover_that_can_not_be_removed_is_named(full, open_folder, as_user, mode):
    # Of another user: it can't be removed, and may not even be looked into.
    source, vault = open_folder / "source", open_folder / "vault"
    with as_user():
        source.mkdir()
        job = full.create_backup(source, vault)
    leftover = vault / "000007-full-20260101T000000Z"
    leftover.mkdir()
    (leftover / "data.tar").touch()
    leftover.chmod(mode)
    if os.geteuid() != 0:
        leftover.chmod(0o500)  # one's own is as good, where it can't be written to
    with as_user():
        with pytest.raises(BackupRefused) as caught:
            full.create_backup(source, vault)
        assert full.list_backups(vault) == [job]
    assert str(leftover) in one_sentence(caught.value)
    assert "Permission denied" in str(caught.value)


def test_a_folder_with_an_absurd_number_is_ignored(full, small, vault):
    absurd = vault / ("9" * 18 + "-full-20260101T000000Z")
    absurd.mkdir(parents=True)
    (absurd / "mine").touch()
    assert full.create_backup(small, vault).id.startswith("000001-full-")
    assert full.create_backup(small, vault).id.startswith("000002-full-")
    assert (absurd / "mine").exists()


def test_the_fields_of_a_job_come_in_the_order_of_the_design():
    names = list(inspect.signature(BackupJob).parameters)
    assert names[:12] == [
        "id",
        "backup_type",
        "source_path",
        "destination_path",
        "created_at",
        "started_at",
        "completed_at",
        "status",
        "size_bytes",
        "error_message",
        "recovery_point",
        "warnings",
    ]
    assert names[12:] == [
        "stored_bytes",
        "file_count",
        "entry_count",
        "parent_id",
        "parent_sha256",
        "bases",
        "manifest_id",
        "manifest_sha256",
        "verified_at",
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", "../x"),
        ("parent_id", "../x"),
        ("backup_type", "partial"),
        ("status", "done"),
        ("created_at", None),
        ("created_at", "yesterday"),
        ("created_at", 5),
        ("source_path", 5),
        ("size_bytes", -1),
        ("file_count", True),
        ("warnings", "text"),
        ("warnings", [5]),
        ("error_message", 5),
        ("manifest_sha256", "0"),
        ("surprise", 1),
    ],
)
def test_metadata_of_the_wrong_kind(full, small, vault, key, value):
    metadata = full.create_backup(small, vault).to_metadata()
    metadata[key] = value
    with pytest.raises(BackupError, match="can't be read") as caught:
        BackupJob.from_metadata(metadata, vault)
    assert caught.value.damaged == ("metadata.json",)


def test_the_names_of_types_and_states():
    assert [kind.value for kind in BackupType] == ["full", "incremental", "differential"]
    states = [status.value for status in BackupStatus]
    assert states == ["pending", "running", "completed", "failed"]
    with pytest.raises(TypeError, match="abstract"):
        BackupStrategy()
