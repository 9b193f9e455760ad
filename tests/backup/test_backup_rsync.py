"""Held against rsync, which looks at everything: what is restored differs in nothing."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import pytest
from backup_trees import make_tree, rest

from needs import lacks, needs, needs_root
from pytest_drdrill.backup import FullBackupStrategy, IncrementalBackupStrategy

ESCAPED = re.compile(rb"\\#([0-7]{3})")


def differences(rsync, source, restored):
    """What rsync would do to make the restored tree the same, by content, links, owners, ACLs."""
    options = ["-aHAX", "--checksum", "--dry-run", "--itemize-changes", "--delete"]
    done = subprocess.run(
        [rsync, *options, f"{source}/", f"{restored}/"],
        check=True,
        capture_output=True,
        text=True,
        errors="surrogateescape",
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("kind", ["odd", pytest.param("library", marks=pytest.mark.once)])
def test_rsync_sees_no_difference(tmp_path, vault, kind):
    rsync = needs("rsync")
    if kind == "odd":
        source = make_tree(tmp_path / "tree")
    else:
        source = Path(sysconfig.get_paths()["stdlib"])
    job = IncrementalBackupStrategy().create_backup(source, vault)
    FullBackupStrategy().restore_backup(job, tmp_path / "restored")
    assert differences(rsync, source, tmp_path / "restored") == []


def test_rsync_would_see_one(tmp_path, vault):
    rsync = needs("rsync")
    source = make_tree(tmp_path / "tree")
    job = FullBackupStrategy().create_backup(source, vault)
    FullBackupStrategy().restore_backup(job, tmp_path / "restored")
    (tmp_path / "restored" / "docs" / "run.sh").chmod(0o700)
    assert len(differences(rsync, source, tmp_path / "restored")) == 1


# Large trees, which are not the test's own: others may write to them meanwhile.

LARGE = {"system": Path("/usr/lib")}
if sys.base_prefix != "/usr":  # else it is a part of that
    LARGE["interpreter"] = Path(sys.base_prefix)


class Steps:
    """Prints how long each step took."""

    def __init__(self):
        self.begun = time.perf_counter()

    def end(self, step):
        now = time.perf_counter()
        print(f"{step:<20}{now - self.begun:7.1f} s")
        self.begun = now


@pytest.fixture
def room():
    """A folder that goes at once, with all in it: pytest would keep those of three runs."""
    with tempfile.TemporaryDirectory(prefix="drdrill-soak-") as folder:
        yield Path(folder)


def paths_in(root):
    for folder, folders, files in os.walk(os.fsencode(root)):
        yield folder
        yield from (os.path.join(folder, name) for name in folders + files)  # noqa: PTH118 - bytes


def changed_since(moment_ns, paths):
    """Those that were written to, renamed or removed since then, by what the kernel noted."""
    changed = []
    for path in paths:
        there = path
        while not os.path.lexists(there):
            there = os.path.dirname(there)  # noqa: PTH120 - bytes
        if os.lstat(there).st_ctime_ns >= moment_ns:
            changed.append(path)
    return changed


def path_of(line, source):
    """The path in the source that a line of rsync's is about."""
    name = os.fsencode(line[12:].partition(" -> ")[0].partition(" => ")[0])
    return os.fsencode(source) + b"/" + ESCAPED.sub(lambda code: bytes([int(code[1], 8)]), name)


@pytest.mark.soak
@pytest.mark.parametrize("kind", LARGE)
def test_rsync_sees_no_difference_in_a_large_tree(room, monkeypatch, kind):
    rsync = needs("rsync")
    source = LARGE[kind]
    if kind == "system":
        needs_root()  # who reads all of it, and gives owners back
    # What is loaded late would be written into the source.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    steps = Steps()
    size = sum(os.lstat(path).st_blocks * 512 for path in paths_in(source))
    if shutil.disk_usage(room).free < size * 2.5:
        lacks(f"{size * 2.5 / 2**30:.0f} GiB of room in {room.parent}")
    steps.end(f"{size / 2**20:,.0f} MiB found")

    begun = time.time_ns() - 20_000_000  # the file system's clock is behind by a tick or two
    full = FullBackupStrategy().create_backup(source, room / "vault")
    steps.end("full backup")
    job = IncrementalBackupStrategy().create_backup(source, room / "vault")
    steps.end("nothing new")
    assert job.file_count > 1000
    restored = room / "restored"
    result = FullBackupStrategy().restore_backup(job, restored)
    steps.end(f"{result.file_count:,} restored")
    found = differences(rsync, source, restored)
    steps.end("rsync")

    if meanwhile := changed_since(begun, paths_in(source)):
        print(f"{len(meanwhile)} changed meanwhile, such as {meanwhile[0]!r}")
        assert len(meanwhile) < 200
        found = [line for line in found if not changed_since(begun, [path_of(line, source)])]
    else:
        assert (job.manifest_id, job.stored_bytes) == (full.id, 0)
    assert (full.warnings, job.warnings, result.warnings) == ([], [], [])
    assert found == []


def test_what_changed_meanwhile_is_told_apart(tmp_path, vault):
    # What excuses a line of rsync's excuses no other one.
    rsync = needs("rsync")
    source = make_tree(tmp_path / "tree")
    begun = max(os.lstat(path).st_ctime_ns for path in paths_in(source)) + 1
    job = FullBackupStrategy().create_backup(source, vault)
    FullBackupStrategy().restore_backup(job, tmp_path / "restored")
    (tmp_path / "restored" / "docs" / "run.sh").write_text("not what it was")
    rest()
    next(source.glob("odd*")).joinpath("new\n").symlink_to("x -> y")
    (source / "large.bin").write_bytes(b"other")
    (source / "link").unlink()
    found = differences(rsync, source, tmp_path / "restored")
    assert len(found) > 3
    left = [line for line in found if not changed_since(begun, [path_of(line, source)])]
    assert [line[12:] for line in left] == ["docs/run.sh"]
