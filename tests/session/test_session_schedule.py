"""Drills of a schedule of backups: simulated and real ones, in virtual time."""

from __future__ import annotations

MONTH = """
from datetime import timedelta
from pytest_drdrill import BackupSchedule
@pytest.mark.rpo("2d30m")
async def test_a_month(simulated_backups, drill, rpo_timer):
    backups = simulated_backups(takes="20m", usable_after="10m")
    backups.fail_at("9d23h", "the store is full")
    backups.recover_at("RECOVERS")
    schedule = BackupSchedule(backups, "/srv/wiki", "/vault", every="1d")
    await schedule.run(until=drill.clock.now() + timedelta(days=30))
    rpo_timer.exposed(schedule)
"""


def test_a_month_of_simulated_backups_is_measured(drills, mode):
    outcome = drills(MONTH.replace("RECOVERS", "10d1h"), mode=mode)
    outcome.result.assert_outcomes(passed=1)
    (drill,) = outcome.record["drills"]
    assert (drill["mode"], drill["kinds"]) == ("simulated", ["backup_restore", "rpo"])
    assert drill["rpo"]["actual_s"] == 2 * 86_400 + 1800
    assert (drill["rpo"]["basis"], drill["rpo"]["met"]) == ("schedule", True)
    assert drill["duration_s"] == 30 * 86_400 + 1200
    events = [(event["at_s"], event["event"]) for event in drill["timeline"]]
    assert (10 * 86_400, "backups backup failed") in events
    assert (11 * 86_400 + 1800, "worst exposure") in events
    assert len(events) == 4  # and not one for each backup


def test_a_second_night_breaks_the_promise_and_says_why(drills):
    outcome = drills(MONTH.replace("RECOVERS", "11d1h"))
    outcome.result.assert_outcomes(failed=1)
    text = outcome.unwrapped
    assert (
        "RPO of 2d30m exceeded: up to 3d30m of work lost at the worst instant (basis: schedule): a "
        "disaster just before 2000-01-13 00:30:00 UTC, when backup 000013-full-20000113T000000Z "
        "could be restored, would have fallen back on backup 000010-full-20000110T000000Z, which "
        "began to read at 2000-01-10 00:00:00 UTC; 2 runs failed before, at 2000-01-12 00:00:00 "
        "UTC: simulated backup 000012-full-20000112T000000Z failed: the store is full; backup "
        "000013-full-20000113T000000Z could be restored 30m after it began to read"
    ) in text
    assert "at the worst instant of a schedule of backups" in text
    (drill,) = outcome.record["drills"]
    assert (drill["rpo"]["met"], drill["verdict"]) == (False, "failed")


def test_a_month_without_a_backup_has_no_bound(drills):
    source = MONTH.replace("RECOVERS", "30d1h").replace("9d23h", "0s")
    outcome = drills(source, "--dr-check-replay")
    outcome.result.assert_outcomes(failed=2)
    text = outcome.unwrapped
    assert (
        "RPO of 2d30m exceeded: a disaster from 2000-01-01 00:00:00 UTC until 2000-01-31 00:00:00 "
        "UTC would have found no backup to restore; 31 runs failed before, at 2000-01-31 00:00:00 "
        "UTC: simulated backup 000031-full-20000131T000000Z failed: the store is full"
    ) in text
    assert "RPO unbounded / 2d30m MISSED (at the worst instant of a schedule of backups)" in text
    assert "went another way" not in text
    for drill in outcome.record["drills"]:
        assert (drill["rpo"]["unbounded"], drill["rpo"]["basis"]) == (True, "schedule")


REAL = """
import json
from datetime import UTC, datetime, timedelta
from pytest_drdrill import BackupSchedule
@pytest.mark.rpo("2d")
@pytest.mark.usefixtures("simulated_endpoints")
async def test_real_files(incremental_backup, drill, rpo_timer, tmp_path):
    wiki, vault = tmp_path / "wiki", tmp_path / "vault"
    wiki.mkdir()
    schedule = BackupSchedule(incremental_backup, wiki, vault, every="1d")
    epoch = datetime(2000, 1, 1, tzinfo=UTC)
    async with schedule:
        for day in range(4):
            (wiki / f"{day}.txt").write_text(str(day))
            await drill.clock.sleep(86_400)
        wiki.rename(tmp_path / "away")
        await drill.clock.sleep(86_400)
        (tmp_path / "away").rename(wiki)
        await drill.clock.sleep(86_400 - 1)
    moments = [epoch + timedelta(days=day) for day in (0, 1, 2, 3, 5)]
    for job, moment in zip(schedule.jobs, moments, strict=True):
        assert job.created_at == job.started_at == job.recovery_point == job.completed_at == moment
        document = json.loads((job.path / "metadata.json").read_text())
        assert document["job"]["recovery_point"] == moment.isoformat(timespec="microseconds")
        assert incremental_backup.verify_backup(job).file_count == job.file_count
    assert [failure.moment for failure in schedule.failures] == [epoch + timedelta(days=4)]
    verified = schedule.exposure(start=drill.clock.now(), verified=True)
    assert verified.worst == timedelta(days=1) - timedelta(seconds=1)
    rpo_timer.exposed(schedule)
"""


