"""Incremental and differential backups: what each holds, what it builds on, and when not."""

import errno
import json
import os
import resource
from hashlib import sha256

import pytest
from backup_trees import flip, picture, rest, rewrite_manifest

from pytest_drdrill.backup import (
    BackupDamaged,
    BackupRefused,
    BackupType,
    DifferentialBackupStrategy,
    FullBackupStrategy,
    IncrementalBackupStrategy,
)
from pytest_drdrill.backup.source import Source
from pytest_drdrill.backup.store import _document

FULL, INCREMENTAL, DIFFERENTIAL = BackupType
NOTHING_EARLIER = "there was no backup to build on, so this one is full"


@pytest.fixture
def incremental():
    return IncrementalBackupStrategy()


@pytest.fixture
def differential():
    return DifferentialBackupStrategy()


@pytest.fixture(params=[IncrementalBackupStrategy, DifferentialBackupStrategy])
def building(request):
    """Each strategy that builds on an earlier backup."""
    return request.param()


def holders(job):
    """Of each path, the number of the backup that holds it."""
    entries = map(json.loads, job.manifest_path.read_text("ascii").splitlines())
    return {entry["path"]: int(entry["backup"][:6]) for entry in entries}


def contents(vault):
    """What lies in the folders of a destination."""
    return {path: path.read_bytes() for path in vault.rglob("*") if path.is_file()}


def restored(strategy, job, path):
    strategy.restore_backup(job, path)
    return picture(path)


def test_what_each_type_holds(full, incremental, differential, small, vault, tmp_path):
    """Days of a week, each with its own file written; then each type's definition."""
    jobs, states = [], []
    for number, strategy in enumerate(
        [full, incremental, incremental, differential, incremental, differential, full, incremental]
    ):
        (small / f"day{number}.txt").write_text(f"day {number}")
        jobs.append(strategy.create_backup(small, vault))
        states.append(picture(small))
    kinds = [FULL, INCREMENTAL, INCREMENTAL, DIFFERENTIAL, INCREMENTAL, DIFFERENTIAL]
    assert [job.backup_type for job in jobs] == [*kinds, FULL, INCREMENTAL]
    parents = [None if job.parent_id is None else int(job.parent_id[:6]) for job in jobs]
    assert parents == [None, 1, 2, 1, 4, 1, None, 7]
    own = [{path for path, n in holders(job).items() if n == int(job.id[:6])} for job in jobs]
    days = [{path for path in paths if path.startswith("day")} for paths in own]
    assert days[1] == {"day1.txt"}
    assert days[2] == {"day2.txt"}
    assert days[3] == {"day1.txt", "day2.txt", "day3.txt"}  # since the last full one
    assert days[4] == {"day4.txt"}  # since the last of any type
    assert days[5] == {f"day{number}.txt" for number in range(1, 6)}
    assert days[6] == {f"day{number}.txt" for number in range(7)}
    assert days[7] == {"day7.txt"}
    assert [int(base[:6]) for base in jobs[4].bases] == [1, 4]
    assert [int(base[:6]) for base in jobs[5].bases] == [1]
    for number, (job, state) in enumerate(zip(jobs, states, strict=True)):
        assert full.verify_backup(job).file_count == job.file_count
        assert restored(full, job, tmp_path / f"restored{number}") == state


def test_the_first_one_is_full_and_says_why(building, small, vault):
    job = building.create_backup(small, vault)
    assert job.backup_type is FULL
    assert "-full-" in job.id
    assert job.warnings == [NOTHING_EARLIER]
    assert building.list_backups(vault)[0].warnings == [NOTHING_EARLIER]
    assert building.create_backup(small, vault).backup_type is building.backup_type


