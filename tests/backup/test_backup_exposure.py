"""The exposure of backups: exact at the worst instant, as going through all of them finds it."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hand_clock import EPOCH, HandClock
from pytest_drdrill.backup import (
    BackupError,
    BackupJob,
    BackupMonitor,
    BackupRefused,
    BackupSchedule,
    BackupStatus,
    BackupType,
    FailedRun,
    FullBackupStrategy,
    IncrementalBackupStrategy,
    RetentionPolicy,
    UsableSpan,
    backup_exposure,
    runs,
)

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
TICK = timedelta(microseconds=1)
SPAN = 40


def at(seconds):
    return EPOCH + seconds * SECOND


def name(number):
    return f"{number:06d}-full-20260301T020000Z"


def made(number, point, takes=0, **more):
    """A completed backup that began to read at a second and took so many."""
    return BackupJob(
        name(number),
        BackupType.FULL,
        Path("/source"),
        Path("/vault"),
        created_at=at(point),
        recovery_point=at(point),
        completed_at=at(point + takes),
        status=BackupStatus.COMPLETED,
        **more,
    )


def exposed(*jobs, start=0, end=SPAN, **more):
    return backup_exposure(jobs, start=at(start), end=at(end), **more)


# -- against going through all instants -----------------------------------------------------------


@st.composite
def histories(draw):
    """Backups, some of which build on earlier ones or share their manifest, and losses."""
    jobs = []
    for number in range(1, draw(st.integers(0, 6)) + 1):
        earlier = [job.id for job in jobs]
        bases = draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else []
        shares = draw(st.sampled_from([None, *(j.id for j in jobs if j.manifest_id is None)]))
        verified = draw(st.none() | st.integers(0, SPAN))
        job = made(
            number,
            draw(st.integers(-10, SPAN)),
            draw(st.integers(-5, 20)),  # the clock may have been set back meanwhile
            bases=[] if shares else sorted(bases),
            manifest_id=shares,
            verified_at=None if verified is None else at(verified),
        )
        if draw(st.integers(0, 9)) == 0:
            job.status = BackupStatus.FAILED
        jobs.append(job)
    ids = st.sampled_from([job.id for job in jobs]) if jobs else st.nothing()
    return jobs, draw(st.dictionaries(ids, st.integers(-5, SPAN + 5).map(at)))


def usable_by_definition(job, moment, jobs, lost, delay, *, verified):
    """Whether a backup can be restored at a moment, straight from the definition."""
    if job.status is not BackupStatus.COMPLETED:
        return False
    by_id = {each.id: each for each in jobs}
    owner = by_id.get(job.manifest_id)
    needs = {job.id, *job.bases, *(owner.bases if owner else [])}
    needs |= {job.manifest_id} if job.manifest_id else set()
    for each in needs:
        if each in lost and lost[each] <= moment:
            return False
        other = by_id.get(each)
        if other is not None and (
            other.status is not BackupStatus.COMPLETED
            or moment < other.completed_at + delay * SECOND
        ):
            return False
    if verified and (job.verified_at is None or moment < job.verified_at):
        return False
    return job.recovery_point <= moment


def brute_force(jobs, lost, start, end, delay, *, verified):
    """The worst exposure over all seconds of the span, and just before each of them."""
    worst = timedelta(0)
    for second in range(start, end + 1):
        for before in (TICK, timedelta(0)) if second > start else (timedelta(0),):
            moment = at(second) - before
            usable = [
                job
                for job in jobs
                if usable_by_definition(job, moment, jobs, lost, delay, verified=verified)
            ]
            if not usable:
                return timedelta.max
            # Nothing changes within a tick, so what is at stake grows evenly up to the second.
            worst = max(worst, moment + before - usable[-1].recovery_point)
    return worst


@given(
    history=histories(),
    start=st.integers(0, SPAN),
    length=st.integers(0, SPAN),
    delay=st.integers(0, 5),
    verified=st.booleans(),
)
@example(([made(1, -5)], {name(1): at(10)}), 0, 10, 0, False)  # lost in the last instant
@example(([made(1, -5), made(2, 30, -5)], {}), 0, 29, 0, False)  # a clock that was set back
@example(([made(1, -5), made(2, 3, 7)], {}), 0, 10, 0, False)  # usable in the last one
@example(  # what it builds on was made while the clock was set back
    ([made(1, 1, -1), made(2, 0, manifest_id=name(1))], {}), 0, 0, 0, False
)
def test_the_worst_instant_is_the_one_that_going_through_all_finds(
    history, start, length, delay, verified
):
    jobs, lost = history
    end = start + length
    found = exposed(
        *reversed(jobs),
        start=start,
        end=end,
        usable_after=delay * SECOND,
        lost=lost,
        verified=verified,
    )
    assert found.worst == brute_force(jobs, lost, start, end, delay, verified=verified)
    assert at(start) <= found.at <= found.until <= at(end)
    assert found.is_bounded == (found.worst != timedelta.max)
    if found.is_bounded:
        assert found.worst == found.at - found.fallback.recovery_point
        assert found.at == found.until
    assert "\n" not in found.explanation


# -- what it says ---------------------------------------------------------------------------------


def test_longest_gap_and_time_until_usable():
    first, second, third = made(1, 0, 2), made(2, 10, 2), made(3, 30, 5)
    found = exposed(first, second, third, start=2)
    assert (found.worst, found.at, found.until) == (25 * SECOND, at(35), at(35))
    assert (found.fallback, found.ended_by) == (second, third)
    assert found.late == 5 * SECOND
    assert (found.start, found.end) == (at(2), at(40))
    assert (found.failed, found.lost) == ((), ())
    assert found.explanation == (
        f"a disaster just before 2026-03-01 02:00:35 UTC, when backup {third.id} could be "
        f"restored, would have fallen back on backup {second.id}, which began to read at "
        f"2026-03-01 02:00:10 UTC; backup {third.id} could be restored 5s after it began to read"
    )


def test_the_end_of_the_span_counts():
    found = exposed(made(1, 0), made(2, 10), start=0, end=30)
    assert (found.worst, found.at, found.ended_by) == (20 * SECOND, at(30), None)
    assert found.explanation == (
        f"a disaster at 2026-03-01 02:00:30 UTC would have fallen back on backup {name(2)}, which "
        "began to read at 2026-03-01 02:00:10 UTC"
    )


def test_a_single_instant():
    assert exposed(made(1, -5), start=3, end=3).worst == 8 * SECOND
    assert exposed(start=3, end=3).worst == timedelta.max


def test_without_a_usable_backup_it_has_no_bound():
    first = made(1, 10, 5)
    found = exposed(first)
    assert (found.worst, found.at, found.until) == (timedelta.max, at(0), at(15))
    assert not found.is_bounded
    assert (found.fallback, found.ended_by) == (None, first)
    assert found.explanation == (
        "a disaster from 2026-03-01 02:00:00 UTC until 2026-03-01 02:00:15 UTC, when backup "
        f"{first.id} could be restored, would have found no backup to restore; backup {first.id} "
        "could be restored 5s after it began to read"
    )
    never = exposed()
    assert (never.at, never.until, never.ended_by) == (at(0), at(SPAN), None)
    assert never.explanation == (
        "a disaster from 2026-03-01 02:00:00 UTC until 2026-03-01 02:00:40 UTC would have found no "
        "backup to restore"
    )


def test_a_lost_backup_is_fallen_back_behind():
    jobs = [made(1, 0), made(2, 10), made(3, 20)]
    found = exposed(*jobs, lost={name(2): at(15), name(3): at(25)})
    assert (found.worst, found.fallback) == (40 * SECOND, jobs[0])
    assert found.lost == (jobs[1], jobs[2])
    assert found.explanation.endswith(f"; backup {name(3)} and 1 more had been lost")
    found = exposed(*jobs, lost={name(3): at(25)})
    assert (found.worst, found.fallback, found.lost) == (30 * SECOND, jobs[1], (jobs[2],))
    assert found.explanation.endswith(f"; backup {name(3)} had been lost")


def test_what_builds_on_a_lost_backup_is_lost_with_it():
    base = made(1, 0)
    change, same = made(2, 10, bases=[name(1)]), made(3, 20, manifest_id=name(2))
    assert exposed(base, change, same).worst == 20 * SECOND
    found = exposed(base, change, same, lost={name(1): at(30)})
    assert (found.worst, found.at) == (timedelta.max, at(30))
    # It need not be in the list: pruned, or of before the time that was asked about.
    assert exposed(same, start=20, lost={name(2): at(30)}).worst == timedelta.max
    assert exposed(same, start=20).worst == 20 * SECOND


def test_a_lost_backup_that_nobody_knows_is_a_mistake():
    jobs = [made(number, 0) for number in range(1, 6)]
    with pytest.raises(ValueError, match="no id of a backup here") as caught:
        exposed(*jobs, lost={name(5): at(5), "000005": at(5)})
    assert str(caught.value) == (
        "lost names '000005', which is no id of a backup here: the newest are "
        f"{name(3)}, {name(4)}, {name(5)}"
    )
    with pytest.raises(ValueError, match=r"no id of a backup here: there is none$"):
        exposed(lost={name(1): at(5)})
    for needs in ({"bases": [name(1)]}, {"manifest_id": name(1)}):
        assert exposed(made(2, 0, **needs), lost={name(1): at(5)}).worst == timedelta.max


def test_failed_runs_are_told():
    def failed(second, text):
        return FailedRun(at(second), BackupError(text), None)

    runs = [failed(5, "early"), failed(12, "the disk is full"), failed(18, "no route")]
    found = exposed(made(1, 0), made(2, 10), made(3, 30), failures=[*runs, failed(39, "late")])
    assert found.failed == tuple(runs[1:])
    assert "; 2 runs failed before, at 2026-03-01 02:00:18 UTC: no route" in found.explanation
    found = exposed(made(1, 0), made(2, 10), made(3, 30), failures=runs[:2])
    assert "; a run failed before, at 2026-03-01 02:00:12 UTC: the disk" in found.explanation
    assert exposed(failures=runs).failed == tuple(runs)


def test_a_strategy_may_tell_when_its_backups_are_usable():
    def elsewhere(job):
        late = {name(1): at(20), name(2): None}
        return UsableSpan(late[job.id], at(35) if job.id == name(1) else None)

    found = exposed(made(1, 0), made(2, 10), start=20, end=34, usable=elsewhere)
    assert (found.worst, found.at) == (34 * SECOND, at(34))
    assert exposed(made(1, 0), made(2, 10), start=20, usable=elsewhere).at == at(35)


def test_moments_of_other_zones_are_understood():
    tokyo = timezone(timedelta(hours=9))
    found = backup_exposure(
        [made(1, 0)], start=at(0).astimezone(tokyo), end=at(9).astimezone(tokyo)
    )
    assert found.worst == 9 * SECOND
    assert found.start.tzinfo is found.end.tzinfo is UTC


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"start": at(5), "end": at(4)}, ValueError, r"the end .* is before the start"),
        ({"start": datetime(2026, 3, 1)}, ValueError, "start .* no time zone"),  # noqa: DTZ001
        ({"end": "now"}, TypeError, "end is an aware datetime, not 'now'"),
        ({"usable_after": 5}, TypeError, "usable_after: 5 has no unit"),
        ({"usable_after": "later"}, ValueError, "usable_after: 'later' is no duration"),
        ({"lost": ["x"]}, TypeError, "lost names backups by their ids, each with a moment"),
        ({"lost": {"x": 3}}, TypeError, r"lost\['x'\] is an aware datetime, not 3"),
        ({"jobs": 5}, TypeError, "jobs are BackupJobs, not 5"),
        ({"jobs": ["x"]}, TypeError, "jobs are BackupJobs, not 'x'"),
    ],
)
def test_wrong_arguments_are_one_sentence(settings, kind, message):
    settings = {"jobs": [made(1, 0)], "start": at(0), "end": at(9)} | settings
    with pytest.raises(kind, match=message) as caught:
        backup_exposure(settings.pop("jobs"), **settings)
    assert "\n" not in str(caught.value)


def test_an_id_that_is_none_is_refused():
    job = made(1, 0)
    job.id = "../x"
    with pytest.raises(BackupRefused, match="is no id of a backup"):
        exposed(job)


# -- one definition -------------------------------------------------------------------------------


@given(takes=st.timedeltas(timedelta(0), DAY), every=st.timedeltas(TICK, DAY))
def test_what_the_slots_promise_is_what_comes_of_them(takes, every):
    gap, schedule = max(every, takes), even(every)
    jobs = [made(number, 0) for number in range(1, 5)]
    for number, job in enumerate(jobs):  # each begins at its slot, or when the last one has ended
        job.recovery_point = EPOCH + number * gap
        job.completed_at = job.recovery_point + takes
    found = backup_exposure(jobs, start=EPOCH + takes, end=jobs[-1].completed_at)
    assert found.worst == schedule.worst_case_rpo(takes)


def even(every):
    return BackupSchedule(FullBackupStrategy(), "/source", "/vault", every=every, start=EPOCH)


@pytest.mark.parametrize("verified", [False, True])
def test_a_monitor_and_the_exposure_of_that_instant_agree(small, vault, verified):
    clock = HandClock()
    strategy = IncrementalBackupStrategy(clock=clock)
    monitor = BackupMonitor(vault, clock=clock)

    def agree():
        health = monitor.check()
        now = clock.now()
        jobs = strategy.list_backups(vault) if vault.exists() else []
        found = backup_exposure(jobs, start=now, end=now, verified=verified)
        shown = health.rpo_exposure if verified else health.age
        assert found.worst == (timedelta.max if shown is None else shown)
        newest = health.newest_verified if verified else health.newest
        assert found.fallback == newest
        return found.worst

    seen = [agree()]
    for step in range(4):
        job = strategy.create_backup(small, vault)
        seen.append(agree())
        clock.advance(600)
        if step % 2:
            strategy.verify_backup(job)
            seen.append(agree())
        clock.advance(3000)
        (small / "a.txt").write_text(f"changed {step}")
        seen.append(agree())
    assert len(set(seen)) > 3
    if not verified:  # of a verification that lies in the future, a monitor takes no notice
        clock.seconds -= 3 * 3600  # the clock was wrong: such recovery points count for nothing
        assert agree() == timedelta(0)


# -- of a schedule --------------------------------------------------------------------------------


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def scheduled(small, vault, clock):
    def make(**settings):
        return BackupSchedule(FullBackupStrategy(clock=clock), small, vault, **settings)

    return make


def test_exposure_of_a_schedule(scheduled, small, clock):
    schedule = scheduled(every="1h")
    asyncio.run(schedule.run(until=EPOCH + 2 * HOUR))
    found = schedule.exposure()
    assert (found.worst, found.start, found.end) == (HOUR, EPOCH, EPOCH + 2 * HOUR)
    assert found.at == EPOCH + HOUR
    away = small.rename(small.parent / "away")
    asyncio.run(schedule.run(until=EPOCH + 4.5 * HOUR))
    away.rename(small)
    asyncio.run(schedule.run(until=EPOCH + 5.5 * HOUR))
    found = schedule.exposure()
    assert (found.worst, found.at) == (2.5 * HOUR, EPOCH + 4.5 * HOUR)
    assert found.failed == schedule.failures
    assert "2 runs failed before, at 2026-03-01 06:00:00 UTC: the source" in found.explanation
    assert schedule.exposure(end=EPOCH + 4 * HOUR).worst == 2 * HOUR
    assert schedule.exposure(start=EPOCH + 5 * HOUR).worst == HOUR / 2
    first = schedule.jobs[0]
    assert schedule.exposure(usable_after="10m").worst == 2.5 * HOUR + timedelta(minutes=10)
    assert schedule.exposure(lost={first.id: EPOCH + HOUR / 2}).worst == timedelta.max
    assert schedule.exposure(verified=True).worst == timedelta.max
    schedule.strategy.verify_backup(schedule.jobs[2])
    now = clock.now()
    assert schedule.exposure(start=now, verified=True).worst == now - (EPOCH + 2 * HOUR)


def test_a_first_run_that_fails_is_no_excuse(scheduled, small):
    schedule = scheduled(every="1h")
    away = small.rename(small.parent / "away")
    asyncio.run(schedule.run(until=EPOCH + 1.5 * HOUR))
    away.rename(small)
    asyncio.run(schedule.run(until=EPOCH + 4 * HOUR))
    found = schedule.exposure()
    assert (found.worst, found.start, found.until) == (timedelta.max, EPOCH, EPOCH + 1.5 * HOUR)
    assert found.failed == schedule.failures
    assert schedule.exposure(start=EPOCH + 1.5 * HOUR).worst == HOUR


def test_what_the_destination_holds_counts_too(scheduled, small, vault, clock):
    older = scheduled(every="1h").run_once()
    clock.advance(3600)
    schedule = scheduled(every="1h")
    away = small.rename(small.parent / "away")
    asyncio.run(schedule.run(until=EPOCH + 1.5 * HOUR))
    found = schedule.exposure()
    assert (found.worst, found.start, found.fallback) == (1.5 * HOUR, EPOCH + HOUR, older)
    away.rename(small)
    asyncio.run(schedule.run(until=EPOCH + 3 * HOUR))
    vault.rename(vault.parent / "gone")  # of before now, what it made itself, it still knows
    found = schedule.exposure(start=EPOCH + 2 * HOUR, end=EPOCH + 3 * HOUR - TICK)
    assert (found.worst, found.fallback) == (HOUR - TICK, schedule.jobs[1])


def test_what_the_destination_lacks_is_lost(scheduled, vault):
    schedule = scheduled(every="1h")
    asyncio.run(schedule.run(until=EPOCH + 3.5 * HOUR))
    *_, third, fourth = schedule.jobs
    shutil.rmtree(fourth.path)
    found = schedule.exposure()
    assert (found.worst, found.fallback, found.lost) == (1.5 * HOUR, third, (fourth,))
    assert found.at == found.end == EPOCH + 3.5 * HOUR
    schedule.strategy.create_backup(schedule.source, vault)
    schedule.strategy.prune_backups(vault, RetentionPolicy(keep_last=1))
    (last,) = schedule.strategy.list_backups(vault)
    found = schedule.exposure(lost={last.id: EPOCH + 3.5 * HOUR})
    assert (found.worst, found.fallback) == (timedelta.max, None)  # and none that was pruned
    assert found.lost == schedule.jobs
    shutil.rmtree(vault)
    found = schedule.exposure()
    assert (found.worst, found.at) == (timedelta.max, EPOCH + 3.5 * HOUR)
    assert found.explanation == (
        "a disaster at 2026-03-01 05:30:00 UTC would have found no backup to restore; backup "
        f"{fourth.id} and 3 more had been lost"
    )


def test_a_destination_that_can_not_be_read_is_no_empty_one(scheduled, vault):
    schedule = scheduled(every="1h")
    schedule.run_once()
    shutil.rmtree(vault)
    vault.write_text("no folder")
    with pytest.raises(BackupRefused, match="can't read"):
        schedule.exposure()
    with pytest.raises(BackupRefused, match="can't read"):
        schedule.due()
    vault.unlink()
    vault.symlink_to("nowhere")
    with pytest.raises(BackupRefused, match="there is no folder"):
        schedule.exposure()


def test_where_it_can_not_be_told_whether_there_is_a_destination_it_is_no_missing_one(
    small, tmp_path
):
    place = tmp_path / "mount" / "vault"
    schedule = BackupSchedule(FullBackupStrategy(clock=HandClock()), small, place, every="1h")
    schedule.run_once()
    shutil.rmtree(place.parent)
    assert schedule.due()
    place.parent.write_text("no folder")
    with pytest.raises(BackupRefused, match="can't read"):
        schedule.due()


def test_a_span_of_verified_backups_begins_with_the_first_of_them(scheduled, clock):
    schedule = scheduled(every="1h")
    asyncio.run(schedule.run(until=EPOCH + 2 * HOUR))
    schedule.strategy.verify_backup(schedule.strategy.list_backups(schedule.destination)[1])
    asyncio.run(schedule.run(until=EPOCH + 5 * HOUR))
    found = schedule.exposure(verified=True)
    assert (found.start, found.worst) == (EPOCH + 2 * HOUR, 4 * HOUR)
    found = schedule.exposure(verified=True, usable_after="90m")
    assert (found.start, found.worst) == (EPOCH + 2.5 * HOUR, 4 * HOUR)


def test_an_exposure_knows_the_gaps_of_its_schedule(scheduled):
    schedule = scheduled(cron="0 1,4 * * *")
    schedule.run_once()
    assert schedule.exposure().longest_gap == 21 * HOUR
    assert exposed(made(1, 0)).longest_gap is None


def test_a_schedule_that_has_not_run_has_no_exposure(scheduled):
    schedule = scheduled(every="1h")
    with pytest.raises(ValueError, match="has not run yet, so there is no span"):
        schedule.exposure()
    assert schedule.exposure(start=EPOCH).worst == timedelta.max


def test_a_first_backup_that_is_not_usable_yet(scheduled):
    schedule = scheduled(every="1h")
    schedule.run_once()
    found = schedule.exposure(usable_after="5m")
    assert (found.start, found.worst) == (EPOCH, timedelta.max)


def test_a_strategy_of_ones_own_says_when_its_backups_count(small, vault, clock):
    class Copied(FullBackupStrategy):
        def usable(self, job):
            return UsableSpan(job.completed_at + 2 * HOUR)

    class Lost(FullBackupStrategy):
        def usable(self, job):
            return UsableSpan(None)

    schedule = BackupSchedule(Copied(clock=clock), small, vault, every="1h")
    asyncio.run(schedule.run(until=EPOCH + 3 * HOUR))
    found = schedule.exposure()
    assert (found.start, found.worst) == (EPOCH + 2 * HOUR, 3 * HOUR)
    schedule = BackupSchedule(Lost(clock=clock), small, vault, every="1h")
    schedule.run_once()
    found = schedule.exposure()
    assert (found.start, found.worst) == (EPOCH + 3 * HOUR, timedelta.max)


def test_of_forgotten_backups_nothing_is_claimed(scheduled, clock, monkeypatch):
    monkeypatch.setattr(runs, "KEPT", 3)
    before = scheduled(every="1h")
    before.run_once()
    clock.advance(3600)
    kept = scheduled(every="1h")
    asyncio.run(kept.run(until=EPOCH + 5 * HOUR))
    assert [job.id[:6] for job in kept.jobs] == ["000004", "000005", "000006"]
    found = kept.exposure()  # the destination knows the others
    assert (found.worst, found.start) == (HOUR, EPOCH + HOUR)
    # What was there before it is none of them.
    shutil.rmtree(kept.strategy.list_backups(kept.destination)[-2].path)
    with pytest.raises(ValueError, match=r"keeps its last 3 backups, .* at 2026-03-01 05:00:00"):
        kept.exposure()
    assert kept.exposure(start=EPOCH + 3 * HOUR).worst == HOUR
