"""Damage and forgery are seen, and named; nothing of them reaches the target."""

import json
import logging
import os
import tarfile

import pytest
from backup_trees import flip, picture, rewrite_manifest

from pytest_drdrill.backup import BackupDamaged, BackupRefused


@pytest.fixture
def job(full, small, vault):
    os.link(small / "a.txt", small / "sub" / "hard")
    (small / "sub" / "soft").symlink_to("../a.txt")
    return full.create_backup(small, vault)


@pytest.fixture
def refused(full, tmp_path):
    """Try to restore, expect an error, and check that the target was never touched."""

    def attempt(job, error):
        before = sorted(tmp_path.iterdir())
        with pytest.raises(error) as caught:
            full.restore_backup(job, tmp_path / "restored")
        assert sorted(tmp_path.iterdir()) == before
        return caught.value

    return attempt


def test_every_byte_of_the_tar_counts(full, job, refused, tmp_path):
    tar = job.path / "data.tar"
    original = tar.read_bytes()
    with tarfile.open(tar) as members:
        owners = {}
        for member in members.getmembers():
            end = member.offset_data + (member.size + 511) // 512 * 512
            owners.update(dict.fromkeys(range(member.offset, end), member))
    restorable = unrestorable = 0
    for position in range(0, len(original), 5):
        flip(tar, position)
        with pytest.raises(BackupDamaged) as caught:
            full.verify_backup(job)
        member = owners.get(position)
        assert caught.value.damaged == (member.name if member else "data.tar",), position
        assert caught.value.damaged[0] in str(caught.value)
        if member and 0 <= position - member.offset_data < member.size:
            assert refused(job, BackupDamaged).damaged == (member.name,)
            unrestorable += 1
        else:
            restorable += 1
        tar.write_bytes(original)
    full.verify_backup(job)
    assert restorable
    assert unrestorable


def test_every_byte_of_the_manifest_counts(full, job, refused):
    path = job.path / "manifest.jsonl"
    original = path.read_bytes()
    for position in range(0, len(original), 5):
        flip(path, position)
        with pytest.raises(BackupDamaged) as caught:
            full.verify_backup(job)
        assert caught.value.damaged == ("manifest.jsonl",)
        path.write_bytes(original)
    flip(path, 7)
    assert refused(job, BackupDamaged).damaged == ("manifest.jsonl",)


def test_every_byte_of_the_metadata_counts(full, job, vault, caplog):
    path = job.path / "metadata.json"
    original = path.read_bytes()
    version = original.index(b"drdrill-backup/") + len("drdrill-backup/")
    for position in range(0, len(original), 2):
        if position == version:
            continue  # another format, not damage: below
        flip(path, position)
        with pytest.raises(BackupDamaged):
            full.verify_backup(job)
        path.write_bytes(original)
    flip(path, 30)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "pytest_drdrill.backup"):
        assert full.list_backups(vault) == []
    assert str(path) in caplog.text


def test_several_damaged_files_are_all_named(full, job):
    for entry in map(json.loads, (job.path / "manifest.jsonl").read_text().splitlines()):
        if entry["path"] in ("a.txt", "z.txt"):
            flip(job.path / "data.tar", entry["offset"])
    with pytest.raises(BackupDamaged, match=r"'a.txt', 'z.txt'$") as caught:
        full.verify_backup(job)
    assert caught.value.damaged == ("a.txt", "z.txt")
    assert caught.value.job.id == job.id


@pytest.mark.parametrize("size", [0, 100, 1024, 3000])
def test_a_truncated_tar(full, job, refused, size):
    os.truncate(job.path / "data.tar", size)
    with pytest.raises(BackupDamaged) as caught:
        full.verify_backup(job)
    assert "data.tar" in caught.value.damaged
    refused(job, BackupDamaged)


def test_bytes_after_the_end_of_the_tar(full, job):
    with (job.path / "data.tar").open("ab") as tar:
        tar.write(bytes(512))
    with pytest.raises(BackupDamaged, match=r"data\.tar"):
        full.verify_backup(job)