def test_nothing_changed_again_and_again(building, small, vault, tmp_path):
    base = building.create_backup(small, vault)
    again = [building.create_backup(small, vault) for _ in range(3)]
    assert {job.manifest_id for job in again} == {base.id}
    assert {tuple(path.name for path in job.path.iterdir()) for job in again} == {
        ("metadata.json",)
    }
    assert all((job.path / "metadata.json").stat().st_size < 1024 for job in again)
    (small / "new").write_text("new")
    changed = building.create_backup(small, vault)
    assert changed.manifest_id is None
    assert holders(changed)["new"] == 5
    assert holders(changed)["a.txt"] == 1
    for job in again:
        assert (job.file_count, job.size_bytes) == (base.file_count, base.size_bytes)
        result = building.verify_backup(job)
        assert (result.file_count, result.size_bytes) == (base.file_count, base.size_bytes)
    assert restored(building, changed, tmp_path / "all") == picture(small)
    (small / "new").unlink()
    rest()
    os.utime(small, ns=(0, 1))
    gone = building.create_backup(small, vault)
    assert "new" not in holders(gone)
    assert restored(building, gone, tmp_path / "gone") == picture(small)


def test_a_file_read_within_a_tick_of_its_change_is_looked_at(building, small, vault, tmp_path):
    building.create_backup(small, vault)
    (small / "a.txt").write_text("alpha")
    job = building.create_backup(small, vault)
    lines = map(json.loads, job.manifest_path.read_text("ascii").splitlines())
    (entry,) = [entry for entry in lines if entry["path"] == "a.txt"]
    assert entry["ctime_ns"] == 0
    # As if within the same tick: nothing but the content tells.
    entry_times = (small / "a.txt").stat()
    (small / "a.txt").write_text("ALPHA")
    os.utime(small / "a.txt", ns=(entry_times.st_atime_ns, entry_times.st_mtime_ns))
    job = building.create_backup(small, vault)
    assert restored(building, job, tmp_path / "restored") == picture(small)
    assert (tmp_path / "restored" / "a.txt").read_text() == "ALPHA"


@pytest.mark.parametrize("name", ["gone", "zz-gone"])
def test_an_entry_that_went_within_a_tick_of_its_folders_status(
    building, small, vault, tmp_path, name
):
    """The folder's times say nothing of it: the base has a line more than the folder has names."""
    rest()
    base = building.create_backup(small, vault)

    def more(entries):
        gone = {**next(entry for entry in entries if entry["path"] == "a.txt"), "path": name}
        entries = sorted([*entries, gone], key=lambda entry: entry["path"].replace(".", "", 1))
        # Byte by byte as a backup writes them.
        return [json.dumps(entry, separators=(",", ":")).encode() + b"\n" for entry in entries]

    rewrite_manifest(base, more)
    job = building.create_backup(small, vault)
    assert name in holders(base)
    assert job.manifest_id is None
    assert name not in holders(job)
    assert restored(building, job, tmp_path / "restored") == picture(small)


def test_a_folder_that_was_listed_as_a_file_is_not_taken_for_known(
    building, small, vault, tmp_path, monkeypatch
):
    """It turned into one between the two looks: what it holds must not be lost in silence."""
    rest()
    building.create_backup(small, vault)
    real = Source.listing

    def listing(self, folder, **options):
        items = real(self, folder, **options)
        return [(path, "file" if path == "sub" else kind, status) for path, kind, status in items]

    monkeypatch.setattr(Source, "listing", listing)
    job = building.create_backup(small, vault)
    assert job.warnings == ["'sub' vanished or changed its type while it was read"]
    assert "sub" not in holders(job)


def test_paranoid_looks_at_every_content(building, small, vault, tmp_path):
    rest()
    base = building.create_backup(small, vault)

    def other_content(entries):
        for entry in entries:
            if entry["path"] == "a.txt":
                entry["sha256"] = sha256(b"as if it had been other content").hexdigest()
        return entries

    rewrite_manifest(base, other_content)
    trusting = building.create_backup(small, vault)
    assert holders(trusting)["a.txt"] == 1
    wary = building.create_backup(small, vault, paranoid=True)
    assert holders(wary)["a.txt"] == int(wary.id[:6])
    assert holders(wary)["z.txt"] == 1
    assert restored(building, wary, tmp_path / "restored") == picture(small)


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda base: (base.path / "data.tar").unlink(), "data.tar"),
        (lambda base: os.truncate(base.path / "data.tar", 700), "700 bytes in place of"),
        (lambda base: flip(base.path / "manifest.jsonl", 40), "its hash differs"),
    ],
)
def test_a_damaged_base_is_not_built_on(building, small, vault, tmp_path, harm, why):
    base = building.create_backup(small, vault)
    harm(base)
    job = building.create_backup(small, vault)
    assert job.backup_type is FULL
    assert job.parent_id is None
    (warning,) = job.warnings
    assert why in warning
    assert warning.endswith("so this one is full")
    assert restored(building, job, tmp_path / "restored") == picture(small)


