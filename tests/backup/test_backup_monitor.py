"""Monitoring: what is wrong with the backups of a destination is found, and told once."""

import asyncio
import json
import logging
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from backup_trees import flip

from hand_clock import EPOCH, HandClock
from pytest_drdrill.backup import (
    BackupAlert,
    BackupMonitor,
    BackupRefused,
    BackupSchedule,
    FullBackupStrategy,
    IncrementalBackupStrategy,
)
from pytest_drdrill.clock import RealClock

HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)


class SetClock(HandClock):
    """Set to a moment, to the microsecond."""

    moment = EPOCH

    def now(self):
        return self.moment

    def advance(self, span):
        self.moment += span


@pytest.fixture
def clock():
    return SetClock()


@pytest.fixture
def strategy(clock):
    return IncrementalBackupStrategy(clock=clock)


@pytest.fixture
def backup(strategy, small, vault):
    """Make a backup now; verified in full, if asked."""

    def make(*, verified=False):
        job = strategy.create_backup(small, vault)
        if verified:
            strategy.verify_backup(job)
        return job

    return make


@pytest.fixture
def watch(vault, clock):
    """Make a monitor, and keep what it tells as ``(kind, job id, cleared)``."""

    def make(**settings):
        monitor = BackupMonitor(vault, clock=clock, **settings)
        monitor.told = []
        monitor.add_alert_callback(
            lambda alert: monitor.told.append((alert.kind, alert.job_id, alert.cleared))
        )
        return monitor

    return make


def kinds(health):
    return [alert.kind for alert in health.alerts]


def test_a_healthy_destination(watch, backup, clock):
    job = backup(verified=True)
    clock.advance(HOUR)
    monitor = watch(every="1h", max_unverified_age="1d")
    health = monitor.check()
    assert health.newest == health.newest_verified == job
    assert health.checked_at == EPOCH + HOUR
    assert health.age == health.rpo_exposure == HOUR
    assert not health.overdue
    assert health.failed == health.alerts == ()
    assert monitor.told == []


@pytest.mark.parametrize("made", [False, True])
def test_no_backup_is_missing(watch, vault, made, clock):
    if made:
        vault.mkdir()
    monitor = watch(every="1h", max_unverified_age="1d")
    health = monitor.check()
    assert (health.newest, health.newest_verified, health.age) == (None, None, None)
    assert health.rpo_exposure == timedelta.max
    assert health.overdue
    assert kinds(health) == ["missing", "overdue", "unverified"]
    assert str(vault) in health.alerts[0].message
    assert "there is no backup to rely on" in health.alerts[1].message
    assert health.alerts[2].message == "no backup was ever verified in full"
    assert not vault.exists() or list(vault.iterdir()) == []  # a look leaves no trace


def test_a_destination_that_can_not_be_read_is_missing(watch, vault):
    vault.write_text("a file")
    (alert,) = watch().check().alerts
    assert alert.kind == "missing"
    assert "can't read" in alert.message


def test_without_an_interval_nothing_is_overdue(watch, backup, clock):
    backup()
    clock.advance(timedelta(days=3650))
    health = watch().check()
    assert not health.overdue
    assert health.alerts == ()
    assert health.age == timedelta(days=3650)
    assert health.rpo_exposure == timedelta.max  # never verified, and not asked to be


def test_overdue_begins_past_the_grace(watch, backup, clock):
    job = backup()
    monitor = watch(every="1h", grace="10m")
    clock.advance(HOUR + timedelta(minutes=10))
    assert not monitor.check().overdue
    assert monitor.told == []
    clock.advance(TICK)
    health = monitor.check()
    assert health.overdue
    (alert,) = health.alerts
    assert alert == BackupAlert(
        "overdue", alert.message, EPOCH + HOUR + timedelta(minutes=10) + TICK
    )
    assert alert.message == (
        f"the newest backup, {job.id}, is 1h10m0.000001s old: more than 1h with a grace of 10m"
    )
    assert monitor.told == [("overdue", None, False)]


def test_the_default_grace_is_five_minutes(watch, backup, clock):
    backup()
    monitor = watch(every="1h")
    clock.advance(HOUR + timedelta(minutes=5))
    assert not monitor.check().overdue
    clock.advance(TICK)
    assert monitor.check().overdue


