"""Retention: what a policy keeps, what nothing may remove, and that what stays restores."""

import contextlib
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from backup_site import DAY, KINDS, Site
from backup_trees import picture, unreadable
from hypothesis import given, settings
from hypothesis import strategies as st

from hand_clock import EPOCH
from pytest_drdrill.backup import BackupLocked, BackupRefused, RetentionPolicy
from pytest_drdrill.backup.store import Store

RULES = ["keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly"]


def dates(site):
    return [job.recovery_point.date().isoformat() for job in site.full.list_backups(site.vault)]


def test_a_month_of_daily_backups_with_grandfathers_fathers_and_sons(site):
    site.days(31)  # all of March 2026, which begins on a Sunday
    result = site.prune(keep_daily=7, keep_weekly=4, keep_monthly=12)
    assert dates(site) == [
        "2026-03-31",
        "2026-03-30",
        "2026-03-29",
        "2026-03-28",
        "2026-03-27",
        "2026-03-26",
        "2026-03-25",
        "2026-03-22",
        "2026-03-15",
    ]
    assert list(result.kept) == site.listed()
    assert list(result.kept.values()) == [
        ("daily 2026-03-31", "weekly 2026-W14", "monthly 2026-03"),
        ("daily 2026-03-30",),
        ("daily 2026-03-29", "weekly 2026-W13"),
        ("daily 2026-03-28",),
        ("daily 2026-03-27",),
        ("daily 2026-03-26",),
        ("daily 2026-03-25",),
        ("weekly 2026-W12",),
        ("weekly 2026-W11",),
    ]
    assert len(result.pruned) == 22
    assert (result.dry_run, result.warnings) == (False, ())
    site.check()


def test_periods_without_a_backup_do_not_count(site):
    first = site.back_up()
    site.clock.advance(400 * DAY)
    second = site.back_up()
    for rule in ("keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly"):
        assert site.prune(**{rule: 2}).pruned == ()
        assert site.prune(**{rule: 1}, dry_run=True).pruned == (first.id,)
    result = site.prune(keep_yearly=1)
    assert result.kept == {second.id: ("yearly 2027",)}
    assert result.pruned == (first.id,)
    assert result.freed_bytes == first.stored_bytes
    assert not first.path.exists()


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"keep_hourly": 1}, "hourly 2026-03-01T02"),
        ({"keep_daily": 1}, "daily 2026-03-01"),
        ({"keep_weekly": 1}, "weekly 2026-W09"),
        ({"keep_monthly": 1}, "monthly 2026-03"),
        ({"keep_yearly": 1}, "yearly 2026"),
        ({"keep_last": 3}, "last 3"),
        ({"keep_within": "30d"}, "within 30d"),
    ],
)
def test_each_rule_gives_its_reason(site, rule, reason):
    job = site.back_up()
    assert site.prune(**rule).kept == {job.id: (reason,)}


def test_weeks_are_those_of_iso(site):
    # The first of January 2027 is a Friday of the last week of 2026.
    site.clock.advance((datetime(2027, 1, 1, 2, tzinfo=UTC) - EPOCH).total_seconds())
    job = site.back_up()
    assert site.prune(keep_weekly=1).kept == {job.id: ("weekly 2026-W53",)}


def test_keep_within_is_by_age_and_holds_its_bound(site):
    old, edge, new = site.days(3)
    assert site.prune(keep_within="1d").pruned == (old.id,)
    site.clock.advance(0.001)
    result = site.prune(keep_within=timedelta(days=1))
    assert result.pruned == (edge.id,)
    assert result.kept == {new.id: ("within 1d",)}


def test_a_clock_that_went_back(site):
    # By the calendar the moments count; the last one is the one made last.
    late = site.back_up()
    site.clock.seconds -= 10 * DAY
    early = site.back_up()
    assert site.prune(keep_daily=1, dry_run=True).pruned == (early.id,)
    assert site.prune(keep_last=1, dry_run=True).pruned == (late.id,)
    # One from the future is young, by whatever rule.
    assert site.prune(keep_within="1us", immutable_for="1us", dry_run=True).pruned == ()


def test_of_two_of_the_same_moment_the_later_one_stays(site):
    first, second = site.back_up(), site.back_up()
    assert first.recovery_point == second.recovery_point
    assert site.prune(keep_yearly=1).pruned == (first.id,)


