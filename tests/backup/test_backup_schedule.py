"""Schedules: when their slots are, and that a run keeps to them, whatever fails."""

import asyncio
import logging
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hand_clock import EPOCH, HandClock, LoopClock
from pytest_drdrill.backup import (
    BackupError,
    BackupJob,
    BackupMonitor,
    BackupRefused,
    BackupSchedule,
    BackupStatus,
    FullBackupStrategy,
    IncrementalBackupStrategy,
)

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TICK = timedelta(microseconds=1)


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def scheduled(small, vault, clock):
    """Make a schedule of real backups of ``small``."""

    def make(strategy=IncrementalBackupStrategy, clock=clock, **settings):
        return BackupSchedule(strategy(clock=clock), small, vault, **settings)

    return make


class Counted(FullBackupStrategy):
    """Notes when it is asked for a backup, and lets so many seconds pass with each."""

    def __init__(self, clock, takes=lambda _: 0.0):
        super().__init__(clock=clock)
        self.takes = takes
        self.began = []

    @property
    def hours(self):
        return [(began - EPOCH) / HOUR for began in self.began]

    def create_backup(self, source, destination, **_):
        self.began.append(self.clock.now())
        self.clock.advance(self.takes(len(self.began)))


def even(every, start=EPOCH):
    return BackupSchedule(FullBackupStrategy(), "/source", "/vault", every=every, start=start)


def by_cron(expression):
    return BackupSchedule(FullBackupStrategy(), "/source", "/vault", cron=expression)


# -- slots ----------------------------------------------------------------------------------------

