"""Backups forged so that a reader would go round for ever, or run out of memory or stack.

All hashes fit: who can write to the destination can write those too.
"""

import json
from hashlib import sha256

import pytest
from backup_trees import picture, rewrite_manifest

from pytest_drdrill.backup import (
    BackupDamaged,
    BackupType,
    DifferentialBackupStrategy,
    IncrementalBackupStrategy,
    RetentionPolicy,
)
from pytest_drdrill.backup.store import FORMAT, _document

DEEP = {
    "lists": b"[" * 100_000,
    "objects": b'{"job":' * 100_000,
    "job": b'{"job":' + b"[" * 100_000,
}
CLOSED_BY = {ord("["): b"]", ord("{"): b"}"}


@pytest.fixture
def chain(full, small, vault):
    """A full backup, and one that needs it, oldest first."""
    first = full.create_backup(small, vault)
    (small / "a.txt").write_text("changed")
    return first, IncrementalBackupStrategy().create_backup(small, vault)


@pytest.fixture
def refused(full, small, vault, tmp_path):
    """Neither verified nor restored: one sentence of BackupDamaged each, and nothing written."""

    def attempt(job, message):
        before = sorted(tmp_path.iterdir()), picture(vault), picture(small)
        for act in (full.verify_backup, lambda job: full.restore_backup(job, tmp_path / "to")):
            with pytest.raises(BackupDamaged, match=message) as caught:
                act(job)
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 400
        assert (sorted(tmp_path.iterdir()), picture(vault), picture(small)) == before

    return attempt


def in_a_circle(first, second):
    """Each needs the other: by its metadata, and by who holds the bytes of its files."""
    for job, other in ((first, second), (second, first)):
        job.parent_id, job.bases = other.id, [other.id]

        def held_by_the_other(entries, other=other):
            return [dict(entry, backup=other.id) for entry in entries]

        rewrite_manifest(job, held_by_the_other)
    for job, other in ((first, second), (second, first)):
        job.parent_sha256 = other.manifest_sha256
        (job.path / "metadata.json").write_bytes(_document(job.to_metadata()))


def test_backups_that_need_each_other_are_damaged(full, chain, vault, refused):
    first, second = chain
    in_a_circle(first, second)
    assert full.list_backups(vault) == [second, first]
    for job in (first, second):
        refused(job, f"backup {job.id} is damaged: 'a.txt'")


def test_backups_that_need_each_other_stay_both(full, chain, vault):
    in_a_circle(*chain)
    before = picture(vault)
    result = full.prune_backups(vault, RetentionPolicy(keep_last=1))
    assert (result.pruned, result.warnings) == ((), ())
    assert picture(vault) == before


def test_behind_backups_that_need_each_other_the_next_one_is_whole(
    full, chain, small, vault, tmp_path
):
    in_a_circle(*chain)
    for path in small.rglob("*.txt"):
        path.write_text("none of their bytes is needed any more")
    job = IncrementalBackupStrategy().create_backup(small, vault)
    full.restore_backup(job, tmp_path / "restored")
    assert picture(tmp_path / "restored") == picture(small)


@pytest.mark.parametrize("name", ["size", "offset"])
@pytest.mark.parametrize("number", [10**9, 10**18, 10**30])
def test_numbers_beyond_all_that_is_there(full, small, vault, refused, name, number):
    job = full.create_backup(small, vault)
    rewrite_manifest(job, lambda entries: [entries[0], dict(entries[1], **{name: number})])
    refused(job, "a.txt")


@pytest.mark.parametrize("name", ["size_bytes", "stored_bytes", "file_count", "entry_count"])
@pytest.mark.parametrize("number", [10**9, 10**30])
def test_numbers_of_metadata_take_no_memory(full, small, vault, tmp_path, name, number):
    job = full.create_backup(small, vault)
    setattr(job, name, number)
    (job.path / "metadata.json").write_bytes(_document(job.to_metadata()))
    full.restore_backup(job, tmp_path / "restored")  # which needs none of them
    assert picture(tmp_path / "restored") == picture(small)
    if name == "stored_bytes":
        with pytest.raises(BackupDamaged, match="bytes in place of 1,000"):
            full.verify_backup(job)


