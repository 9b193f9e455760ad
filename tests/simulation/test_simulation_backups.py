"""Simulated backups and schedules in virtual time: a month of them, whatever fails or is late."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_drdrill import (
    BackupError,
    BackupJob,
    BackupLocked,
    BackupMaker,
    BackupNotFound,
    BackupRefused,
    BackupSchedule,
    BackupStatus,
    BackupStrategy,
    FullBackupStrategy,
    SimulatedBackups,
    SimulatedWorld,
    SimulationError,
    simulate,
)

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def on(schedule):
    """When each of its backups began, in hours since the epoch."""
    return [(job.recovery_point - EPOCH) / HOUR for job in schedule.jobs]


def failed_on(schedule):
    return [(run.moment - EPOCH) / HOUR for run in schedule.failures]


def after(time, *, prepare=lambda backups: None, seed=0, schedule=None, **made):
    """The schedule, every hour unless told otherwise, as it is after so long in a world."""

    async def main(world):
        backups = world.backups(**made)
        prepare(backups)
        kept = BackupSchedule(backups, "/srv/wiki", "/vault", **(schedule or {"every": "1h"}))
        await kept.run(until=EPOCH + time)
        return kept, kept.exposure()

    return simulate(main, seed=seed)


# -- one backup -----------------------------------------------------------------------------------


def test_a_backup_takes_virtual_time_and_says_that_it_is_simulated(tmp_path):
    async def main(world):
        backups = world.backups(takes="20m", usable_after="1h")
        await world.clock.sleep(60)
        job = await backups.create_backup(tmp_path / "wiki", tmp_path / "vault")
        assert world.clock.now() == EPOCH + 21 * MINUTE
        assert isinstance(job, BackupJob)
        assert job.id == "000001-full-20000101T000100Z"
        assert job.status is BackupStatus.COMPLETED
        assert job.created_at == job.started_at == job.recovery_point == EPOCH + MINUTE
        assert job.completed_at == EPOCH + 21 * MINUTE
        assert job.warnings == ["simulated: there is no file behind it"]
        assert (job.size_bytes, job.file_count, job.verified_at) == (0, 0, None)
        assert backups.usable(job) == (EPOCH + 81 * MINUTE, None)
        assert backups.list_backups(tmp_path / "vault") == [job]
        assert backups.list_backups(tmp_path / "another") == []
        assert [str(event) for event in world.trace] == [
            f"backups backup completed ({job.id}) at 21m"
        ]
        assert isinstance(backups, BackupMaker)
        assert not isinstance(backups, BackupStrategy)
        assert repr(backups) == "<SimulatedBackups 'backups'>"

    simulate(main)
    assert list(tmp_path.iterdir()) == []


def test_a_real_strategy_finds_nothing_behind_it(tmp_path):
    from pytest_drdrill import FullBackupStrategy

    async def main(world):
        return await world.backups().create_backup(tmp_path / "wiki", tmp_path / "vault")

    with pytest.raises(BackupRefused):
        FullBackupStrategy().restore_backup(simulate(main), tmp_path / "restored")


def test_it_fails_when_told_and_where_it_is_under_way_at_once():
    async def main(world):
        backups = world.backups(takes="20m")
        backups.fail()
        with pytest.raises(
            BackupError, match="the place for the backups can't be reached"
        ) as caught:
            await backups.create_backup("/a", "/b")
        assert world.clock.monotonic() == 0
        job = caught.value.job
        assert job.status is BackupStatus.FAILED
        assert job.completed_at is None
        assert job.error_message == str(caught.value)
        assert str(caught.value).startswith(f"simulated backup {job.id} failed: ")
        backups.recover()
        under_way = asyncio.create_task(backups.create_backup("/a", "/b"))
        await world.clock.sleep(60)
        backups.fail("the disk is full")
        with pytest.raises(BackupError, match="the disk is full"):
            await under_way
        assert world.clock.monotonic() == 60
        backups.recover()
        backups.fail_at("2m", "the network is gone")
        backups.recover_at("3m")
        with pytest.raises(BackupError, match="the network is gone"):
            await backups.create_backup("/a", "/b")
        assert world.clock.monotonic() == 120
        await world.clock.sleep(60)
        job = await backups.create_backup("/a", "/b")
        assert world.clock.monotonic() == 180 + 1200
        assert backups.list_backups("/b") == [job]
        events = [event.event for event in world.trace]
        assert events.count("fails") == events.count("recovers") == 3
        assert events.count("backup failed") == 3

    simulate(main)


def test_it_is_slow_when_told_for_those_that_begin_from_then_on():
    async def main(world):
        backups = world.backups(takes="20m")
        under_way = asyncio.create_task(backups.create_backup("/a", "/b"))
        await world.clock.sleep(60)
        backups.slow("2h")
        backups.slow_at("10h", "5h")
        await under_way
        assert world.clock.monotonic() == 1200
        await backups.create_backup("/a", "/b")
        assert world.clock.monotonic() == 1200 + 1200 + 7200
        await world.clock.sleep(10 * 3600 - world.clock.monotonic())
        await backups.create_backup("/a", "/b")
        assert world.clock.monotonic() == 15 * 3600 + 1200
        backups.recover()
        await backups.create_backup("/a", "/b")
        assert world.clock.monotonic() == 15 * 3600 + 2400

    simulate(main)


def test_one_run_writes_to_a_destination():
    async def main(world):
        backups = world.backups(takes="20m")
        first = asyncio.create_task(backups.create_backup("/a", "/b"))
        await world.clock.sleep(60)
        with pytest.raises(BackupLocked, match="another run is writing to /b"):
            await backups.create_backup("/a", "/b")
        other = await backups.create_backup("/a", "/c")
        assert backups.list_backups("/b") == [await first]
        assert backups.list_backups("/c") == [other]
        assert (await first).id != other.id

    simulate(main)


def test_what_is_cut_off_is_no_backup():
    async def main(world):
        backups = world.backups(takes="20m")
        schedule = BackupSchedule(backups, "/a", "/b", every="1h")
        async with schedule:
            await world.clock.sleep(3600 + 60)
        assert on(schedule) == [0]
        assert schedule.failures == ()
        assert backups.list_backups("/b") == list(schedule.jobs)
        assert [event.event for event in world.trace][-1] == "backup failed"
        await schedule.run_now()  # nothing holds the destination any more
        assert on(schedule) == [0, 61 / 60]

    simulate(main)


def test_what_is_lost_is_not_listed_and_what_is_damaged_is():
    async def main(world):
        backups = world.backups()
        jobs = []
        for _ in range(4):
            jobs.append(await backups.create_backup("/a", "/b"))
            await world.clock.sleep(3600)
        backups.damage(jobs[3])
        assert backups.list_backups("/b") == jobs[::-1]
        assert backups.usable(jobs[3]) == (EPOCH + 3 * HOUR, EPOCH + 4 * HOUR)
        await world.clock.sleep(3600)
        backups.lose(jobs[2], jobs[3])
        assert backups.list_backups("/b") == jobs[1::-1]
        assert backups.usable(jobs[3]).until == EPOCH + 4 * HOUR  # it was of no use before
        with pytest.raises(BackupNotFound, match=f"'backups' holds no backup {jobs[3].id}"):
            backups.lose(jobs[3])
        with pytest.raises(TypeError, match="named by its BackupJob, not by '000001"):
            backups.damage(jobs[0].id)
        backups.lose()
        assert backups.list_backups("/b") == []
        assert backups.usable(jobs[0]).until == EPOCH + 5 * HOUR
        told = [
            (each.event, each.detail) for each in world.trace if each.event.endswith("a backup")
        ]
        assert told == [
            ("damages a backup", jobs[3].id),
            ("loses a backup", "2 of them"),
            ("loses a backup", "2 of them"),
        ]

    simulate(main)


def test_chance_is_that_of_the_seed():
    def outcome(seed, prepare=lambda backups: None):
        schedule, _ = after(20 * DAY, seed=seed, failure_rate=0.2, prepare=prepare)
        return failed_on(schedule)

    first = outcome(7)
    assert first == outcome(7) != outcome(8)
    assert 0.15 < len(first) / 481 < 0.25

    def told(backups):  # what is told to one changes no other one's chance
        backups.fail_at("100h")
        backups.recover_at("110h")

    ten = [100.0 + n for n in range(10)]
    assert outcome(7, told) == sorted({*first, *ten})


# -- schedules ------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(
    every=st.integers(1, 5000).map(lambda n: n * timedelta(seconds=1)),
    takes=st.integers(0, 5000).map(lambda n: n * timedelta(seconds=1)),
    copy=st.integers(0, 5000).map(lambda n: n * timedelta(seconds=1)),
)
def test_what_was_measured_is_what_the_slots_promise(every, takes, copy):
    time = 6 * max(every, takes) + takes + copy
    kept, exposure = after(time, takes=takes, usable_after=copy, schedule={"every": every})
    # The next one does not wait for the copy, however long that takes.
    assert exposure.worst == kept.worst_case_rpo(takes, usable_after=copy)


def test_a_month_at_every_quarter_of_an_hour():
    def prepare(backups):
        backups.fail_at("10d5m", "the store is full")
        backups.recover_at("10d40m")
        backups.slow_at("20d", "47m")
        backups.recover_at("20d1m")

    kept, exposure = after(
        30 * DAY, prepare=prepare, takes="3m", usable_after="2m", schedule={"every": "15m"}
    )
    # Two failed; 50 minutes cover the three slots after the first, made up for by one at once.
    assert failed_on(kept) == [240.25, 240.5]
    assert len(kept.jobs) == 30 * 96 + 1 - 2 - 3 + 1
    assert exposure.start == EPOCH + 5 * MINUTE
    # Begun at 19d23h45m; the slow one could be restored at 20d52m.
    assert exposure.worst == 67 * MINUTE
    assert exposure.at == EPOCH + 20 * DAY + 52 * MINUTE
    assert exposure.failed == ()
    assert "could be restored 52m after it began to read" in exposure.explanation
    early = kept.exposure(end=EPOCH + 20 * DAY)
    assert (early.worst, early.at) == (50 * MINUTE, EPOCH + 10 * DAY + 50 * MINUTE)
    assert early.failed == kept.failures
    assert "2 runs failed before, at 2000-01-11 00:30:00 UTC" in early.explanation
    assert "the store is full" in early.explanation


def test_a_backup_longer_than_the_interval_is_followed_by_the_next_one_at_once():
    kept, exposure = after(DAY, takes="30m")
    assert on(kept) == [*range(25)]
    assert exposure.worst == 90 * MINUTE

    def prepare(backups):
        backups.slow_at("2h", "3h15m")
        backups.recover_at("4h")

    kept, exposure = after(10 * HOUR, prepare=prepare, takes="30m", schedule={"every": "1h"})
    # Those of 3:00 to 5:00 are made up for by one, and that of 6:00 waits for it.
    assert on(kept) == [0, 1, 2, 5.75, 6.25, 7, 8, 9, 10]
    assert all(later.started_at >= earlier.completed_at for earlier, later in pairwise(kept.jobs))
    # Just before the one of 2:00 could be restored, it was the one of 1:00.
    assert (exposure.worst, exposure.at) == (4.75 * HOUR, EPOCH + 5.75 * HOUR)
    always, exposure = after(30 * HOUR, takes="90m", schedule={"every": "1h"})
    assert on(always) == [1.5 * n for n in range(21)]
    assert exposure.worst == 3 * HOUR == always.worst_case_rpo("90m")


def test_schedules_that_overlap_at_one_destination():
    async def main(world):
        backups = world.backups(takes="20m")
        first = BackupSchedule(backups, "/a", "/b", every="1h")
        second = BackupSchedule(backups, "/a", "/b", every="90m")
        end = EPOCH + 4 * HOUR
        await asyncio.gather(first.run(until=end), second.run(until=end))
        return first, second

    first, second = simulate(main)
    # At 0 and at 3 the other one was writing.
    assert (on(first), failed_on(first)) == ([0, 1, 2, 4], [3])
    assert (on(second), failed_on(second)) == ([1.5, 3], [0])
    failures = [*first.failures, *second.failures]
    assert all(isinstance(run.error, BackupLocked) for run in failures)


def test_a_loop_that_stands_lets_no_slot_pass():
    with SimulatedWorld() as world:
        schedule = BackupSchedule(world.backups(takes="10m"), "/a", "/b", every="1h")

        async def begin():
            await schedule.start()
            await world.clock.sleep(3600)

        world.run(begin())
        assert world.clock.monotonic() == 3600  # and stands
        assert on(schedule) == [0]
        world.clock.block(2 * 3600)  # as drill.sleep does
        assert on(schedule) == [0, 1, 2]
        assert schedule.is_running

        async def end():
            await schedule.stop()

        world.run(end())
        world.clock.block(2 * 3600)
        assert on(schedule) == [0, 1, 2]
        world.run(schedule.run(until=EPOCH + 7 * HOUR))
        assert on(schedule) == [0, 1, 2, 5, 6, 7]  # what was missed is made up for once
        assert schedule.exposure().worst == 3 * HOUR + 10 * MINUTE


def test_cron_over_a_leap_day_and_the_end_of_a_month():
    nightly, exposure = after(70 * DAY, takes="20m", schedule={"cron": "0 2 * * *"})
    days = [job.recovery_point.strftime("%m-%d") for job in nightly.jobs]
    assert days[:3] == ["01-01", "01-01", "01-02"]  # at the start none was there
    assert days[days.index("02-28") :][:3] == ["02-28", "02-29", "03-01"]
    assert len(days) == 71
    assert exposure.worst == DAY + 20 * MINUTE == nightly.worst_case_rpo("20m")

    last, exposure = after(160 * DAY, takes="20m", schedule={"cron": "30 23 31 * *"})
    days = [job.recovery_point.strftime("%m-%d") for job in last.jobs]
    assert days == ["01-01", "01-31", "03-31", "05-31"]
    assert exposure.worst == 61 * DAY + 20 * MINUTE  # from March's to May's

    leap, _ = after(100 * DAY, schedule={"cron": "0 0 29 2 *"})
    assert [job.recovery_point.strftime("%m-%d") for job in leap.jobs] == ["01-01", "02-29"]


def test_lost_backups_show_in_the_exposure_of_a_schedule():
    async def main(world):
        backups = world.backups()
        schedule = BackupSchedule(backups, "/a", "/b", every="1h")
        async with schedule:
            await world.clock.sleep(5.5 * 3600)
            backups.damage(*schedule.jobs[-2:])
            await world.clock.sleep(3600)
            late = schedule.exposure()
            backups.lose()
            assert schedule.due()
            lost = schedule.exposure()
        return schedule, late, lost

    schedule, late, lost = simulate(main)
    assert (late.worst, late.at) == (3 * HOUR, EPOCH + 6 * HOUR)
    assert late.fallback == schedule.jobs[3]
    assert late.lost == schedule.jobs[4:6]
    assert f"backup {schedule.jobs[5].id} and 1 more had been lost" in late.explanation
    assert (lost.worst, lost.at) == (timedelta.max, EPOCH + 6.5 * HOUR)


def test_what_takes_time_is_awaited():
    async def main(world):
        backups = world.backups(takes="5m")
        schedule = BackupSchedule(backups, "/a", "/b", every="1h")
        with pytest.raises(TypeError, match=r"'backups'> take time: await schedule.run_now\(\)"):
            schedule.run_once()
        assert schedule.failures == ()
        job = await schedule.run_now()
        assert schedule.jobs == (job,)
        backups.fail()
        with pytest.raises(BackupError) as caught:
            await schedule.run_now()
        (failure,) = schedule.failing
        assert (failure.error, failure.job) == (caught.value, caught.value.job)

    simulate(main)


# -- its world ------------------------------------------------------------------------------------


def test_a_world_that_begins_anew_has_them_as_they_were():
    async def run(backups):
        schedule = BackupSchedule(backups, "/a", "/b", every="1h")
        await schedule.run(until=backups.clock.now() + 3 * HOUR)
        return on(schedule), failed_on(schedule)

    with SimulatedWorld() as world:
        backups = world.backups(takes="5m")
        backups.fail_at("90m")
        world.restart()
        first = world.run(run(backups))
        backups.recover()
        backups.lose()
        world.backups("more")
        world.restart()
        assert world.run(run(backups)) == first == ([0, 1], [2, 3])
        assert [job.id[:6] for job in backups.list_backups("/b")] == ["000002", "000001"]
        world.backups("more")  # its name is free again
        with pytest.raises(ValueError, match="backups are named 'backups' already"):
            world.backups()


def test_a_schedule_begins_anew_with_its_world():
    with SimulatedWorld() as world:
        backups = world.backups()
        schedule = BackupSchedule(backups, "/a", "/b", every="1h")
        world.run(schedule.run(until=EPOCH + 2 * HOUR))
        before = schedule.jobs
        world.restart()  # as it was at the first restart
        assert schedule.jobs == before
        backups.fail()
        world.run(schedule.run(until=EPOCH + 4 * HOUR))
        assert (failed_on(schedule), len(schedule.failing)) == ([1, 2, 3, 4], 4)
        world.restart()
        assert (schedule.jobs, schedule.failures, schedule.failing) == (before, (), ())

    with SimulatedWorld() as world:
        backups = world.backups()
        clock = world.hosts("vault")[0].clock
        schedule = BackupSchedule(backups, "/a", "/b", every="1h")
        kept = BackupSchedule(FullBackupStrategy(clock=clock), "/none", "/b", every="1h")
        world.restart()
        world.run(schedule.run(until=EPOCH + 9 * HOUR))
        world.run(kept.run(until=EPOCH + 9 * HOUR))
        (first, *_), stale = schedule.jobs, schedule.jobs[-1]
        assert len(kept.failures) == 1
        world.restart()
        assert (schedule.jobs, kept.failures) == ((), ())
        with pytest.raises(ValueError, match="has not run yet"):
            schedule.exposure()
        backups.fail_at("3h")
        world.run(schedule.run(until=EPOCH + 9 * HOUR))
        found = schedule.exposure()
        assert (found.worst, found.fallback.created_at) == (7 * HOUR, EPOCH + 2 * HOUR)
        for job in (first, stale):
            assert backups.usable(job) == (None, None)
            with pytest.raises(BackupNotFound):
                backups.lose(job)


def test_it_belongs_to_its_world():
    other = SimulatedWorld()
    backups = other.backups(takes="5m")

    async def main(world):
        with pytest.raises(SimulationError, match="belongs to another event loop"):
            await backups.create_backup("/a", "/b")

    simulate(main)
    other.close()


MONTH = """
import json
from datetime import timedelta
from pytest_drdrill import BackupSchedule, SimulatedWorld
with SimulatedWorld(3) as world:
    backups = world.backups(takes="7m", failure_rate=0.1)
    backups.fail_at("3d")
    backups.recover_at("4d")
    schedule = BackupSchedule(backups, "/a", "/b", every="1h")
    world.run(schedule.run(until=world.clock.now() + timedelta(days=10)))
    print(json.dumps([[str(event) for event in world.trace], schedule.exposure().explanation]))