@pytest.mark.parametrize("settings", [{"every": "1h"}, {"cron": "0 * * * *"}])
def test_overdue_by_a_schedule_counts_from_its_slots(strategy, small, vault, clock, settings):
    schedule = BackupSchedule(strategy, small, vault, **settings)
    monitor = BackupMonitor(vault, schedule=schedule, grace="10m")
    clock.advance(timedelta(minutes=50))
    schedule.run_once()
    clock.advance(timedelta(minutes=20))
    assert not monitor.check().overdue  # the slot of 3:00, and the grace
    clock.advance(TICK)
    health = monitor.check()
    assert health.overdue
    assert health.age == timedelta(minutes=20) + TICK
    assert "more than the schedule asks for with a grace of 10m" in health.alerts[0].message
    schedule.run_once()
    assert not monitor.check().overdue


def test_a_schedule_that_has_not_begun_is_not_late(strategy, small, vault, clock):
    schedule = BackupSchedule(strategy, small, vault, every="1h", start=EPOCH + HOUR)
    monitor = BackupMonitor(vault, schedule=schedule, grace="0s")
    clock.advance(HOUR)
    assert kinds(monitor.check()) == ["missing"]
    clock.advance(TICK)
    assert kinds(monitor.check()) == ["missing", "overdue"]
    by_cron = BackupSchedule(strategy, small, vault, cron="0 3 * * *")
    assert BackupMonitor(vault, schedule=by_cron).check().overdue


def test_the_newest_verified_is_not_the_newest(watch, backup, clock):
    first = backup(verified=True)
    clock.advance(HOUR)
    second = backup()
    clock.advance(HOUR)
    monitor = watch(max_unverified_age="2h")
    health = monitor.check()
    assert health.newest == second
    assert health.newest_verified == first
    assert (health.age, health.rpo_exposure) == (HOUR, 2 * HOUR)
    assert health.alerts == ()
    clock.advance(TICK)
    (alert,) = monitor.check().alerts
    assert alert.kind == "unverified"
    assert alert.message == (
        f"the newest verified backup, {first.id}, is 2h0.000001s old, more than 2h"
    )


def test_verification_is_seen(watch, backup, strategy):
    job = backup()
    monitor = watch(max_unverified_age="1h")
    assert kinds(monitor.check()) == ["unverified"]
    strategy.verify_backup(job, quick=True)
    assert kinds(monitor.check()) == ["unverified"]
    strategy.verify_backup(job)
    assert monitor.check().rpo_exposure == timedelta(0)
    assert monitor.told == [("unverified", None, False), ("unverified", None, True)]


def test_damage_is_found_backup_by_backup(watch, backup, small, clock):
    first = backup(verified=True)
    clock.advance(HOUR)
    (small / "a.txt").write_text("changed")
    second = backup(verified=True)
    monitor = watch(every="90m", grace="0s", max_unverified_age="90m")
    assert monitor.check().newest_verified == second
    with (second.path / "data.tar").open("ab") as file:
        file.write(b"more")
    health = monitor.check()
    assert [(alert.kind, alert.job_id) for alert in health.alerts] == [("damaged", second.id)]
    assert "data.tar" in health.alerts[0].message
    # What is damaged is neither the newest backup nor a verified one.
    assert health.newest == health.newest_verified == first
    assert health.age == health.rpo_exposure == HOUR
    clock.advance(timedelta(minutes=31))
    assert kinds(monitor.check()) == ["overdue", "unverified", "damaged"]
    assert len(monitor.told) == 3


@pytest.mark.parametrize("content", ["torn", '{"format": "drdrill-backup/99"}'])
def test_metadata_that_can_not_be_read_are_damage(watch, backup, content, caplog):
    job = backup()
    (job.path / "metadata.json").write_text(content)
    monitor = watch()
    health = monitor.check()
    (alert,) = health.alerts
    assert (alert.kind, alert.job_id) == ("damaged", job.id)
    assert "metadata.json" in alert.message
    assert health.newest is None
    assert caplog.text == ""  # an alert, and not a line of the log at every check


def test_a_damaged_base_concerns_all_that_need_it(watch, backup, small, clock):
    base = backup()
    (small / "a.txt").write_text("changed")
    backup()
    own = FullBackupStrategy(clock=clock).create_backup(small, base.destination_path)
    (base.path / "data.tar").unlink()
    health = watch().check()
    damaged = [alert.job_id for alert in health.alerts]
    assert base.id in damaged
    assert len(damaged) == 2
    assert health.newest == own


def test_a_manifest_changed_with_its_hash_is_damage(watch, backup, small):
    """Only the backup that built on it tells, so the others must be looked at too."""
    base = backup()
    (small / "a.txt").write_text("changed")
    following = backup()
    from pytest_drdrill.backup.store import _document

    metadata = following.path / "metadata.json"
    job = json.loads(metadata.read_text())["job"]
    job["parent_sha256"] = "0" * 64
    metadata.write_bytes(_document(job))
    assert [(alert.kind, alert.job_id) for alert in watch().check().alerts] == [
        ("damaged", base.id)
    ]


