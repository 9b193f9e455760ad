"""Retention: which backups a policy keeps, by number, by age and by the calendar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_drdrill.backup.job import number_of
from pytest_drdrill.durations import format_duration, parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime, timedelta

    from pytest_drdrill.backup.job import BackupJob

_PERIODS = {
    "hourly": "%Y-%m-%dT%H",
    "daily": "%Y-%m-%d",
    "weekly": "%G-W%V",
    "monthly": "%Y-%m",
    "yearly": "%Y",
}
"""How each calendar period is named: two moments with the same name lie in the same one."""
_NUMBERS = ("keep_last", *(f"keep_{period}" for period in _PERIODS), "min_count")


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Which backups stay: each that at least one rule keeps.

    The calendar rules are those of grandfather-father-son: of each of the last N periods that have
    a backup at all, the newest backup stays. Periods are those of the calendar in UTC, weeks those
    of ISO 8601 (from Monday on). A backup belongs to the period of its ``recovery_point``, and its
    age is counted from there too. The newest of all is the one that was made last.

    Durations are given as a ``timedelta`` or text such as ``"30d"``, and kept as a ``timedelta``.

    Attributes:
        keep_last: how many of the newest backups stay.
        keep_within: every backup of at most this age stays.
        keep_hourly: of how many hours that have a backup the newest stays.
        keep_daily: likewise of days.
        keep_weekly: likewise of weeks.
        keep_monthly: likewise of months.
        keep_yearly: likewise of years.
        min_count: fewer than this many never stay, where there are as many; what the rules would
            leave too few of is filled up with the newest. At least 1.
        immutable_for: none that is younger is ever removed.

    Raises:
        TypeError: a duration without a unit, or of another type.
        ValueError: a number that is no whole one or is negative, a ``min_count`` below 1, text that
            is no duration, or a policy that would keep nothing at all.
    """

    keep_last: int = 0
    keep_within: timedelta | None = None
    keep_hourly: int = 0
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0
    min_count: int = 1
    immutable_for: timedelta | None = None

    if TYPE_CHECKING:
        # What a caller may pass; the fields above say what is kept.
        def __init__(  # noqa: PLR0913, PLR0917 - one for each rule, by keyword
            self,
            keep_last: int = 0,
            keep_within: str | timedelta | None = None,
            keep_hourly: int = 0,
            keep_daily: int = 0,
            keep_weekly: int = 0,
            keep_monthly: int = 0,
            keep_yearly: int = 0,
            min_count: int = 1,
            immutable_for: str | timedelta | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            value = getattr(self, name)
            least = 1 if name == "min_count" else 0
            if type(value) is not int or value < least:
                raise ValueError(f"{name}: {value!r:.80} is no whole number from {least} up")
        for name in ("keep_within", "immutable_for"):
            value = getattr(self, name)
            if value is None:
                continue
            try:
                object.__setattr__(self, name, parse_duration(value))
            except (TypeError, ValueError) as error:
                raise type(error)(f"{name}: {error}") from None
        rules = [name for name in _NUMBERS if name != "min_count"]
        if not self.keep_within and not any(getattr(self, name) for name in rules):
            raise ValueError(
                f"a policy that keeps nothing would remove the backups: set one of {rules[0]}, "
                f"keep_within, {', '.join(rules[1:])}"
            )


def chosen(
    jobs: Sequence[BackupJob], policy: RetentionPolicy, now: datetime
) -> Iterator[tuple[BackupJob, str]]:
    """The backups that a policy keeps for their own sake, each with the reason.

    ``min_count`` is not among the reasons: what others need counts for it too.

    Args:
        jobs: all that there are, newest first.
        policy: the rules.
        now: what ages are counted to.
    """
    for job in jobs[: policy.keep_last]:
        yield job, f"last {policy.keep_last}"
    if policy.keep_within:
        for job in jobs:
            if now - _moment(job) <= policy.keep_within:
                yield job, f"within {format_duration(policy.keep_within)}"
    yield from _by_calendar(jobs, policy)
    if verified := next((job for job in jobs if job.verified_at is not None), None):
        yield verified, "newest verified"
    if policy.immutable_for:
        for job in jobs:
            # Ages are compared, not moments: a sum might lie beyond the last year that there is.
            if now - _moment(job) < policy.immutable_for:
                yield job, f"immutable until {_end(_moment(job), policy.immutable_for)}"


def _by_calendar(
    jobs: Sequence[BackupJob], policy: RetentionPolicy
) -> Iterator[tuple[BackupJob, str]]:
    # Clocks may have gone back: the calendar goes by moments, not by the order of the list.
    by_moment = sorted(jobs, key=lambda job: (_moment(job), number_of(job.id)), reverse=True)
    for period, form in _PERIODS.items():
        newest: dict[str, BackupJob] = {}
        for job in by_moment:
            newest.setdefault(_moment(job).strftime(form), job)
        for name in list(newest)[: getattr(policy, f"keep_{period}")]:
            yield newest[name], f"{period} {name}"


def _moment(job: BackupJob) -> datetime:
    return job.recovery_point or job.created_at


def _end(moment: datetime, span: timedelta) -> str:
    try:
        return f"{moment + span:%Y-%m-%dT%H:%M:%SZ}"
    except OverflowError:
        return "the end of time"