def test_real_strategies_keep_to_virtual_time(drills):
    outcome = drills(REAL)
    outcome.result.assert_outcomes(passed=1)
    (drill,) = outcome.record["drills"]
    assert drill["mode"] == "simulated"
    assert (drill["rpo"]["actual_s"], drill["rpo"]["basis"]) == (2 * 86_400, "schedule")
    assert drill["started"].startswith("2000-01-01T00:00:00")
    begun = [event["at_s"] for event in drill["timeline"] if event["event"] == "backup completed"]
    assert begun == [0, 86_400, 2 * 86_400, 3 * 86_400, 5 * 86_400]


EXAMPLES = """
from datetime import timedelta
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from pytest_drdrill import BackupSchedule
@pytest.fixture
def nightly(simulated_backups):
    backups = simulated_backups(takes="20m")
    return backups, BackupSchedule(backups, "/srv", "/bk", every="1d")
@pytest.mark.rpo("2d1h")
@settings(max_examples=9, database=None, suppress_health_check=list(HealthCheck))
@given(bad=st.booleans())
async def test_given(nightly, drill, rpo_timer, bad):
    backups, schedule = nightly
    if bad:
        backups.fail_at("1d12h")
    await schedule.run(until=drill.clock.now() + timedelta(days=10))
    assert len(schedule.jobs) + len(schedule.failures) == 11
    rpo_timer.exposed(schedule)
"""


def test_no_backup_of_an_example_counts_in_the_next_one(drills):
    outcome = drills(EXAMPLES)
    outcome.result.assert_outcomes(failed=1)
    text = outcome.unwrapped
    assert "RPO of 2d1h exceeded: up to 9d of work lost at the worst instant" in text
    assert "bad=True" in outcome.text


ONCE = """
import pytest, shutil
from pytest_drdrill import BackupSchedule
@pytest.fixture
def schedule(full_backup, tmp_path):
    (tmp_path / "wiki").mkdir()
    schedule = BackupSchedule(full_backup, tmp_path / "wiki", tmp_path / "vault", every="24h")
    schedule.run_once()
    return schedule
@pytest.mark.rpo("5m")
def test_once(schedule, rpo_timer):
    rpo_timer.exposed(schedule)
@pytest.mark.rpo("5m")
def test_wiped(schedule, rpo_timer):
    shutil.rmtree(schedule.destination)
    rpo_timer.exposed(schedule)
"""


def test_one_backup_is_no_evidence_of_a_schedule(drills):
    outcome = drills(ONCE)
    outcome.result.assert_outcomes(failed=2)
    text = outcome.unwrapped
    assert "of a schedule whose slots are up to 1d apart: that is not its worst case;" in text
    assert "would have found no backup to restore; backup 000001-full-" in text
    assert outcome.drills["test_wiped"]["rpo"]["unbounded"]


SHAPES = """
from datetime import timedelta
from hypothesis import HealthCheck, given, settings, strategies as st
from pytest_drdrill import BackupSchedule
@pytest.mark.rpo("1d")
@settings(max_examples=20, database=None, suppress_health_check=list(HealthCheck))
@given(hours=st.integers(1, 24))
async def test_given(simulated_backups, drill, rpo_timer, hours):
    schedule = BackupSchedule(simulated_backups(), "/a", "/b", every=timedelta(hours=hours))
    await schedule.run(until=drill.clock.now() + timedelta(days=3))
    rpo_timer.exposed(schedule)
@pytest.mark.rpo("1d")
def test_sync(simulated_backups, drill):
    assert drill.clock.now().year == 2000
    backups = simulated_backups("nightly")
    drill.sleep("1d")
def test_no_drill(simulated_backups):
    assert simulated_backups().clock.monotonic() == 0
"""


def test_every_shape_of_drill_may_ask_for_them(drills):
    outcome = drills(SHAPES)
    assert outcome.verdicts == {"test_given": "passed", "test_sync": "failed"}
    assert "nothing was entered: no acknowledged write, no recovery point, no exposure" in (
        outcome.unwrapped
    )
    worst = outcome.drills["test_given"]["rpo"]
    assert worst["basis"] == "schedule"
    assert 3600 <= worst["actual_s"] <= 86_400
    assert outcome.drills["test_sync"]["duration_s"] == 86_400