moments = st.datetimes(datetime(1970, 1, 2), datetime(2150, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
intervals = st.timedeltas(TICK, 40 * DAY)
numbers = {
    "minute": st.integers(0, 59),
    "hour": st.integers(0, 23),
    "day": st.integers(1, 31),
    "month": st.integers(1, 12),
    "weekday": st.integers(0, 6),
}


@st.composite
def crons(draw):
    """The sets that the five fields match, None for all of them."""
    return [
        draw(st.none() | st.sets(number, min_size=1, max_size=4)) for number in numbers.values()
    ]


def written(fields):
    return " ".join("*" if field is None else ",".join(map(str, sorted(field))) for field in fields)


def matches(fields, day):
    """Whether a date is one of those that crontab(5) describes; independent of any library."""
    _, _, dates, months, weekdays = fields
    if months is not None and day.month not in months:
        return False
    of_month = dates is None or day.day in dates
    of_week = weekdays is None or day.isoweekday() % 7 in weekdays
    either = dates is not None and weekdays is not None
    return (of_month or of_week) if either else (of_month and of_week)


def counted_out(fields, start, end):
    """The slots after ``start`` and up to ``end``, found by looking at each minute of each day."""
    found = []
    day = start.replace(hour=0, minute=0, second=0, microsecond=0)
    while day <= end:
        if matches(fields, day):
            found += [
                day + timedelta(hours=hour, minutes=minute)
                for hour in sorted(fields[1] or range(24))
                for minute in sorted(fields[0] or range(60))
            ]
        day += DAY
    return [slot for slot in found if start < slot <= end]


@given(every=intervals, start=moments, moment=moments)
def test_next_even_slot_is_the_first_one_later(every, start, moment):
    slot = even(every, start).next_after(moment)
    assert slot > moment
    assert slot >= start
    assert (slot - start) % every == timedelta(0)
    assert slot == start or slot - every <= moment


@given(every=intervals, start=moments, before=intervals, count=st.integers(0, 30))
def test_even_runs_between_are_all_of_them(every, start, before, count):
    schedule = even(every, start)
    end = start + count * every
    runs = list(schedule.runs_between(start - before, end))
    assert runs == [start + n * every for n in range(count + 1)]
    assert list(schedule.runs_between(start - before, end - TICK)) == runs[:-1]
    assert list(schedule.runs_between(start, end)) == runs[1:]


@given(fields=crons(), moment=moments, length=st.timedeltas(timedelta(0), 3 * DAY))
def test_cron_runs_between_are_all_of_them(fields, moment, length):
    try:
        schedule = by_cron(written(fields))
    except ValueError:
        assume(False)
    expected = counted_out(fields, moment, moment + length)
    assert list(schedule.runs_between(moment, moment + length)) == expected
    following = schedule.next_after(moment)
    assert following > moment
    assert (expected or [moment + length + TICK])[0] <= following
    assert following in expected or following > moment + length


@given(fields=crons(), moment=moments, cut=st.integers(0, 5), count=st.integers(1, 6))
def test_runs_between_are_repeated_next_after(fields, moment, cut, count):
    try:
        schedule = by_cron(written(fields))
    except ValueError:
        assume(False)
    repeated = [moment]
    for _ in range(count):
        repeated.append(schedule.next_after(repeated[-1]))
    assert list(schedule.runs_between(moment, repeated[-1])) == repeated[1:]
    assert list(schedule.runs_between(moment, repeated[-1] - TICK)) == repeated[1:-1]
    at = repeated[min(cut, count)]
    halves = [*schedule.runs_between(moment, at), *schedule.runs_between(at, repeated[-1])]
    assert halves == repeated[1:]


@pytest.mark.parametrize(
    ("schedule", "count"),
    [
        (even("1h"), 31 * 24),
        (even(timedelta(seconds=100) / 3), 31 * DAY // (timedelta(seconds=100) / 3)),
        (even("7m"), 31 * 24 * 60 // 7),
        (by_cron("*/15 * * * *"), 31 * 24 * 4),
        (by_cron("0 3 * * *"), 31),
        (by_cron("0 3 * * 1-5"), 22),
        (by_cron("0 3 31 * *"), 1),
    ],
    ids=str,
)
def test_a_month_has_the_right_number_of_runs(schedule, count):
    assert len([*schedule.runs_between(EPOCH, EPOCH + 31 * DAY)]) == count  # from a Sunday on


def test_moments_of_other_zones_are_understood():
    tokyo = timezone(timedelta(hours=9))
    slot = by_cron("0 3 * * *").next_after(datetime(2026, 3, 1, 12, 0, tzinfo=tokyo))
    assert slot == datetime(2026, 3, 2, 3, 0, tzinfo=UTC)
    assert slot.tzinfo is UTC
    assert even("1h", datetime(2026, 3, 1, tzinfo=tokyo)).next_after(EPOCH).tzinfo is UTC


def test_interval_is_what_is_left_until_the_next_run():
    schedule = even("1h")
    assert schedule.interval_at(EPOCH) == HOUR
    assert schedule.interval_at(EPOCH + HOUR - TICK) == TICK
    assert schedule.interval_at(EPOCH - 3 * DAY) == 3 * DAY
    assert by_cron("0 9 * * 1-5").interval_at(datetime(2026, 3, 6, 9, tzinfo=UTC)) == 3 * DAY


# -- the worst case -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "gap"),
    [
        ("0 3 * * *", DAY),
        ("*/7 * * * *", timedelta(minutes=7)),
        ("30 0,12 * * *", 12 * HOUR),
        ("0 1,4 * * *", 21 * HOUR),
        ("0 9-17 * * 1-5", 64 * HOUR),
        ("0 0 1 * *", 31 * DAY),
        ("0 0 31 * *", 61 * DAY),  # from August's to October's
        ("0 0 29 2 *", 2921 * DAY),  # over 1900, 2100, ...
        ("0 0 29 2 */7", 14609 * DAY),  # a Sunday as well
    ],
)
def test_worst_case_of_cron_counts_its_longest_gap(expression, gap):
    assert by_cron(expression).worst_case_rpo("1m") == gap + timedelta(minutes=1)


@pytest.mark.parametrize(
    "expression", ["0 0 1 * *", "0 0 * * SUN#5", "0 6,7 13 * */5", "5 4 LW 2 *", "0 0 * 2 MON#5"]
)
def test_worst_case_of_cron_is_that_of_the_whole_calendar(expression):
    schedule = by_cron(expression)
    first = schedule.next_after(datetime(2000, 1, 1, tzinfo=UTC))
    runs = schedule.runs_between(first - TICK, first + 146_097 * DAY)
    assert schedule.worst_case_rpo("0s") == max(b - a for a, b in pairwise(runs))


@given(
    schedule=intervals.filter(lambda each: each > 1000 * TICK).map(even)
    | st.sampled_from(["*/25 * * * *", "0 9-17 * * 1-5", "0 1,4 * * *", "5 5 1,9 * *"]).map(
        by_cron
    ),
    moment=moments,
    takes=st.timedeltas(timedelta(0), 3 * DAY),
)
def test_no_disaster_costs_more_than_the_worst_case(schedule, moment, takes):
    worst = schedule.worst_case_rpo(takes)
    began = schedule.next_after(moment)
    for _ in range(5):
        following = max(schedule.next_after(began), began + takes)
        # Just before the following one is usable, this one is the newest that is.
        assert following + takes - began <= worst
        began = following


@given(every=intervals, takes=intervals)
def test_worst_case_of_even_slots_is_met(every, takes):
    # Later gaps are as long as the first of them, or as what a backup takes.
    following = max(EPOCH + every, EPOCH + takes)
    assert even(every).worst_case_rpo(takes) == following + takes - EPOCH


def test_worst_case_where_the_copy_takes_longer_than_the_interval():
    assert even("1h").worst_case_rpo("10m", usable_after="2h") == timedelta(hours=3, minutes=10)


# -- due ------------------------------------------------------------------------------------------


def test_due_by_the_newest_backup(scheduled, clock, vault, caplog):
    schedule = scheduled(every="1h")
    assert schedule.due()  # nothing there
    assert not vault.exists()
    vault.mkdir()
    assert schedule.due()
    schedule.run_once()
    assert not schedule.due()
    clock.advance(1800)
    schedule.run_once()  # between slots: the next one is due all the same
    assert not schedule.due()
    assert not schedule.due(EPOCH + HOUR - TICK)
    assert schedule.due(EPOCH + HOUR)
    assert schedule.due(EPOCH + 5 * HOUR)
    clock.advance(1800)
    assert schedule.due()
    job = schedule.run_once()
    (job.path / "metadata.json").write_text("torn")
    assert schedule.due()  # what is damaged is no backup
    assert "left out of the list" in caplog.text


class TickingClock(HandClock):
    """Each look at it takes a second."""

    def now(self):
        self.seconds += 1
        return super().now()


def test_due_and_health_count_from_the_recovery_point(scheduled, vault):
    clock = TickingClock()
    schedule = scheduled(every="1h", start=EPOCH, clock=clock)
    clock.seconds += 3600 - 3
    job = schedule.run_once()
    assert job.created_at < EPOCH + HOUR <= job.recovery_point
    assert not schedule.due(EPOCH + 2 * HOUR - TICK)
    health = BackupMonitor(vault, schedule=schedule).check()
    assert health.age == health.checked_at - job.recovery_point


def test_nothing_is_due_before_the_start(scheduled):
    schedule = scheduled(every="1h", start=EPOCH + HOUR)
    assert not schedule.due()
    assert not schedule.due(EPOCH + HOUR - TICK)
    assert schedule.due(EPOCH + HOUR)


def test_a_backup_from_the_future_puts_nothing_off(scheduled, clock):
    schedule = scheduled(cron="0 * * * *")
    clock.advance(10 * 86400)
    schedule.run_once()
    clock.seconds -= 10 * 86400  # the clock was wrong
    assert schedule.due()
    schedule.run_once()
    assert not schedule.due()
    assert schedule.due(EPOCH + HOUR)


def test_a_destination_that_can_not_be_read_is_said(scheduled, vault):
    vault.write_text("a file")
    with pytest.raises(BackupRefused, match=r"can't read .*vault"):
        scheduled(every="1h").due()


# -- runs -----------------------------------------------------------------------------------------


def test_run_once_keeps_the_outcome(scheduled, small, clock):
    told = []
    schedule = scheduled(every="1h", on_failure=told.append)
    job = schedule.run_once()
    assert isinstance(job, BackupJob)
    assert job.status is BackupStatus.COMPLETED
    assert schedule.jobs == (job,)
    clock.advance(7)
    moved = small.rename(small.parent / "away")
    with pytest.raises(BackupRefused, match="does not exist") as caught:
        schedule.run_once()
    (failure,) = schedule.failures
    assert (failure.moment, failure.error, failure.job) == (
        EPOCH + timedelta(seconds=7),
        caught.value,
        None,
    )
    assert told == [failure]
    assert schedule.failing == (failure,)
    moved.rename(small)
    again = schedule.run_once()
    assert schedule.jobs == (job, again)
    assert schedule.failures == (failure,)
    assert schedule.failing == ()


def test_a_failed_run_carries_its_job(scheduled, small):
    schedule = scheduled(every="1h")
    error = BackupError("the disk is full", job=BackupJob("1", "full", small, small, EPOCH))

    def fail(*_):
        raise error

    schedule.strategy.create_backup = fail
    with pytest.raises(BackupError, match="the disk is full"):
        schedule.run_once()
    (failure,) = schedule.failures
    assert failure.job is error.job


def test_a_run_has_one_backup_a_slot(scheduled, clock):
    schedule = scheduled(every="1h", strategy=FullBackupStrategy)
    asyncio.run(schedule.run(until=EPOCH + 6 * HOUR))
    assert [job.recovery_point for job in schedule.jobs] == [EPOCH + n * HOUR for n in range(7)]
    assert clock.now() == EPOCH + 6 * HOUR
    asyncio.run(schedule.run(until=EPOCH + 6 * HOUR + timedelta(minutes=5)))  # not due
    assert len(schedule.jobs) == 7
    assert clock.now() == EPOCH + 6 * HOUR + timedelta(minutes=5)
    asyncio.run(schedule.run(until=EPOCH))
    assert clock.now() == EPOCH + 6 * HOUR + timedelta(minutes=5)


def test_a_month_of_runs_does_not_drift(small, vault, clock):
    every = timedelta(seconds=601.3)  # no binary fraction
    strategy = Counted(clock, takes=lambda _: 0.7)
    schedule = BackupSchedule(strategy, small, vault, every=every)
    asyncio.run(schedule.run(until=EPOCH + 31 * DAY))
    assert len(strategy.began) == 31 * DAY // every + 1
    for n, began in enumerate(strategy.began):
        assert timedelta(0) <= began - (EPOCH + n * every) <= 2 * TICK


def test_cron_runs_at_its_slots(small, vault, clock):
    strategy = Counted(clock)
    schedule = BackupSchedule(strategy, small, vault, cron="30 */6 * * *")
    asyncio.run(schedule.run(until=EPOCH + DAY))
    slots = [datetime(2026, 3, 1, hour, 30, tzinfo=UTC) for hour in (6, 12, 18)]
    assert strategy.began == [EPOCH, *slots, datetime(2026, 3, 2, 0, 30, tzinfo=UTC)]


def test_missed_slots_are_made_up_for_once(small, vault, clock):
    strategy = Counted(clock, takes=lambda run: 3.5 * 3600 if run == 2 else 0.0)
    schedule = BackupSchedule(strategy, small, vault, every="1h")
    asyncio.run(schedule.run(until=EPOCH + 8 * HOUR))
    assert strategy.hours == [0, 1, 4.5, 5, 6, 7, 8]


def test_a_start_makes_up_for_what_was_missed(scheduled, clock):
    schedule = scheduled(every="1h")
    schedule.run_once()
    clock.advance(5.25 * 3600)
    asyncio.run(schedule.run(until=EPOCH + 7 * HOUR))
    hours = [(job.recovery_point - EPOCH) / HOUR for job in schedule.jobs]
    assert hours == [0, 5.25, 6, 7]


def test_backups_longer_than_the_interval_let_others_run(small, vault):
    clock = LoopClock()
    strategy = Counted(clock, takes=lambda _: 7200)
    schedule = BackupSchedule(strategy, small, vault, every="1h")

    async def main():
        async with schedule:
            await clock.pass_time(4 * 3600)

    asyncio.run(main())  # a loop that never gives way would hang here
    assert strategy.hours == [0, 2, 4]
    assert 0.0 in clock.slept[1:]


def test_a_clock_set_back_runs_its_slots_again(small, vault, clock):
    strategy = Counted(clock)
    waiting, left = clock.sleep, [2.5 * 3600]

    async def set_back(seconds):
        await waiting(seconds)
        if clock.now() == EPOCH + 3 * HOUR and left:
            clock.seconds -= left.pop()

    clock.sleep = set_back
    schedule = BackupSchedule(strategy, small, vault, every="1h")
    asyncio.run(schedule.run(until=EPOCH + 4 * HOUR))
    assert strategy.hours == [0, 1, 2, 1, 2, 3, 4]


def test_a_source_that_fails_in_the_middle_stops_nothing(scheduled, small, caplog):
    clock = LoopClock()
    told = []
    schedule = scheduled(every="1h", clock=clock, on_failure=told.append)

    async def main():
        async with schedule:
            await clock.pass_time(3600)
            away = small.rename(small.parent / "away")
            await clock.pass_time(2 * 3600)
            away.rename(small)
            await clock.pass_time(3600)

    asyncio.run(main())
    assert [(job.recovery_point - EPOCH) / HOUR for job in schedule.jobs] == [0, 1, 4]
    assert [(failure.moment - EPOCH) / HOUR for failure in schedule.failures] == [2, 3]
    assert told == list(schedule.failures)
    assert all("does not exist" in str(failure.error) for failure in told)
    assert caplog.text.count("a scheduled backup of") == 2


def test_an_unreadable_destination_is_a_failed_run(scheduled, vault, clock):
    vault.write_text("a file")
    schedule = scheduled(every="1h")
    asyncio.run(schedule.run(until=EPOCH))
    (failure,) = schedule.failures
    assert isinstance(failure.error, BackupRefused)


def test_a_callback_that_raises_is_logged(scheduled, small, caplog):
    def complain(_):
        raise LookupError("no pager")

    schedule = scheduled(every="1h", on_failure=complain)
    small.rename(small.parent / "away")
    with caplog.at_level(logging.ERROR, "pytest_drdrill.backup"):
        asyncio.run(schedule.run(until=EPOCH + HOUR))
    assert len(schedule.failures) == 2
    assert caplog.text.count("LookupError: no pager") == 2


def test_start_and_stop(scheduled):
    clock = LoopClock()
    schedule = scheduled(every="1h", clock=clock)

    async def main():
        assert not schedule.is_running
        await schedule.stop()
        await schedule.start()
        assert schedule.is_running
        with pytest.raises(BackupRefused, match="is running already"):
            await schedule.start()
        await clock.pass_time(3600)
        with pytest.raises(BackupRefused, match="is running already"):
            await schedule.run()
        await schedule.stop()
        await schedule.stop()
        assert not schedule.is_running
        await clock.pass_time(2 * 3600)
        assert len(schedule.jobs) == 2
        async with schedule as same:
            assert same is schedule
            await clock.pass_time(0)
        assert len(schedule.jobs) == 3
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_a_cancelled_run_can_be_run_again(scheduled):
    clock = LoopClock()
    schedule = scheduled(every="1h", clock=clock)

    async def main():
        task = asyncio.create_task(schedule.run())
        await clock.pass_time(1800)
        assert schedule.is_running
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not schedule.is_running
        task = asyncio.create_task(schedule.run(until=EPOCH + HOUR))
        await clock.pass_time(1800)
        await task

    asyncio.run(main())
    assert [(job.recovery_point - EPOCH) / HOUR for job in schedule.jobs] == [0, 1]


def test_stop_belongs_to_the_loop_of_the_start(scheduled):
    clock = LoopClock()
    schedule = scheduled(every="1h", clock=clock)
    with asyncio.Runner() as first:
        first.run(schedule.start())
        with asyncio.Runner() as second, pytest.raises(BackupRefused, match="started in"):
            second.run(schedule.stop())
        first.run(schedule.stop())
    assert not schedule.is_running


class BrokenClock(HandClock):
    async def sleep(self, seconds):
        raise LookupError("no time left")


def test_what_ends_a_schedule_is_said_at_its_stop(scheduled):
    schedule = scheduled(every="1h", clock=BrokenClock())

    async def main(error):
        async with schedule:
            await asyncio.sleep(0)
            assert not schedule.is_running
            if error is not None:
                raise error

    with pytest.raises(LookupError, match="no time left"):
        asyncio.run(main(None))
    with pytest.raises(KeyError, match="mine") as caught:
        asyncio.run(main(KeyError("mine")))
    (note,) = caught.value.__notes__
    assert note == "besides, the schedule of backups had ended: LookupError('no time left')"
    assert schedule.jobs == ()


# -- wrong arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({}, ValueError, "takes either every=.* or cron=.*; neither is given"),
        ({"every": "1h", "cron": "0 3 * * *"}, ValueError, "; both are given"),
        ({"every": "0s"}, ValueError, "every must be above zero"),
        ({"every": timedelta(0)}, ValueError, "every must be above zero"),
        ({"every": "soon"}, ValueError, "every: 'soon' is no duration; write"),
        ({"every": 60}, TypeError, "every: 60 has no unit; write"),
        ({"every": -HOUR}, ValueError, "every: a duration can't be negative"),
        ({"every": "1h", "start": EPOCH.replace(tzinfo=None)}, ValueError, "start .* no time zone"),
        ({"every": "1h", "start": "now"}, TypeError, "start is an aware datetime, not 'now'"),
        ({"cron": "0 3 * * *", "start": EPOCH}, ValueError, "start has no meaning with cron"),
        ({"cron": 5}, TypeError, r'cron is an expression such as "0 3 \* \* \*" .*, not 5'),
        ({"cron": "0 3 * *"}, ValueError, r"'0 3 \* \*' has 4 fields in place of five; .*\"0 3 "),
        ({"cron": "0 0 3 * * *"}, ValueError, "has 6 fields in place of five"),
        ({"cron": ""}, ValueError, "has 0 fields"),
        ({"cron": "61 3 * * *"}, ValueError, r"no cron expression .bad minute.; write .*\"0 3 \*"),
        ({"cron": f"{'9' * 5000} 3 * * *"}, ValueError, "no cron expression .a number too long"),
        ({"cron": "0 0 30 2 *"}, ValueError, "no cron expression .bad day-of-month"),
        ({"cron": "0 0 */31 * MON#5"}, ValueError, "no day ever matches .*; write .*0 3 "),
        ({"every": "1h", "on_failure": 3}, TypeError, "on_failure must be callable, which 3 is no"),
        ({"every": "1h", "on_failure": asyncio.sleep}, TypeError, "on_failure is called and never"),
    ],
)
def test_wrong_settings_are_one_sentence(scheduled, settings, kind, message):
    with pytest.raises(kind, match=message) as caught:
        scheduled(**settings)
    assert "\n" not in str(caught.value)


def test_wrong_paths_are_one_sentence(small, vault):
    strategy = FullBackupStrategy()
    with pytest.raises(BackupRefused, match="lies inside the source"):
        BackupSchedule(strategy, small, small / "vault", every="1h")
    with pytest.raises(BackupRefused, match="the destination is an empty path"):
        BackupSchedule(strategy, small, "", every="1h")
    with pytest.raises(TypeError, match="the source is a text or a Path"):
        BackupSchedule(strategy, b"x", vault, every="1h")
    with pytest.raises(TypeError, match=r"a strategy such as FullBackupStrategy\(\), not <class"):
        BackupSchedule(FullBackupStrategy, small, vault, every="1h")


@pytest.mark.parametrize(
    "ask",
    [
        lambda schedule, moment: schedule.next_after(moment),
        lambda schedule, moment: schedule.interval_at(moment),
        lambda schedule, moment: schedule.due(moment),
        lambda schedule, moment: schedule.runs_between(moment, EPOCH),
        lambda schedule, moment: schedule.runs_between(EPOCH, moment),
        lambda schedule, moment: asyncio.run(schedule.run(until=moment)),
    ],
)
def test_naive_moments_are_refused(scheduled, ask):
    schedule = scheduled(every="1h")
    with pytest.raises(ValueError, match="which has no time zone; give it one"):
        ask(schedule, EPOCH.replace(tzinfo=None))
    with pytest.raises(TypeError, match="is an aware datetime, not 7"):
        ask(schedule, 7)
    assert schedule.jobs == ()


def test_wrong_questions_are_one_sentence():
    schedule = even("1h")
    with pytest.raises(ValueError, match=r"the end .* is before the start"):
        schedule.runs_between(EPOCH, EPOCH - TICK)
    with pytest.raises(ValueError, match="duration: 'long' is no duration"):
        schedule.worst_case_rpo("long")
    with pytest.raises(TypeError, match="duration: 5 has no unit"):
        schedule.worst_case_rpo(5)
    with pytest.raises(ValueError, match="usable_after: 'late' is no duration"):
        schedule.worst_case_rpo("1m", usable_after="late")
    last = datetime.max.replace(tzinfo=UTC)
    for each in (schedule, by_cron("0 3 * * *")):
        with pytest.raises(ValueError, match=r"the slot after 9999-12-31 .* is out of range"):
            each.next_after(last)
        assert list(each.runs_between(last - HOUR, last)) in (
            [],
            [last.replace(hour=23, minute=0, second=0, microsecond=0)],
        )
    with pytest.raises(ValueError, match="out of range in UTC"):
        schedule.next_after(datetime.max.replace(tzinfo=timezone(-HOUR)))


def test_without_the_library_the_extra_is_named(scheduled, monkeypatch):
    monkeypatch.setitem(sys.modules, "cronsim", None)
    with pytest.raises(ImportError, match=r"not installed: pip install 'pytest-drdrill\[cron\]'"):
        scheduled(cron="0 3 * * *")
    assert scheduled(every="1h").due()


def test_importing_brings_in_nothing_heavy():
    code = (
        "import sys, pytest_drdrill.backup as b\n"
        "b.BackupSchedule(b.FullBackupStrategy(), '/a', '/b', every='1h').due()\n"
        "sys.exit(str({'asyncio', 'cronsim'} & set(sys.modules)) if "
        "{'asyncio', 'cronsim'} & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