def test_the_minimum_count_is_filled_up_with_the_newest(site):
    jobs = site.days(5)
    site.clock.advance(100 * DAY)
    result = site.prune(keep_within="1d", min_count=3)
    assert result.kept == {job.id: ("minimum count",) for job in jobs[:1:-1]}
    # A rule that keeps enough leaves nothing to fill up.
    assert site.prune(keep_last=2, min_count=2).pruned == (jobs[2].id,)
    assert site.prune(keep_within="1d").kept == {jobs[4].id: ("minimum count",)}


def test_what_is_filled_up_keeps_its_base(site):
    jobs = [site.back_up(kind) for kind in ("full", "full", "incremental")]
    site.clock.advance(100 * DAY)
    result = site.prune(keep_within="1d")
    assert result.kept == {
        jobs[2].id: ("minimum count",),
        jobs[1].id: (f"needed by {jobs[2].id}",),
    }
    # What others need counts too.
    assert site.prune(keep_within="1d", min_count=2).kept == result.kept


def test_nothing_young_is_removed(site):
    jobs = site.days(5)
    result = site.prune(keep_last=1, immutable_for="2d")
    until = "immutable until 2026-03-06T02:00:00Z"
    assert result.kept[jobs[3].id] == (until,)
    assert result.kept[jobs[4].id] == ("last 1", "immutable until 2026-03-07T02:00:00Z")
    # At exactly that age it may go.
    assert result.pruned == tuple(job.id for job in jobs[2::-1])
    assert site.prune(keep_last=1, immutable_for="1000000d").pruned == ()


def test_the_newest_verified_backup_stays(site):
    jobs = site.days(4)
    for job in jobs[:2]:
        site.full.verify_backup(job)
    result = site.prune(keep_last=1)
    assert result.kept == {jobs[3].id: ("last 1",), jobs[1].id: ("newest verified",)}
    # Once a newer one is verified, it has no claim any more.
    site.full.verify_backup(jobs[3])
    assert site.prune(keep_last=1).pruned == (jobs[1].id,)


def test_a_chain_of_increments_stays_as_far_as_it_is_needed(site):
    jobs = [site.back_up(kind) for kind in ("full", "full", *["incremental"] * 3)]
    result = site.prune(keep_last=1)
    assert result.pruned == (jobs[0].id,)
    last = jobs[4].id
    assert result.kept == {
        last: ("last 1",),
        jobs[3].id: (f"needed by {last}",),
        jobs[2].id: (f"needed by {last} and 1 more",),
        jobs[1].id: (f"needed by {last} and 2 more",),
    }
    site.check()


def test_a_base_stays_with_what_it_needs_itself(site):
    # The newest needs no bytes of the first any more, but its base does, and that one is listed.
    first = site.back_up()
    base = site.back_up("incremental")
    (site.source / "first.txt").write_text("changed")
    (site.source / "0000.txt").write_text("changed")
    last = site.back_up("incremental", change=False)
    assert last.bases == [base.id]
    assert site.prune(keep_last=1).kept == {
        last.id: ("last 1",),
        base.id: (f"needed by {last.id}",),
        first.id: (f"needed by {base.id}",),
    }
    site.check()


def test_differentials_go_one_by_one_and_their_base_with_the_last(site):
    base = site.back_up()
    middle = [site.back_up("differential") for _ in range(3)]
    result = site.prune(keep_last=1)
    assert result.pruned == tuple(job.id for job in middle[1::-1])
    assert result.kept == {
        middle[2].id: ("last 1",),
        base.id: (f"needed by {middle[2].id}",),
    }
    site.check()
    new = site.back_up()
    assert site.prune(keep_last=1).pruned == (middle[2].id, base.id)
    assert site.listed() == [new.id]


def test_a_backup_of_no_change_needs_the_one_whose_manifest_it_shares(site):
    base = site.back_up()
    increment = site.back_up("incremental")
    same = [site.back_up("incremental", change=False) for _ in range(3)]
    assert same[2].manifest_id == increment.id
    result = site.prune(keep_last=1)
    assert result.pruned == (same[1].id, same[0].id)
    assert result.kept == {
        same[2].id: ("last 1",),
        increment.id: (f"needed by {same[2].id}",),
        base.id: (f"needed by {same[2].id} and 1 more",),
    }
    assert result.freed_bytes == 0
    site.check()


