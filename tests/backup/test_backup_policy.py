"""Retention policies: what is none, and what one chooses by moments alone."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hand_clock import EPOCH
from pytest_drdrill.backup import BackupJob, BackupStatus, BackupType, RetentionPolicy
from pytest_drdrill.backup.retention import chosen

RULES = ["keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly"]
moments = st.datetimes(datetime(2025, 12, 1), datetime(2026, 3, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
PERIOD_OF = {
    "keep_hourly": lambda moment: (moment.date(), moment.hour),
    "keep_daily": lambda moment: moment.date(),
    "keep_weekly": lambda moment: moment.isocalendar()[:2],
    "keep_monthly": lambda moment: (moment.year, moment.month),
    "keep_yearly": lambda moment: moment.year,
}


def job_at(number, moment):
    made = BackupJob(
        f"{number:06}-full-20260101T000000Z", BackupType.FULL, Path("/s"), Path("/v"), moment
    )
    made.recovery_point, made.status = moment, BackupStatus.COMPLETED
    return made


def test_moments_are_those_of_recovery_points():
    began = job_at(1, EPOCH)
    began.recovery_point = EPOCH + timedelta(days=1)  # it waited that long for its source
    unknown = job_at(2, EPOCH)
    unknown.recovery_point = None
    rules = RetentionPolicy(keep_daily=2)
    assert [(job.id[:6], reason) for job, reason in chosen([unknown, began], rules, EPOCH)] == [
        ("000001", "daily 2026-03-02"),
        ("000002", "daily 2026-03-01"),
    ]


def test_an_end_beyond_all_years_is_told():
    policy = RetentionPolicy(keep_last=1, keep_within="1000000d", immutable_for="1000000d")
    job = job_at(1, datetime(9000, 1, 1, tzinfo=UTC))
    reasons = [reason for _, reason in chosen([job], policy, EPOCH)]
    assert reasons == ["last 1", "within 1000000d", "immutable until the end of time"]


@pytest.mark.parametrize("policy", [None, 3, {"keep_last": 3}, RetentionPolicy])
def test_a_policy_of_another_type_is_refused(site, policy):
    site.back_up()
    with pytest.raises(TypeError, match="is said by a RetentionPolicy, not by"):
        site.full.prune_backups(site.vault, policy)


@pytest.mark.parametrize(
    "rules", [{}, {"min_count": 5, "immutable_for": "1d"}, {"keep_within": "0s"}]
)
def test_a_policy_that_keeps_nothing_is_refused(rules):
    with pytest.raises(ValueError, match=r"keeps nothing would remove .* keep_last, keep_within"):
        RetentionPolicy(**rules)


@pytest.mark.parametrize("name", [*RULES, "min_count"])
@pytest.mark.parametrize("value", [-1, True, 1.0, "3", None])
def test_a_number_that_is_none_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: {value!r} is no whole number from [01] up$"):
        RetentionPolicy(**{"keep_within": "1d", name: value})


def test_a_minimum_of_none_is_refused():
    with pytest.raises(ValueError, match="min_count: 0 is no whole number from 1 up"):
        RetentionPolicy(keep_last=1, min_count=0)


@pytest.mark.parametrize("name", ["keep_within", "immutable_for"])
@pytest.mark.parametrize(
    ("value", "error"), [(30, TypeError), ("soon", ValueError), (timedelta(-1), ValueError)]
)
def test_a_duration_that_is_none_is_refused(name, value, error):
    with pytest.raises(error, match=f"^{name}: "):
        RetentionPolicy(**{"keep_last": 1, name: value})


def test_durations_are_kept_as_such():
    policy = RetentionPolicy(keep_within="36h", immutable_for=timedelta(days=2))
    assert policy.keep_within == timedelta(hours=36)
    assert policy == RetentionPolicy(keep_within=timedelta(days=1.5), immutable_for="2d")


@given(st.lists(moments, max_size=40), st.sampled_from(list(PERIOD_OF)), st.integers(1, 10))
def test_of_each_of_the_last_periods_the_newest_stays(times, rule, count):
    jobs = [job_at(number, moment) for number, moment in enumerate(times, 1)][::-1]
    policy = RetentionPolicy(**{rule: count})
    kept = [job for job, _ in chosen(jobs, policy, datetime(2026, 3, 1, tzinfo=UTC))]
    period = PERIOD_OF[rule]
    periods = sorted({period(moment) for moment in times}, reverse=True)[:count]
    assert [period(job.recovery_point) for job in kept] == periods
    for job in kept:
        rivals = [t for t in times if period(t) == period(job.recovery_point)]
        assert job.recovery_point == max(rivals)