def test_a_flipped_byte_is_left_to_full_verification(watch, backup, strategy):
    job = backup(verified=True)
    flip(job.path / "data.tar", (job.path / "data.tar").read_bytes().index(b"alpha"))
    monitor = watch(max_unverified_age="1h")
    assert monitor.check().alerts == ()
    from pytest_drdrill.backup import BackupDamaged

    with pytest.raises(BackupDamaged):
        strategy.verify_backup(job)
    assert kinds(monitor.check()) == ["unverified"]


def test_a_backup_removed_meanwhile_is_no_damage(watch, backup, monkeypatch, clock):
    gone = backup()
    clock.advance(HOUR)
    kept = FullBackupStrategy(clock=clock).create_backup(gone.source_path, gone.destination_path)
    monitor = watch()
    from pytest_drdrill.backup import monitor as module

    looked = module.check_parts

    def remove_first(store, job, among):
        if gone.path.exists():
            shutil.rmtree(gone.path)
        looked(store, job, among)

    monkeypatch.setattr(module, "check_parts", remove_first)
    health = monitor.check()
    assert health.newest == kept
    assert health.alerts == ()


def test_recovery_points_in_the_future_are_told_and_count_for_nothing(watch, backup, clock):
    backup(verified=True)
    clock.advance(2 * HOUR)
    ahead = backup(verified=True)
    monitor = watch(every="1h", grace="0s")
    assert monitor.check().alerts == ()
    clock.advance(-TICK)
    health = monitor.check()
    assert kinds(health) == ["overdue", "future"]
    assert health.alerts[1].job_id == ahead.id
    assert f"{ahead.id} lies 1us in the future" in health.alerts[1].message
    assert health.age == health.rpo_exposure == 2 * HOUR - TICK
    clock.advance(TICK)
    assert monitor.check().newest == ahead
    assert monitor.told == [
        ("overdue", None, False),
        ("future", ahead.id, False),
        ("overdue", None, True),
        ("future", ahead.id, True),
    ]


def test_a_backup_of_the_future_alone_is_not_missing(watch, backup, clock):
    backup()
    clock.advance(-HOUR)
    health = watch(every="1h").check()
    assert kinds(health) == ["overdue", "future"]
    assert health.newest is None


def test_failed_runs_of_the_schedule(strategy, small, vault, clock):
    schedule = BackupSchedule(strategy, small, vault, every="1h")
    monitor = BackupMonitor(vault, schedule=schedule)
    told = []
    monitor.add_alert_callback(told.append)
    schedule.run_once()
    assert monitor.check().failed == ()
    away = small.rename(small.parent / "away")
    for _ in range(2):
        clock.advance(timedelta(minutes=1))
        with pytest.raises(BackupRefused):
            schedule.run_once()
        health = monitor.check()
    assert health.failed == schedule.failures
    (alert,) = health.alerts
    assert alert.raised_at == EPOCH + timedelta(minutes=1)
    assert alert.message == (
        "the last 2 runs of the schedule failed, at 2026-03-01 02:02:00 UTC: "
        f"the source {small} does not exist"
    )
    assert "the last run of the schedule failed" in told[0].message
    away.rename(small)
    schedule.run_once()  # at the very moment of the failure
    health = monitor.check()
    assert health.failed == ()
    assert health.alerts == ()
    assert [(alert.kind, alert.cleared) for alert in told] == [("failed", False), ("failed", True)]


def test_a_backup_by_another_hand_ends_failed_runs(strategy, small, vault, clock, backup):
    schedule = BackupSchedule(strategy, small, vault, every="1h")
    monitor = BackupMonitor(vault, schedule=schedule)
    away = small.rename(small.parent / "away")
    with pytest.raises(BackupRefused):
        schedule.run_once()
    assert kinds(monitor.check()) == ["missing", "failed"]
    away.rename(small)
    backup()
    assert kinds(monitor.check()) == ["failed"]  # which of the two came first, can't be told
    clock.advance(TICK)
    backup()
    assert monitor.check().alerts == ()


