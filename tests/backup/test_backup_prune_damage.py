"""Pruning beside damage: what can't be read or told is left alone, with what it may need."""

import shutil

import pytest
from backup_trees import picture, rewrite_manifest, unreadable

from pytest_drdrill.backup import RetentionPolicy


def test_what_can_not_be_read_is_left_alone_with_all_before_it(site):
    jobs = [site.back_up(kind) for kind in ["full"] * 2 + ["incremental"] * 2 + ["full"] * 2]
    unreadable(jobs[2])
    before = picture(jobs[2].path)
    result = site.prune(keep_last=1)
    held = f"before {jobs[2].id}, of which not all that it needs can be told"
    assert result.pruned == (jobs[4].id, jobs[3].id)
    assert result.kept == {jobs[5].id: ("last 1",), jobs[1].id: (held,), jobs[0].id: (held,)}
    assert picture(jobs[2].path) == before
    alone, nothing_before = result.warnings
    assert alone.startswith(f"backup {jobs[2].id} is left alone: ")
    assert nothing_before.startswith(f"nothing before backup {jobs[2].id} goes: ")
    site.check()


def test_an_unreadable_full_backup_needs_nothing_before_it(site):
    jobs = site.days(3)
    unreadable(jobs[1])
    result = site.prune(keep_last=1)
    assert result.pruned == (jobs[0].id,)
    assert len(result.warnings) == 1
    assert jobs[1].path.exists()


def test_what_is_left_alone_is_named_newest_first(site):
    jobs = site.days(8, "incremental")
    for job in jobs[:7]:
        unreadable(job)
    warnings = site.prune(keep_last=1).warnings
    left_alone = [text.split()[1] for text in warnings if "is left alone" in text]
    assert left_alone == [job.id for job in jobs[6::-1]]
    held = [text.split()[3] for text in warnings if text.startswith("nothing before")]
    assert held == [job.id for job in jobs[6:0:-1]]  # the first of all is full


def test_an_unreadable_base_that_needs_no_other_holds_nothing(site):
    jobs = [site.back_up(kind) for kind in ("full", "full", "incremental")]
    unreadable(jobs[1])
    result = site.prune(keep_last=1)
    assert result.pruned == (jobs[0].id,)
    assert len(result.warnings) == 1
    site.full.restore_backup(jobs[2], site.source.parent / "restored")


def test_a_backup_of_another_format_is_left_alone(site):
    jobs = [site.back_up(kind) for kind in ("full", "incremental", "full")]
    path = jobs[1].path / "metadata.json"
    path.write_bytes(path.read_bytes().replace(b"drdrill-backup/1", b"drdrill-backup/2"))
    result = site.prune(keep_last=1)
    assert result.pruned == ()
    assert "drdrill-backup/2" in result.warnings[0]


def test_where_the_needs_of_one_that_stays_are_unknown_nothing_before_it_goes(site):
    jobs = [site.back_up(kind) for kind in ("full", "full", "incremental", "full")]
    same = [site.back_up("incremental", change=False) for _ in range(2)]
    assert same[1].manifest_id == jobs[3].id
    unreadable(jobs[3])  # a full one, so that by itself it holds nothing
    result = site.prune(keep_last=1)
    assert result.pruned == ()
    held = f"before {same[1].id}, of which not all that it needs can be told"
    assert result.kept[same[0].id] == (held,)
    assert set(result.kept) == {job.id for job in (*jobs[:3], *same)}
    # One that nothing keeps holds nothing.
    new = site.back_up()
    assert site.prune(keep_last=1).pruned == (
        *(j.id for j in same[::-1]),
        *(j.id for j in jobs[2::-1]),
    )
    assert site.listed() == [new.id]


def test_where_a_base_is_gone_what_is_older_stays(site):
    jobs = [site.back_up(kind) for kind in ("full", "full", "incremental")]
    shutil.rmtree(jobs[1].path)
    result = site.prune(keep_last=1)
    assert result.pruned == ()
    (warning,) = result.warnings
    why = f"it needs backup {jobs[1].id}, which is not there"
    assert warning == f"nothing before backup {jobs[2].id} goes: {why}"


def test_leftovers_go_but_none_that_a_backup_needs(site):
    jobs = [site.back_up(kind) for kind in ("full", "full", "incremental", "full")]
    for job in (jobs[1], jobs[3]):
        (job.path / "metadata.json").unlink()
    site.prune(keep_last=1)
    assert not jobs[3].path.exists()
    assert (jobs[1].path / "data.tar").exists()
    site.full.restore_backup(jobs[2], site.source.parent / "restored")


def test_a_leftover_that_can_not_be_removed_is_told(site):
    site.back_up()
    leftover = site.back_up()
    (leftover.path / "metadata.json").unlink()
    (leftover.path / "mine").touch()
    (warning,) = site.prune(keep_last=1).warnings
    assert warning == f"the leftover {leftover.path} can't be removed: Directory not empty"


def test_a_backup_that_names_itself_as_its_base(site):
    job = site.back_up()
    job.bases = [job.id]
    rewrite_manifest(job, lambda entries: entries)
    assert site.prune(keep_last=1).pruned == ()


def spoil(note):
    note.write_bytes(note.read_bytes()[:-9])


def close(note):
    note.unlink()
    note.symlink_to(note)  # for root, to whom no mode closes a file


@pytest.mark.parametrize("hide", [spoil, close])
def test_what_may_be_the_newest_verified_one_stays(site, hide):
    jobs = site.days(5)
    for job in jobs[:4]:
        site.full.verify_backup(job)
    for job in (jobs[0], jobs[2], jobs[3]):
        hide(job.path / "verified.json")
    result = site.prune(keep_last=1)
    may_be = ("it may be the newest verified",)
    assert result.kept == {
        jobs[4].id: ("last 1",),
        jobs[3].id: may_be,
        jobs[2].id: may_be,
        jobs[1].id: ("newest verified",),
    }
    # One before a backup that is known to be verified can't be the newest.
    assert result.pruned == (jobs[0].id,)
    assert [text.split(": ")[0] for text in result.warnings] == [
        f"backup {job.id} stays, as it can't be told whether it was verified"
        for job in (jobs[3], jobs[2])
    ]
    assert str(jobs[3].path / "verified.json") in result.warnings[0]


def test_a_note_that_may_not_be_read(full, open_folder, as_user):
    with as_user():
        (open_folder / "source").mkdir()
        jobs = [full.create_backup(open_folder / "source", open_folder / "vault") for _ in "123"]
        full.verify_backup(jobs[0])
        (jobs[0].path / "verified.json").chmod(0)
        assert full.list_backups(open_folder / "vault")[2].verified_at is None
        result = full.prune_backups(open_folder / "vault", RetentionPolicy(keep_last=1))
    assert result.pruned == (jobs[1].id,)
    (warning,) = result.warnings
    assert warning.endswith("verified.json can't be read: Permission denied")