@pytest.mark.parametrize("what", DEEP)
@pytest.mark.parametrize("is_closed", [True, False])
def test_metadata_that_nest_too_deep(full, chain, vault, refused, caplog, what, is_closed):
    first, second = chain
    data = DEEP[what]
    if is_closed:
        data += b"1" + b"".join(CLOSED_BY.get(byte, b"") for byte in reversed(data))
    (second.path / "metadata.json").write_bytes(data)
    assert full.list_backups(vault) == [first]
    assert "is damaged: it is not what was written" in caplog.text
    refused(second, "is damaged: it is not what was written")


@pytest.mark.parametrize("depth", [100, 900, 5_000])
def test_a_value_of_metadata_that_nests(full, chain, vault, refused, depth):
    # Written as a reader would, which is what its hash is taken of.
    first, second = chain
    nested = "[" * depth + "]" * depth
    document = json.loads((second.path / "metadata.json").read_bytes())
    text = json.dumps(dict(document["job"], warnings="NESTED"), sort_keys=True)
    text = text.replace('"NESTED"', nested)
    digest = sha256(text.encode()).hexdigest()
    body = f'{{"format": "{FORMAT}", "job": {text}, "sha256": "{digest}"}}\n'
    (second.path / "metadata.json").write_text(body)
    assert full.list_backups(vault) == [first]
    refused(second, "damaged|can't be read")


@pytest.mark.parametrize("name", ["size", "path", "mode", "data", "xattrs", "backup", "surprise"])
@pytest.mark.parametrize("depth", [100, 900, 5_000])
def test_a_value_of_a_manifest_that_nests(full, small, vault, refused, name, depth):
    job = full.create_backup(small, vault)

    def nest(entries):
        line = json.dumps(dict(entries[1], **{name: "NESTED"}))
        nested = "[" * depth + "]" * depth
        return [entries[0], line.replace('"NESTED"', nested).encode() + b"\n"]

    rewrite_manifest(job, nest)
    refused(job, "line 2 of the manifest of backup .* can't be trusted")


@pytest.mark.parametrize("strategy", [IncrementalBackupStrategy, DifferentialBackupStrategy])
def test_nothing_builds_on_a_backup_of_another_format(full, small, vault, strategy, tmp_path):
    other = full.create_backup(small, vault)
    path = other.path / "metadata.json"
    path.write_bytes(path.read_bytes().replace(FORMAT.encode(), b"drdrill-backup/2"))
    before = picture(other.path)
    job = strategy().create_backup(small, vault)
    assert (job.parent_id, job.bases, job.backup_type) == (None, [], BackupType.FULL)
    assert job.warnings == ["there was no backup to build on, so this one is full"]
    full.restore_backup(job, tmp_path / "restored")
    assert picture(tmp_path / "restored") == picture(small)
    assert picture(other.path) == before


@pytest.mark.parametrize(
    "values",
    [
        {"source_path": "a\0b"},
        {"source_path": "/a\0b"},
        {"source_path": "relative"},
        {"source_path": "/\ud800"},
        {"source_path": 5},
        {"backup_type": "x" * 10**6},
        {"created_at": "2026" + "0" * 10**6},
        {"manifest_sha256": "f" * 10**6},
        {"size_bytes": -(10**4000)},
    ],
    ids=str,
)
def test_metadata_that_no_run_writes_are_one_sentence(full, small, vault, caplog, values):
    job = full.create_backup(small, vault)
    forged = job.to_metadata() | values
    (job.path / "metadata.json").write_bytes(_document(forged))
    with pytest.raises(BackupDamaged) as caught:
        full.verify_backup(job)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert full.list_backups(vault) == []
    assert max(len(record.getMessage()) for record in caplog.records) < 600
    newer = full.create_backup(small, vault)
    assert full.list_backups(vault) == [newer]