def test_an_alert_is_told_once_and_cleared_once(watch, backup, clock):
    monitor = watch(every="1h")
    alerts = []
    monitor.add_alert_callback(alerts.append)
    for _ in range(3):
        clock.advance(HOUR)
        monitor.check()
    assert monitor.told == [("missing", None, False), ("overdue", None, False)]
    backup()
    for _ in range(3):
        monitor.check()
    assert monitor.told[2:] == [("missing", None, True), ("overdue", None, True)]
    assert [alert.raised_at for alert in alerts] == [EPOCH + HOUR] * 4
    assert [alert.cleared_at for alert in alerts] == [None, None] + [EPOCH + 3 * HOUR] * 2
    clock.advance(2 * HOUR)
    health = monitor.check()  # the same again is a new one
    assert monitor.told[4:] == [("overdue", None, False)]
    assert health.alerts[0].raised_at == EPOCH + 5 * HOUR


def test_a_lasting_alert_says_what_is_now(watch, backup, clock):
    backup()
    monitor = watch(every="1h")
    for hours in (2, 3):
        clock.moment = EPOCH + hours * HOUR
        (alert,) = monitor.check().alerts
        assert f"is {hours}h old" in alert.message
        assert alert.raised_at == EPOCH + 2 * HOUR


def test_a_callback_that_raises_does_not_stop_the_others(vault, clock, caplog):
    monitor = BackupMonitor(vault, clock=clock)
    told = []

    def complain(_):
        raise LookupError("no pager")

    monitor.add_alert_callback(complain)
    monitor.add_alert_callback(told.append)
    with caplog.at_level(logging.ERROR, "pytest_drdrill.backup"):
        assert kinds(monitor.check()) == ["missing"]
    assert kinds(monitor.check()) == ["missing"]
    assert len(told) == 1
    assert caplog.text.count("LookupError: no pager") == 1


def test_a_callback_may_check_again(vault, clock, backup):
    monitor = BackupMonitor(vault, every="1h", clock=clock)
    told = []

    def look(alert):
        told.append((alert.kind, alert.cleared))
        if not vault.exists():
            backup()
        monitor.check()

    monitor.add_alert_callback(look)
    assert kinds(monitor.check()) == ["missing", "overdue"]
    assert sorted(told) == [
        ("missing", False),
        ("missing", True),
        ("overdue", False),
        ("overdue", True),
    ]


def test_a_later_callback_is_told_of_what_is_new(watch, backup):
    monitor = watch()
    monitor.check()
    later = []
    monitor.add_alert_callback(later.append)
    monitor.check()
    assert later == []
    backup()
    monitor.check()
    assert [(alert.kind, alert.cleared) for alert in later] == [("missing", True)]


def test_the_clock_is_the_schedules_or_the_real_one(strategy, small, vault):
    schedule = BackupSchedule(strategy, small, vault, every="1h")
    assert BackupMonitor(vault, schedule=schedule).check().checked_at == EPOCH
    before = datetime.now(UTC)
    assert before <= BackupMonitor(vault).check().checked_at <= RealClock().now()


def test_checks_beside_a_writer(watch, strategy, small, vault):
    seen = []
    monitor = watch()
    strategy.create_backup(small, vault)
    strategy.create_backup(small, vault, progress=lambda _: seen.append(monitor.check()))
    assert seen
    assert {len(health.alerts) for health in seen} == {0}
    assert monitor.check().newest == strategy.list_backups(vault)[0]


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"every": "0s"}, ValueError, "every must be above zero"),
        ({"every": "soon"}, ValueError, "every: 'soon' is no duration; write"),
        ({"every": 60}, TypeError, "every: 60 has no unit; write"),
        ({"grace": "long"}, ValueError, "grace: 'long' is no duration"),
        ({"grace": None}, TypeError, "grace: None is no duration"),
        ({"max_unverified_age": 7}, TypeError, "max_unverified_age: 7 has no unit"),
        ({"schedule": "1h"}, TypeError, "schedule is a BackupSchedule, not '1h'"),
    ],
)
def test_wrong_settings_are_one_sentence(vault, settings, kind, message):
    with pytest.raises(kind, match=message) as caught:
        BackupMonitor(vault, **settings)
    assert "\n" not in str(caught.value)


def test_wrong_arguments_are_one_sentence(strategy, small, vault):
    schedule = BackupSchedule(strategy, small, vault, every="1h")
    with pytest.raises(ValueError, match="either every or a schedule, not both"):
        BackupMonitor(vault, every="1h", schedule=schedule)
    with pytest.raises(BackupRefused, match="the destination is an empty path"):
        BackupMonitor("")
    monitor = BackupMonitor(vault)
    with pytest.raises(TypeError, match="an alert callback must be callable, which 5 is not"):
        monitor.add_alert_callback(5)
    with pytest.raises(TypeError, match="an alert callback is called and never awaited"):
        monitor.add_alert_callback(asyncio.sleep)