def test_a_dry_run_changes_nothing_and_says_what_would_be_done(site):
    jobs = site.days(4)
    (jobs[0].path / "metadata.json").unlink()
    (site.vault / ".lock").unlink()
    before = picture(site.vault)
    site.told.clear()
    planned = site.prune(keep_last=1, dry_run=True)
    assert picture(site.vault) == before
    assert site.told == []
    assert planned.dry_run
    done = site.prune(keep_last=1)
    assert not done.dry_run
    assert (planned.kept, planned.pruned, planned.freed_bytes, planned.warnings) == (
        done.kept,
        done.pruned,
        done.freed_bytes,
        done.warnings,
    )
    assert done.freed_bytes == jobs[1].stored_bytes + jobs[2].stored_bytes > 0
    assert picture(site.vault) != before


def test_what_was_done_is_told(site):
    jobs = site.days(3)
    site.told.clear()
    site.prune(keep_last=2)
    freed = f"{jobs[0].stored_bytes:,} bytes freed"
    assert site.told == [("backups pruned", f"1 of 3 removed, {freed}")]
    assert "," in freed
    unreadable(jobs[1])
    site.told.clear()
    result = site.prune(keep_last=2)
    assert site.told == [
        ("pruning warned", result.warnings[0]),
        ("backups pruned", "0 of 1 removed, 0 bytes freed"),
    ]


def test_a_destination_that_is_not_there_is_not_made(site):
    for dry_run in (False, True):
        with pytest.raises(BackupRefused, match="there is no folder"):
            site.prune(keep_last=1, dry_run=dry_run)
    assert not site.vault.exists()


def test_one_writer_at_a_time(site):
    site.days(2)
    with Store(site.vault).writing():
        with pytest.raises(BackupLocked, match="try later"):
            site.prune(keep_last=1)
        # Who only looks needs no lock.
        assert len(site.prune(keep_last=1, dry_run=True).pruned) == 1
    assert len(site.listed()) == 2


def test_what_is_there_is_looked_at_as_the_one_writer(site, monkeypatch):
    jobs = site.days(2)
    real = Store.writing

    @contextlib.contextmanager
    def after_another_run(store):
        monkeypatch.undo()
        jobs.append(site.back_up("incremental"))
        with real(store):
            yield

    monkeypatch.setattr(Store, "writing", after_another_run)
    result = site.prune(keep_last=1)
    assert result.pruned == (jobs[0].id,)
    assert list(result.kept) == [jobs[2].id, jobs[1].id]
    site.check()


steps = st.lists(
    st.tuples(
        st.sampled_from(list(KINDS)),
        st.sampled_from([0, 1800, 3600, DAY, 8 * DAY, 40 * DAY]),
        st.booleans(),  # whether the source changed
        st.booleans(),  # whether it was verified
    ),
    min_size=1,
    max_size=8,
)
policies = st.fixed_dictionaries(
    {rule: st.integers(0, 3) for rule in RULES},
    optional={
        "keep_within": st.sampled_from(["1h", "2d", "50d"]),
        "immutable_for": st.sampled_from(["1h", "2d", "50d"]),
        "min_count": st.integers(1, 6),
    },
).filter(lambda rules: any(rules[rule] for rule in RULES) or "keep_within" in rules)


@settings(max_examples=40, deadline=None)
@given(steps, policies)
def test_the_laws_of_retention(made, rules):
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder))
        for kind, pause, change, verified in made:
            site.clock.advance(pause)
            job = site.back_up(kind, change=change)
            if verified:
                site.full.verify_backup(job)
        before = site.full.list_backups(site.vault)
        planned = site.prune(**rules, dry_run=True)
        done = site.prune(**rules)
        assert (planned.kept, planned.pruned) == (done.kept, done.pruned)
        assert planned.freed_bytes == done.freed_bytes
        after = site.listed()
        assert list(done.kept) == after
        assert sorted((*after, *done.pruned)) == sorted(job.id for job in before)
        assert done.warnings == ()
        assert all(done.kept.values())
        assert len(after) >= min(rules.get("min_count", 1), len(before))
        assert {job.id for job in before[: rules["keep_last"]]} <= set(after)
        if span := RetentionPolicy(**rules).immutable_for:
            now = site.clock.now()
            assert {j.id for j in before if now - j.recovery_point < span} <= set(after)
        assert set(after) >= {job.id for job in [j for j in before if j.verified_at][:1]}
        for job in before:
            if job.id in after:
                assert set(Store(site.vault).needed(job)) <= set(after)
        site.check()
        assert site.prune(**rules).pruned == ()


def test_the_check_sees_a_backup_that_lost_its_base(site):
    # What these tests rest on can go red.
    jobs = [site.back_up(kind) for kind in ("full", "incremental")]
    site.check()
    shutil.rmtree(jobs[0].path)
    with pytest.raises(Exception, match=jobs[0].id):
        site.check()
