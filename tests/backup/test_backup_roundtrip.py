"""What goes in comes out: every kind of entry, by this package and by plain tar."""
# ruff: noqa: PTH101, PTH102, PTH123, PTH208, PTH211 - names are bytes here, which pathlib does not take

import json
import os
import shutil
import socket
import stat
import subprocess
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from backup_trees import make_tree, picture, rest
from hypothesis import given, settings
from hypothesis import strategies as st

from needs import lacks, needs_root
from pytest_drdrill.backup import (
    BackupJob,
    BackupStatus,
    BackupType,
    FullBackupStrategy,
    IncrementalBackupStrategy,
)
from pytest_drdrill.backup.manifest import read_manifest


def test_every_kind_of_entry_comes_back(full, source, vault, tmp_path):
    before = picture(source)
    job = full.create_backup(source, vault)
    assert job.warnings == []
    result = full.restore_backup(job, tmp_path / "restored")
    assert picture(tmp_path / "restored") == before
    assert picture(source) == before
    assert result.file_count == job.file_count
    assert result.size_bytes == job.size_bytes
    assert result.warnings == []
    assert full.verify_backup(job).size_bytes == job.size_bytes


def test_the_picture_sees_every_difference(source, tmp_path):
    # The comparison that all these tests rest on can go red.
    other = make_tree(tmp_path / "other")
    for name in (".", "read-only"):
        os.utime(other / name, ns=(0, os.lstat(source / name).st_mtime_ns))
    assert picture(source) == picture(other)
    os.utime(other / "docs", ns=(0, os.lstat(other / "docs").st_mtime_ns + 1))
    assert picture(source) != picture(other)
    os.utime(other / "docs", ns=(0, os.lstat(source / "docs").st_mtime_ns))
    assert picture(source) == picture(other)
    status = os.lstat(other / "plan-again.txt")
    shutil.copy2(other / "plan-again.txt", other / "copy")
    (other / "copy").rename(other / "plan-again.txt")
    os.utime(other / "plan-again.txt", ns=(0, status.st_mtime_ns))
    os.utime(other, ns=(0, os.lstat(source).st_mtime_ns))
    assert picture(source) != picture(other)


def test_works_as_an_ordinary_user(full, open_folder, as_user):
    with as_user():
        source = make_tree(open_folder / "source")
        before = picture(source)
        job = full.create_backup(source, open_folder / "vault")
        full.restore_backup(job, open_folder / "restored")
        assert picture(open_folder / "restored") == before
        # Replacing drops folders without write permission too.
        result = full.restore_backup(job, source, replace=True)
        assert result.warnings == []
        assert picture(source) == before
        assert sorted(os.listdir(open_folder)) == ["restored", "source", "vault"]


def test_owners_come_back(full, source, vault, tmp_path):
    needs_root()
    os.chown(source / "docs", 1234, 2_345_678)
    os.chown(source / "docs.txt", 3_000_000, 1)
    os.chown(source / "dangling", 77, 78, follow_symlinks=False)
    job = full.create_backup(source, vault)
    full.restore_backup(job, tmp_path / "restored")
    assert picture(tmp_path / "restored") == picture(source)