@pytest.mark.parametrize("name", ["data.tar", "manifest.jsonl"])
def test_a_missing_file_of_the_backup(full, job, refused, name):
    (job.path / name).unlink()
    with pytest.raises(BackupDamaged, match="No such file") as caught:
        full.verify_backup(job)
    assert caught.value.damaged == (name,)
    assert refused(job, BackupDamaged).damaged == (name,)


def test_a_job_in_hand_knows_its_backup(full, job, refused):
    # Forged with fitting hashes; who holds the job still sees it.
    in_hand = job.manifest_sha256
    rewrite_manifest(job, lambda entries: entries[:-1])
    job.manifest_sha256 = in_hand
    assert "not the one that this job made" in str(refused(job, BackupDamaged))


def changed(**values):
    def change(entries):
        entries[1].update(values)
        return entries

    return change


def through_symlink(entries):
    link = dict(entries[1], path="evil", type="symlink", target="/tmp", size=0)
    del link["sha256"]
    return [entries[0], link, dict(entries[1], path="evil/a.txt")]


FORGERIES = {
    "absolute": (changed(path="/etc/passwd"), "could leave the tree"),
    "parent": (changed(path="../a.txt"), "could leave the tree"),
    "parent inside": (changed(path="sub/../../a.txt"), "could leave the tree"),
    "dot": (changed(path="./a.txt"), "could leave the tree"),
    "double slash": (changed(path="sub//a.txt"), "could leave the tree"),
    "empty": (changed(path=""), "is no path"),
    "nul": (changed(path="a\0b"), "is no path"),
    "number": (changed(path=5), "is no path"),
    "lone surrogate": (changed(path="a\ud800"), "surrogates not allowed"),
    "duplicate": (lambda e: [*e[:2], e[1], *e[2:]], "comes twice or out of order"),
    "second root": (lambda e: [*e, e[0]], "comes twice or out of order|could leave"),
    "out of order": (lambda e: [e[0], e[-1], e[1]], "comes twice or out of order"),
    "no folder": (lambda e: [e[0], dict(e[1], path="no/a.txt")], "lies in no folder"),
    "file as folder": (lambda e: [*e[:2], dict(e[1], path="a.txt/b")], "lies in no folder"),
    "through a symlink": (through_symlink, "lies in no folder"),
    "no root": (lambda e: e[1:], "not the folder '.'"),
    "nothing": (lambda e: [], "it is empty"),
    "negative size": (changed(size=-1), "size of 'a.txt' is -1"),
    "true size": (changed(size=True), "size of 'a.txt' is True"),
    "huge mtime": (changed(mtime_ns=10**40), "mtime_ns"),
    "huge number": (lambda e: [e[0], b'{"size": ' + b"9" * 5000 + b"}\n"], "limit|digits"),
    "mode": (changed(mode="99999"), "mode is"),
    "type": (changed(type="device"), "has content, but is no file"),
    "digest": (changed(sha256="0" * 63), "sha256"),
    "holder climbs": (changed(backup="../../elsewhere"), "backup is"),
    "unknown key": (changed(surprise=1), "it has a field 'surprise'"),
    "key of two lines": (changed(**{"a\nb": 1}), r"it has a field 'a\\nb'"),
    "endless key": (changed(**{"a" * 10_000: 1}), "it has a field 'aaa"),
    "no size": (
        lambda e: [e[0], {k: v for k, v in e[1].items() if k != "size"}],
        "no field 'size'",
    ),
    "not an object": (lambda e: [b"[]\n"], "no JSON object"),
    "no JSON": (lambda e: [b"{\n"], "Expecting"),
    "deep JSON": (lambda e: [b"[" * 200_000 + b"\n"], "nests too deep|Expecting|line 1"),
    "endless line": (lambda e: [b" " * (2 << 20) + b"\n"], "cut off or too long"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_manifest_is_refused(full, job, refused, name):
    change, message = FORGERIES[name]
    rewrite_manifest(job, change)
    error = refused(job, BackupDamaged)
    assert error.damaged == ("manifest.jsonl",)
    with pytest.raises(BackupDamaged, match=message):
        full.verify_backup(job)


@pytest.mark.parametrize(
    "values", [{"size": 10**9}, {"offset": 10**9}, {"offset": 2**63 - 1, "size": 2**63 - 1}]
)
def test_absurd_sizes_name_the_file(full, job, refused, values):
    rewrite_manifest(job, changed(**values))
    assert refused(job, BackupDamaged).damaged == ("a.txt",)
    with pytest.raises(BackupDamaged) as caught:
        full.verify_backup(job)
    assert "a.txt" in caught.value.damaged


def test_a_missing_base_is_named(full, job, refused):
    base = "000000-full-20200101T000000Z"
    rewrite_manifest(job, changed(backup=base))
    assert base in str(refused(job, BackupDamaged))
    with pytest.raises(BackupDamaged, match=base):
        full.verify_backup(job)


def test_a_hard_link_to_another_content_is_refused(full, job, refused):
    def change(entries):
        for entry in entries:
            if "hardlink" in entry:
                entry["sha256"] = "0" * 64
        return entries

    rewrite_manifest(job, change)
    refused(job, BackupDamaged)


@pytest.mark.parametrize(
    ("version", "error", "message"),
    [
        (b"drdrill-backup/2", BackupRefused, "'drdrill-backup/2'; this version reads"),
        (b"drdrill-backup/0", BackupRefused, "'drdrill-backup/0'; this version reads"),
        (b"drdrill-backup/p", BackupDamaged, "is damaged: it is not what was written"),
        (b"erdrill-backup/1", BackupDamaged, "is damaged: it is not what was written"),
    ],
)
def test_another_format_is_refused_and_hides_no_other_backup(
    full, job, small, vault, refused, caplog, version, error, message
):
    last = full.create_backup(small, vault)
    path = last.path / "metadata.json"
    path.write_bytes(path.read_bytes().replace(b"drdrill-backup/1", version))
    before = picture(last.path)
    with pytest.raises(error, match=message):
        full.verify_backup(last)
    refused(last, error)
    with caplog.at_level(logging.WARNING, "pytest_drdrill.backup"):
        assert full.list_backups(vault) == [job]
    assert str(path) in caplog.text
    new = full.create_backup(small, vault)
    assert new.id.startswith("000003-full-")
    assert full.list_backups(vault) == [new, job]
    assert picture(last.path) == before


@pytest.mark.parametrize("name", ["metadata.json", "manifest.jsonl", "data.tar"])
@pytest.mark.parametrize("kind", ["fifo", "symlink", "folder"])
def test_what_is_no_file_in_a_files_place_is_damage(
    full, job, vault, tmp_path, refused, name, kind
):
    (job.path / name).rename(tmp_path / "moved")
    if kind == "fifo":
        os.mkfifo(job.path / name)
        # Were it opened to wait for a writer, this test would wait for ever.
    elif kind == "symlink":
        (job.path / name).symlink_to(tmp_path / "moved")
    else:
        (job.path / name).mkdir()
    with pytest.raises(BackupDamaged) as caught:
        full.verify_backup(job)
    assert name in caught.value.damaged
    assert name in refused(job, BackupDamaged).damaged
    assert full.list_backups(vault) == ([] if name == "metadata.json" else [job])


def test_bytes_at_another_offset_are_damage_though_they_are_the_same(full, small, vault):
    # Who reads the tar alone would find the other file's.
    (small / "b.txt").write_text("alpha")
    job = full.create_backup(small, vault)
    entries = {}

    def swap(lines):
        entries.update({entry["path"]: entry for entry in lines})
        entries["b.txt"]["offset"] = entries["a.txt"]["offset"]
        return lines

    rewrite_manifest(job, swap)
    with pytest.raises(BackupDamaged) as caught:
        full.verify_backup(job)
    assert caught.value.damaged == ("b.txt",)
