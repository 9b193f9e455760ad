"""The engine carries chains: an entry that did not change since a base is not stored again."""

import json
import os
import shutil
from types import SimpleNamespace

import pytest
from backup_trees import flip, make_tree, picture, rest

from pytest_drdrill.backup import BackupDamaged, IncrementalBackupStrategy
from pytest_drdrill.backup.manifest import read_manifest
from pytest_drdrill.backup.status import is_same, moments


@pytest.fixture
def on_newest():
    """Make a backup that builds on the newest one there is."""
    return IncrementalBackupStrategy().create_backup


def holders(job):
    lines = job.manifest_path.read_text("ascii").splitlines()
    return {entry["path"]: entry["backup"] for entry in map(json.loads, lines)}


def test_nothing_changed_stores_nothing(full, on_newest, source, vault, tmp_path):
    base = full.create_backup(source, vault)
    job = on_newest(source, vault)
    assert job.parent_id == base.id
    assert set(holders(job).values()) == {base.id}
    assert job.stored_bytes == 0
    assert job.manifest_id == base.id
    assert [path.name for path in job.path.iterdir()] == ["metadata.json"]
    assert (job.path / "metadata.json").stat().st_size < 1024
    assert (job.file_count, job.size_bytes) == (base.file_count, base.size_bytes)
    assert full.verify_backup(job).size_bytes == job.size_bytes
    full.restore_backup(job, tmp_path / "restored")
    assert picture(tmp_path / "restored") == picture(source)


def test_a_chain_restores_each_of_its_states(full, on_newest, source, vault, tmp_path):
    full.create_backup(source, vault)
    states = [picture(source)]
    (source / "docs" / "plan.txt").write_text("who does what, and when\n")
    (source / "docs.txt").unlink()
    (source / "new").mkdir()
    (source / "new" / "file").write_text("new")
    on_newest(source, vault)
    states.append(picture(source))
    (source / "empty.txt").unlink()
    (source / "empty.txt").mkdir()
    shutil.rmtree(source / "new")
    (source / "new").symlink_to("nowhere")
    (source / "large.bin").rename(source / "larger.bin")
    os.link(source / "larger.bin", source / "a-link")
    (source / "docs" / "run.sh").chmod(0o600)
    last = on_newest(source, vault)
    states.append(picture(source))
    jobs = full.list_backups(vault)[::-1]
    for number, (job, state) in enumerate(zip(jobs, states, strict=True)):
        full.verify_backup(job)
        full.restore_backup(job, tmp_path / f"{number}")
        assert picture(tmp_path / f"{number}") == state
    assert holders(last)["exact.bin"] == jobs[0].id
    assert holders(last)["docs/plan.txt"] == jobs[1].id
    assert holders(last)["docs/run.sh"] == jobs[2].id


def test_a_rewrite_that_hides_its_mtime_is_seen(full, on_newest, small, vault, tmp_path):
    full.create_backup(small, vault)
    status = (small / "a.txt").stat()
    (small / "new").write_text("ALPHA")
    os.utime(small / "new", ns=(0, status.st_mtime_ns))
    (small / "new").rename(small / "a.txt")
    full.restore_backup(on_newest(small, vault), tmp_path / "restored")
    assert (tmp_path / "restored" / "a.txt").read_text() == "ALPHA"


STATUS = ["mode", "size", "mtime_ns", "ctime_ns", "ino", "nlink", "uid", "gid"]


@pytest.mark.parametrize("name", STATUS)
def test_each_part_of_the_status_tells_a_change(full, small, vault, name):
    rest()
    job = full.create_backup(small, vault)
    (entry,) = [entry for entry in read_manifest(job) if entry.path == "a.txt"]
    status = (small / "a.txt").lstat()
    assert is_same(entry, status)
    values = {f"st_{part}": getattr(status, f"st_{part}") for part in STATUS}
    values[f"st_{name}"] += 1
    assert not is_same(entry, SimpleNamespace(**values))


@pytest.mark.parametrize("name", ["st_size", "st_mtime_ns", "st_ctime_ns"])
def test_each_moment_tells_a_file_from_the_first_of_its_number(small, name):
    status = (small / "a.txt").lstat()
    values = {part: getattr(status, part) for part in ("st_size", "st_mtime_ns", "st_ctime_ns")}
    assert moments(status) == moments(SimpleNamespace(**values))
    values[name] += 1
    assert moments(status) != moments(SimpleNamespace(**values))


def test_a_damaged_base_is_named(full, on_newest, source, vault, tmp_path):
    base = full.create_backup(source, vault)
    job = on_newest(source, vault)
    flip(base.path / "data.tar", (base.path / "data.tar").read_bytes().index(b"#!/bin/sh"))
    with pytest.raises(BackupDamaged, match=r"run\.sh"):
        full.verify_backup(job)
    (base.path / "data.tar").unlink()
    with pytest.raises(BackupDamaged, match=f"{base.id}/data.tar' .No such file") as caught:
        full.verify_backup(job)
    assert caught.value.damaged == (f"{base.id}/data.tar",)
    assert caught.value.dependents == (base.id,)
    with pytest.raises(BackupDamaged, match=f"backup {base.id}, its base"):
        full.restore_backup(job, tmp_path / "restored")


def test_without_a_base_it_is_self_contained(on_newest, tmp_path, vault):
    source = make_tree(tmp_path / "tree")
    job = on_newest(source, vault)
    assert job.parent_id is None
    assert set(holders(job).values()) == {job.id}


def test_damage_beside_the_content_concerns_no_other_backup(full, on_newest, small, vault):
    # A header serves who reads the tar alone; a restore reads the content, which is whole.
    base = full.create_backup(small, vault)
    (small / "z.txt").write_text("newer")
    job = on_newest(small, vault)
    flip(base.path / "data.tar", (base.path / "data.tar").read_bytes().index(b"a.txt"))
    with pytest.raises(BackupDamaged) as caught:
        full.verify_backup(base)
    assert caught.value.damaged == ("a.txt",)
    assert caught.value.dependents == ()
    assert caught.value.intact == (job.id,)
    full.verify_backup(job)