def test_plain_tar_restores_a_backup(full, source, vault, tmp_path):
    job = full.create_backup(source, vault)
    (tmp_path / "by-tar").mkdir()
    done = subprocess.run(
        ["tar", "xpf", job.path / "data.tar", "-C", tmp_path / "by-tar"],
        capture_output=True,
        check=True,
    )
    # GNU tar only remarks on the one time before 1970.
    assert [line for line in done.stderr.splitlines() if b"docs.txt: implausibly" not in line] == []

    def in_seconds(root):
        return {
            name: (mode, owner, mtime // 10**9, content)
            for name, (mode, owner, mtime, content) in picture(root).items()
        }

    assert in_seconds(tmp_path / "by-tar") == in_seconds(source)


def test_tarfile_reads_the_same_names(full, source, vault):
    job = full.create_backup(source, vault)
    lines = (job.path / "manifest.jsonl").read_text("ascii").splitlines()
    entries = [json.loads(line) for line in lines]
    with tarfile.open(job.path / "data.tar") as tar:
        members = tar.getmembers()
        assert [member.name for member in members] == [entry["path"] for entry in entries]
        for member, entry in zip(members, entries, strict=True):
            assert member.mode == int(entry["mode"], 8)
            if member.isreg():
                assert member.offset_data == entry["offset"]
                assert member.size == entry["size"]


def test_the_job_tells_what_was_done(full, small, vault):
    before = datetime.now(UTC)
    job = full.create_backup(str(small), str(vault))
    assert job.backup_type is BackupType.FULL
    assert job.status is BackupStatus.COMPLETED
    assert (job.source_path, job.destination_path) == (small, vault)
    assert (job.file_count, job.entry_count, job.size_bytes) == (3, 5, 13)
    assert job.stored_bytes == (job.path / "data.tar").stat().st_size
    moments = [job.created_at, job.started_at, job.recovery_point, job.completed_at]
    assert [before, *moments] == sorted([before, *moments])
    assert job.error_message is None
    assert job.parent_id is None
    assert sorted(os.listdir(job.path)) == ["data.tar", "manifest.jsonl", "metadata.json"]
    assert stat.S_IMODE(job.path.stat().st_mode) == 0o700
    assert BackupJob.from_metadata(job.to_metadata(), vault) == job
    assert full.list_backups(vault) == [job]


def test_moments_are_those_of_the_clock(small, vault):
    moments = [datetime(2030, 1, 1, 0, 0, second, tzinfo=UTC) for second in range(4)]

    class Steps:
        def now(self):
            return moments.pop(0)

    job = FullBackupStrategy(clock=Steps()).create_backup(small, vault)
    assert job.id == "000001-full-20300101T000000Z"
    seconds = [job.created_at, job.started_at, job.recovery_point, job.completed_at]
    assert [moment.second for moment in seconds] == [0, 1, 2, 3]


def test_newest_first_even_when_the_clock_stands(small, vault):
    class Still:
        def now(self):
            return datetime(2030, 1, 1, tzinfo=UTC)

    full = FullBackupStrategy(clock=Still())
    ids = [full.create_backup(small, vault).id for _ in range(3)]
    assert [job.id for job in full.list_backups(vault)] == ids[::-1]


def test_a_vault_can_be_moved(full, small, vault, tmp_path):
    full.create_backup(small, vault)
    vault.rename(tmp_path / "elsewhere")
    (job,) = full.list_backups(tmp_path / "elsewhere")
    full.restore_backup(job, tmp_path / "restored")
    assert picture(tmp_path / "restored") == picture(small)


def test_what_holds_no_content_is_recorded_with_a_note(full, small, vault, tmp_path):
    os.mkfifo(small / "pipe", 0o640)
    with socket.socket(socket.AF_UNIX) as server:
        # Bound by a short name: a socket's path holds 108 bytes only.
        folder = os.open(small, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{folder}/sock")
        os.close(folder)
        job = full.create_backup(small, vault)
    assert job.warnings == [
        "'pipe' is a fifo, which is recorded and can't be restored",
        "'sock' is a socket, which is recorded and can't be restored",
    ]
    known = {entry.path: entry for entry in read_manifest(job)}
    assert (known["pipe"].type, known["pipe"].mode) == ("fifo", 0o640)
    assert known["sock"].type == "socket"
    assert (job.file_count, job.entry_count) == (3, 7)
    full.verify_backup(job)
    result = full.restore_backup(job, tmp_path / "restored")
    assert result.warnings == ["'pipe' and 1 more, recorded only, can't be restored"]
    assert {path.name for path in (tmp_path / "restored").iterdir()} == {"a.txt", "sub", "z.txt"}
    assert full.list_backups(vault)[0].warnings == job.warnings


def test_what_is_only_recorded_is_unchanged_as_well(small, vault, tmp_path):
    os.mkfifo(small / "pipe")
    rest()
    strategy = IncrementalBackupStrategy()
    strategy.create_backup(small, vault)
    job = strategy.create_backup(small, vault)
    assert job.manifest_id is not None
    assert job.warnings == ["'pipe' is a fifo, which is recorded and can't be restored"]
    (small / "pipe").chmod(0o600)
    job = strategy.create_backup(small, vault)
    assert job.manifest_id is None
    strategy.verify_backup(job)
    (small / "pipe").unlink()
    (small / "pipe").write_text("a file by now")
    job = strategy.create_backup(small, vault)
    assert job.warnings == []
    strategy.restore_backup(job, tmp_path / "restored")
    assert picture(tmp_path / "restored") == picture(small)


def test_a_path_that_is_only_recorded_is_named_and_nothing_moves(full, small, vault, tmp_path):
    os.mkfifo(small / "pipe")
    job = full.create_backup(small, vault)
    (tmp_path / "live").mkdir()
    os.mkfifo(tmp_path / "live" / "pipe")
    (tmp_path / "live" / "a.txt").write_text("newer")
    result = full.restore_backup(job, tmp_path / "live", replace=True, paths=["pipe", "a.txt"])
    assert result.warnings == ["'pipe', recorded only, can't be restored"]
    assert (tmp_path / "live" / "a.txt").read_text() == "alpha"
    assert (tmp_path / "live" / "pipe").is_fifo()
    full.restore_backup(job, tmp_path / "live", replace=True, paths=["pipe"])
    assert (tmp_path / "live" / "pipe").is_fifo()
    assert {path.name for path in tmp_path.iterdir()} == {"small", "vault", "live"}


def test_a_device_is_recorded(full, small, vault):
    try:
        os.mknod(small / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        lacks("the right to make a device: run the tests as root")
    job = full.create_backup(small, vault)
    assert job.warnings == ["'null' is a device, which is recorded and can't be restored"]
    full.verify_backup(job)


NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
MODES = st.sampled_from([0o600, 0o644, 0o700, 0o755, 0o1777, 0o2750, 0o400])
MTIMES = st.integers(-(2**31) * 10**9, 2**33 * 10**9)
LEAVES = st.one_of(
    st.tuples(st.just("file"), st.binary(max_size=2000), MODES, MTIMES),
    st.tuples(st.just("symlink"), st.binary(min_size=1, max_size=150).filter(lambda t: 0 not in t)),
    st.tuples(st.just("hardlink"), st.integers(0, 50)),
)
TREES = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=4),
    lambda inner: st.dictionaries(NAMES, st.one_of(LEAVES, inner), max_size=5),
    max_leaves=20,
)


def plant(root, tree, files):
    for name, what in tree.items():
        path = root + b"/" + name
        if isinstance(what, dict):
            os.mkdir(path)
            plant(path, what, files)
        elif what[0] == "file":
            with open(path, "wb") as file:
                file.write(what[1])
            os.chmod(path, what[2])
            os.utime(path, ns=(0, what[3]))
            files.append(path)
        elif what[0] == "symlink":
            os.symlink(what[1], path)
        elif files:
            os.link(files[what[1] % len(files)], path)


@settings(max_examples=60, deadline=None)
@given(TREES, st.integers(0, 2**33 * 10**9))
def test_any_tree_comes_back(tree, mtime):
    with tempfile.TemporaryDirectory() as folder:
        source = os.fsencode(folder) + b"/source"
        os.mkdir(source)
        plant(source, tree, [])
        os.utime(source, ns=(0, mtime))
        before = picture(source)
        full = FullBackupStrategy()
        job = full.create_backup(os.fsdecode(source), Path(folder, "vault"))
        full.verify_backup(job)
        full.restore_backup(job, Path(folder, "restored"))
        assert picture(Path(folder, "restored")) == before