@pytest.mark.parametrize("strategy", [FullBackupStrategy, IncrementalBackupStrategy])
def test_a_destination_holds_one_source(full, small, source, vault, strategy):
    job = full.create_backup(small, vault)
    before = picture(vault)
    with pytest.raises(BackupRefused, match=f"holds backups of {small}; back up {source} to a"):
        strategy().create_backup(source, vault)
    assert picture(vault) == before
    (small.parent / "by another name").symlink_to(small)
    assert strategy().create_backup(small.parent / "by another name", vault).id > job.id


def test_damage_names_what_it_concerns(full, incremental, source, vault):
    first = full.create_backup(source, vault)
    (source / "docs" / "plan.txt").write_text("rewritten")
    second = incremental.create_backup(source, vault)
    third = full.create_backup(source, vault)
    fourth = incremental.create_backup(source, vault)
    flip(first.path / "data.tar", (first.path / "data.tar").read_bytes().index(b"#!/bin/sh"))
    with pytest.raises(BackupDamaged, match=r"run\.sh") as caught:
        full.verify_backup(first)
    assert caught.value.damaged == ("docs/run.sh",)
    assert caught.value.dependents == (second.id,)
    assert caught.value.intact == (fourth.id, third.id)
    assert f"the same damage is in {second.id}" in str(caught.value)
    assert f"the newest that it leaves alone is {fourth.id}" in str(caught.value)
    with pytest.raises(BackupDamaged, match=f"'docs/run.sh' .in {first.id}.") as caught:
        full.verify_backup(second)
    assert caught.value.dependents == (first.id,)


def test_damage_to_what_a_later_backup_replaced_is_none_of_it(full, incremental, small, vault):
    first = full.create_backup(small, vault)
    (small / "a.txt").write_text("another alpha")
    second = incremental.create_backup(small, vault)
    flip(first.path / "data.tar", (first.path / "data.tar").read_bytes().index(b"alpha"))
    with pytest.raises(BackupDamaged) as caught:
        full.verify_backup(first)
    assert (caught.value.dependents, caught.value.intact) == ((), (second.id,))
    full.verify_backup(second)


def test_a_damaged_manifest_concerns_those_that_share_it(full, incremental, small, vault):
    first = full.create_backup(small, vault)
    shares = incremental.create_backup(small, vault)
    (small / "new").write_text("new")
    has_its_own = incremental.create_backup(small, vault)
    flip(first.path / "manifest.jsonl", 40)
    with pytest.raises(BackupDamaged, match="its hash differs") as caught:
        full.verify_backup(shares)
    assert caught.value.damaged == (f"{first.id}/manifest.jsonl",)
    assert caught.value.dependents == (first.id,)
    assert caught.value.intact == (has_its_own.id,)


def test_a_forged_manifest_is_betrayed_by_the_next_backup(full, incremental, small, vault):
    first = full.create_backup(small, vault)
    (small / "new").write_text("new")
    second = incremental.create_backup(small, vault)
    rewrite_manifest(first, lambda entries: [e for e in entries if e["path"] != "z.txt"])
    for quick in (True, False):
        with pytest.raises(BackupDamaged, match=f"not the one that {second.id} built on"):
            full.verify_backup(first, quick=quick)
    full.verify_backup(second)


def test_quick_reads_no_content(full, incremental, small, vault):
    first = full.create_backup(small, vault)
    (small / "new").write_text("new")
    second = incremental.create_backup(small, vault)
    flip(first.path / "data.tar", (first.path / "data.tar").read_bytes().index(b"alpha"))
    for job in (first, second):
        result = full.verify_backup(job, quick=True)
        assert (result.quick, result.file_count, result.size_bytes) == (True, 0, 0)
        with pytest.raises(BackupDamaged, match=r"a\.txt"):
            full.verify_backup(job)
    os.truncate(first.path / "data.tar", 512)
    with pytest.raises(BackupDamaged, match=r"data\.tar' .512 bytes in place of") as caught:
        full.verify_backup(second, quick=True)
    assert caught.value.dependents == (first.id,)


