"""A process killed with SIGKILL at any call: earlier backups restore, no half of one is listed.

A child process runs the work and kills itself just before the n-th call that reaches the system
(the C functions of ``posix``, ``io`` and ``fcntl``, and those of open files), for every n until the
work gets to its end. No moment is left to luck.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from backup_trees import picture

from pytest_drdrill.backup import BackupDamaged, BackupError
from pytest_drdrill.backup.store import METADATA

# Forks once for each point to die at, so that nothing is imported but once. Prints how each ended.
SWEEP = """
import os, signal, sys
from pathlib import Path
from pytest_drdrill.backup import FullBackupStrategy

def system_call(function):
    if getattr(function, "__module__", None) in ("posix", "_io", "io", "fcntl"):
        return True
    return type(getattr(function, "__self__", None)).__module__ == "_io"

def die_at(point, work):
    left = [point]
    def hook(frame, event, function):
        if event == "c_call" and system_call(function):
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
    sys.setprofile(hook)
    work()
    sys.setprofile(None)

def sweep(work, prepare, stride):
    point = 0
    while True:
        arguments = prepare(point)
        child = os.fork()
        if not child:
            die_at(point, lambda: work(*arguments))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not status:
            print(point)
            break
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        point += stride

base = Path(sys.argv[1])
full = FullBackupStrategy()
"""

BACKUPS = """
import shutil
full.create_backup(base / "small", base / "vault")

def prepare(point):
    vault = base / f"vault-{point}"
    shutil.copytree(base / "vault", vault)
    return base / "small", vault

sweep(full.create_backup, prepare, 1)
"""

RESTORES = """
import shutil
job = full.create_backup(base / "small", base / "vault")

def prepare(point):
    target = base / f"{point}" / "target"
    shutil.copytree(base / "old", target)
    return job, target

sweep(lambda job, target: full.restore_backup(job, target, replace=True), prepare, 1)
"""


def run(script, folder):
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SWEEP + script, folder],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.once
def test_killed_at_every_call_of_a_backup(full, small, tmp_path):
    points = run(BACKUPS, tmp_path)
    assert points > 50  # the sweep saw the whole of it
    before = picture(small)
    outcomes = set()
    for point in range(points):
        vault = tmp_path / f"vault-{point}"
        listed = full.list_backups(vault)
        # The new one is either whole or not there, and every listed one restores.
        assert len(listed) in (1, 2), point
        folders = [path for path in vault.iterdir() if path.is_dir()]
        outcomes.add((len(listed), len(folders)))
        for job in listed:
            full.verify_backup(job)
        full.restore_backup(listed[-1], tmp_path / f"restored-{point}")
        assert picture(tmp_path / f"restored-{point}") == before
        # The next run takes the lock and clears what the dead one left.
        full.create_backup(small, vault)
        left = [path for path in vault.iterdir() if path.is_dir()]
        assert len(left) == len(full.list_backups(vault)) == len(listed) + 1, point
    # Died before it had a folder, with a half-written one, and after it was published.
    assert outcomes == {(1, 1), (1, 2), (2, 2)}


@pytest.mark.once
def test_killed_at_every_call_of_a_restore(small, tmp_path):
    old = tmp_path / "old"
    (old / "folder").mkdir(parents=True)
    (old / "folder" / "file").write_text("what was there")
    points = run(RESTORES, tmp_path)
    assert points > 50
    before, after = picture(old), picture(small)
    outcomes = []
    for point in range(points):
        target = tmp_path / f"{point}" / "target"
        if target.exists():
            found = picture(target)
            assert found in (before, after), point
            outcomes.append("old" if found == before else "new")
        else:
            # Between the two renames: both trees stand whole beside the target.
            beside = [picture(path) for path in target.parent.iterdir()]
            assert sorted(map(len, beside)) == sorted((len(before), len(after)))
            assert before in beside
            assert after in beside
            outcomes.append("between")
    assert outcomes == sorted(outcomes, key=["old", "between", "new"].index)
    assert {"old", "new"} <= set(outcomes)


def test_a_folder_without_metadata_is_no_backup(full, small, vault):
    job = full.create_backup(small, vault)
    (job.path / METADATA).rename(job.path / "metadata.json.part")
    assert full.list_backups(vault) == []
    new = full.create_backup(small, vault)
    assert [path.name for path in vault.iterdir() if path.is_dir()] == [new.id]


@pytest.mark.parametrize("missing", ["data.tar", "manifest.jsonl"])
def test_the_sweep_would_see_a_half_backup(full, small, vault, tmp_path, missing):
    # What the sweep checks can go red: were metadata published too early, this is what it finds.
    job = full.create_backup(small, vault)
    (job.path / missing).write_bytes(b"")
    (listed,) = full.list_backups(vault)
    with pytest.raises(BackupDamaged) as caught:
        full.verify_backup(listed)
    assert missing in caught.value.damaged


def test_all_is_on_the_disk_before_it_is_published(full, small, vault, monkeypatch):
    synced = []
    fsync, rename = os.fsync, Path.rename

    def note_fsync(fd):
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    def note_rename(self, to):
        synced.append(f"rename to {Path(to).name}")
        return rename(self, to)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "rename", note_rename)
    job = full.create_backup(small, vault)
    assert synced == [
        vault.parent,
        job.path / "data.tar",
        job.path / "manifest.jsonl",
        job.path / "metadata.json.part",
        "rename to metadata.json",
        job.path,
        vault,
    ]


def test_a_failure_after_publication_takes_the_backup_back(full, small, vault, monkeypatch):
    first = full.create_backup(small, vault)
    fsync, unlink = os.fsync, Path.unlink
    listed = []

    def broken(fd):
        if Path(f"/proc/self/fd/{fd}").readlink() == vault:
            listed.append(len(full.list_backups(vault)))
            raise OSError(5, "Input/output error")
        fsync(fd)

    def note(self, **options):
        unlink(self, **options)
        listed.append(len(full.list_backups(vault)))

    monkeypatch.setattr(os, "fsync", broken)
    monkeypatch.setattr(Path, "unlink", note)
    with pytest.raises(BackupError, match="Input/output error"):
        full.create_backup(small, vault)
    # Published, then no backup any more from the first removal on.
    assert listed == [2, 1, 1, 1, 1, 1, 1]
    assert full.list_backups(vault) == [first]