"""


def test_the_same_in_every_process():
    outputs = set()
    for seed in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", MONTH],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.add(done.stdout)
    (output,) = outputs
    assert len(json.loads(output)[0]) > 240


@pytest.mark.parametrize(
    ("made", "kind", "message"),
    [
        ({"name": ""}, ValueError, "a name of backups can't be empty"),
        ({"name": 5}, TypeError, "a name of backups is a text, not 5"),
        ({"takes": 5}, TypeError, "takes: 5 has no unit"),
        ({"takes": "long"}, ValueError, "takes: 'long' is no duration"),
        ({"usable_after": "late"}, ValueError, "usable_after: 'late' is no duration"),
        ({"failure_rate": "often"}, TypeError, "failure_rate is a number between 0 and 1, not 'o"),
        ({"failure_rate": True}, TypeError, "failure_rate is a number between 0 and 1, not True"),
        ({"failure_rate": 1.5}, ValueError, "failure_rate is a number between 0 and 1, not 1.5"),
        ({"failure_rate": float("nan")}, ValueError, "between 0 and 1, not nan"),
    ],
)
def test_wrong_settings_are_one_sentence(made, kind, message):
    with SimulatedWorld() as world, pytest.raises(kind, match=message) as caught:
        world.backups(**made)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tell", "kind", "message"),
    [
        (lambda b: b.fail_at("1s"), ValueError, r"fail_at\('1s'\) of 'backups': that moment has"),
        (lambda b: b.fail_at(5), TypeError, "at: 5 has no unit"),
        (lambda b: b.recover_at("0s"), ValueError, "that moment has passed, the world is 1m old"),
        (lambda b: b.slow("soon"), ValueError, "by: 'soon' is no duration"),
        (lambda b: b.slow_at("1s", "1m"), ValueError, "slow_at.*that moment has passed"),
        (lambda b: b.slow_at("2m", 7), TypeError, "by: 7 has no unit"),
    ],
)
def test_wrong_orders_are_one_sentence(tell, kind, message):
    with SimulatedWorld() as world:
        backups = world.backups()
        world.clock.block(60)
        before = len(world.trace)
        with pytest.raises(kind, match=message) as caught:
            tell(backups)
        assert "\n" not in str(caught.value)
        assert len(world.trace) == before


def test_paths_are_checked_as_a_strategy_checks_them():
    async def main(world):
        backups = world.backups()
        with pytest.raises(BackupRefused, match="the source is an empty path"):
            await backups.create_backup("", "/b")
        with pytest.raises(TypeError, match="the destination is a text or a Path"):
            await backups.create_backup("/a", b"/b")
        assert isinstance(backups, SimulatedBackups)

    simulate(main)