def test_the_metadata_of_a_base_gone(full, incremental, small, vault, tmp_path):
    first = full.create_backup(small, vault)
    (small / "new").write_text("new")
    second = incremental.create_backup(small, vault)
    (first.path / "metadata.json").unlink()
    with pytest.raises(BackupDamaged, match=f"{first.id}/metadata.json"):
        full.verify_backup(second, quick=True)
    # The bytes are there still: whoever needs them gets them, and the next run does not clear them.
    job = incremental.create_backup(small, vault)
    assert job.backup_type is FULL
    assert first.path.exists()
    assert restored(full, second, tmp_path / "restored") == picture(small)


def test_a_shared_manifest_that_lost_its_metadata_is_not_cleared(
    full, incremental, small, vault, tmp_path, caplog
):
    first = full.create_backup(small, vault)
    shares = incremental.create_backup(small, vault)
    (first.path / "metadata.json").unlink()
    full.create_backup(small, vault)
    assert "are left alone" in caplog.text
    assert restored(full, shares, tmp_path / "restored") == picture(small)


def test_verified_is_kept_until_damage_is_found(full, small, vault):
    job = full.create_backup(small, vault)
    assert full.list_backups(vault)[0].verified_at is None
    full.verify_backup(job, quick=True)
    assert full.list_backups(vault)[0].verified_at is None
    full.verify_backup(job)
    (listed,) = full.list_backups(vault)
    assert listed.verified_at == job.verified_at
    assert job.completed_at <= job.verified_at
    flip(job.path / "data.tar", (job.path / "data.tar").read_bytes().index(b"alpha"))
    with pytest.raises(BackupDamaged):
        full.verify_backup(job)
    assert full.list_backups(vault)[0].verified_at is None


@pytest.mark.parametrize(
    "forge",
    [
        lambda good: b"{}",
        lambda good: good[:-5],
        lambda good: good.replace(b"20", b"21", 1),
        lambda good: _document({"at": "yesterday", "manifest_sha256": "0"}),
        lambda good: _document({"manifest_sha256": json.loads(good)["job"]["manifest_sha256"]}),
    ],
)
def test_a_forged_note_of_verification_is_none(full, small, vault, forge):
    job = full.create_backup(small, vault)
    full.verify_backup(job)
    note = job.path / "verified.json"
    note.write_bytes(forge(note.read_bytes()))
    assert full.list_backups(vault)[0].verified_at is None


def test_verification_needs_no_right_to_write(full, small, open_folder, as_user):
    vault = open_folder / "vault"
    job = full.create_backup(small, vault)
    for folder in (vault, job.path):
        folder.chmod(0o755)
    for file in job.path.iterdir():
        file.chmod(0o644)
    with as_user():
        full.verify_backup(job)
    assert full.list_backups(vault)[0].verified_at is None


def test_damage_that_can_not_be_noted_is_warned_of(full, small, open_folder, as_user, caplog):
    vault = open_folder / "vault"
    job = full.create_backup(small, vault)
    full.verify_backup(job)
    (job.path / "data.tar").write_bytes(b"")
    for folder in (vault, job.path):
        folder.chmod(0o755)
    for file in job.path.iterdir():
        file.chmod(0o644)
    with as_user(), pytest.raises(BackupDamaged):
        full.verify_backup(job)
    note = job.path / "verified.json"
    what = f"that backup {job.id} is damaged can't be kept, {note} says it was found intact"
    assert caplog.messages == [f"{what}: Permission denied"]


def test_a_chain_longer_than_a_process_may_have_files_open(incremental, small, vault, tmp_path):
    for number in range(90):
        (small / f"{number}").write_text(f"{number}")
        job = incremental.create_backup(small, vault)
    assert len(job.bases) == 89
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count alone
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 75, hard))
    try:
        incremental.verify_backup(job)
        assert restored(incremental, job, tmp_path / "restored") == picture(small)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_circle_of_parents_leads_nobody_round(full, incremental, small, vault, tmp_path):
    first = full.create_backup(small, vault)
    second = incremental.create_backup(small, vault)
    assert second.manifest_id == first.id
    first.parent_id, first.parent_sha256 = second.id, second.manifest_sha256
    first.manifest_id = second.id
    (first.path / "metadata.json").write_bytes(_document(first.to_metadata()))
    with pytest.raises(BackupDamaged, match=f"{second.id}/manifest.jsonl' .No such file"):
        full.verify_backup(first)
    with pytest.raises(BackupDamaged, match="can't be read: No such file"):
        full.restore_backup(first, tmp_path / "first")
    assert restored(full, second, tmp_path / "second") == picture(small)
    job = incremental.create_backup(small, vault)
    assert restored(full, job, tmp_path / "third") == picture(small)


class StopError(Exception):
    """Raised by a callback."""


def test_progress_is_told(building, source, vault, tmp_path):
    told = []
    job = building.create_backup(source, vault, progress=told.append)
    assert told[-1] == ("backup", job.id, job.entry_count, job.size_bytes)
    building.verify_backup(job, progress=told.append)
    assert told[-1] == ("verify", job.id, job.entry_count, job.size_bytes)
    result = building.restore_backup(job, tmp_path / "restored", progress=told.append)
    assert told[-1] == ("restore", job.id, job.entry_count, result.size_bytes)
    assert told[0].entries <= job.entry_count


def test_a_callback_that_raises_ends_the_run_and_nothing_stays(building, small, vault, tmp_path):
    first = building.create_backup(small, vault)

    def stop(_progress):
        raise StopError

    before = contents(vault)
    with pytest.raises(StopError):
        building.create_backup(small, vault, progress=stop)
    with pytest.raises(StopError):
        building.verify_backup(first, progress=stop)
    assert contents(vault) == before
    target = tmp_path / "target"
    target.mkdir()
    (target / "mine").write_text("mine")
    with pytest.raises(StopError):
        building.restore_backup(first, target, replace=True, progress=stop)
    assert [path.name for path in target.iterdir()] == ["mine"]
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_so_does_one_that_raises_when_it_is_told_the_last_time(building, small, vault, tmp_path):
    first = building.create_backup(small, vault)
    before = contents(vault)

    def stop_at_end():
        calls = iter([False, True])  # a tree this small is told of at its begin and at its end

        def tell(_progress):
            if next(calls):
                raise StopError

        return tell

    with pytest.raises(StopError):
        building.create_backup(small, vault, progress=stop_at_end())
    with pytest.raises(StopError):
        building.verify_backup(first, progress=stop_at_end())
    assert contents(vault) == before
    with pytest.raises(StopError):
        building.restore_backup(first, tmp_path / "target", progress=stop_at_end())
    assert not (tmp_path / "target").exists()


def test_an_error_of_the_callback_is_none_of_the_disk(building, small, vault, tmp_path):
    first = building.create_backup(small, vault)

    def stop(_progress):
        raise BrokenPipeError(errno.EPIPE, "nobody reads the progress")

    with pytest.raises(BrokenPipeError, match="nobody reads") as caught:
        building.create_backup(small, vault, progress=stop)
    assert "failed, and is not in" in caught.value.__notes__[0]
    with pytest.raises(BrokenPipeError):
        building.verify_backup(first, progress=stop)
    with pytest.raises(BrokenPipeError):
        building.restore_backup(first, tmp_path / "target", progress=stop)
    assert not (tmp_path / "target").exists()
    assert building.list_backups(vault) == [first]


def test_what_was_done_is_told(small, vault, tmp_path):
    events = []
    strategy = IncrementalBackupStrategy(on_event=lambda *event: events.append(event))
    job = strategy.create_backup(small, vault)
    strategy.verify_backup(job)
    strategy.verify_backup(job, quick=True)
    strategy.restore_backup(job, tmp_path / "restored")
    assert events == [
        ("backup completed", f"{job.id}: 3 files, {job.size_bytes} bytes"),
        ("backup verified", job.id),
        ("backup verified", f"{job.id} (quick)"),
        ("restore started", job.id),
        ("restore completed", f"{job.id}: verified and swapped in"),
    ]
