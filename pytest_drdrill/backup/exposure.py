"""Exposure: what a disaster would cost at an instant, and exactly how much at the worst one.

It is the time since the recovery point of the newest backup that can be restored at that instant:
completed, verified where that is wanted, not lost, and neither is one that it builds on.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from pytest_drdrill.backup import settings
from pytest_drdrill.backup.job import (
    BackupJob,
    BackupStatus,
    checked_id,
    number_of,
    recovery_point_of,
)
from pytest_drdrill.backup.maker import UsableSpan, when_completed
from pytest_drdrill.durations import format_duration
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_drdrill.backup.maker import FailedRun

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
"""When what a backup builds on became usable, where nothing tells: in time, then."""

_NAMED = 3
"""How many ids an error names."""


@dataclass(frozen=True, slots=True)
class BackupExposure:
    """The most that a disaster could have cost at any instant of a span, and why.

    Attributes:
        start: the first instant of the span, in UTC.
        end: its last one.
        worst: the most that was at stake; ``timedelta.max`` where at some instant no backup could
            be restored.
        at: when that was: just before this moment if a backup became usable then (``ended_by``),
            else at it. Where no backup could be restored, the first instant of that.
        until: where no backup could be restored, when that ended; else the same as ``at``.
        fallback: the backup that a disaster would have fallen back on, or None.
        ended_by: the backup that put an end to it, or None where the span ended first.
        failed: the runs that failed after the recovery point of ``fallback`` and until then.
        lost: newer backups than ``fallback`` that had been lost by then, the oldest first.
        late: from the recovery point of ``ended_by`` until it could be restored; zero without it.
        longest_gap: the longest time from a slot to the next one of the schedule that was asked; a
            shorter span tells nothing of its worst case. None where no schedule was.
    """

    start: datetime
    end: datetime
    worst: timedelta
    at: datetime
    until: datetime
    fallback: BackupJob | None
    ended_by: BackupJob | None
    failed: tuple[FailedRun, ...]
    lost: tuple[BackupJob, ...]
    late: timedelta
    longest_gap: timedelta | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether at every instant some backup could be restored."""
        return self.fallback is not None

    @property
    def explanation(self) -> str:
        """When the worst instant was and how it came about, in a sentence without a full stop."""
        text = f"{self._when()} would have {self._what()}"
        if self.failed:
            last = self.failed[-1]
            count = f"{len(self.failed)} runs" if len(self.failed) > 1 else "a run"
            text += f"; {count} failed before, at {_written(last.moment)}: {last.error}"
        if self.lost:
            more = f" and {len(self.lost) - 1} more" if len(self.lost) > 1 else ""
            text += f"; backup {self.lost[-1].id}{more} had been lost"
        if self.ended_by is not None and self.late:
            took = format_duration(self.late)
            text += f"; backup {self.ended_by.id} could be restored {took} after it began to read"
        return text

    def _when(self) -> str:
        if self.fallback is None and self.at < self.until:
            end = f"until {_written(self.until)}"
            if self.ended_by is not None:
                end += f", when backup {self.ended_by.id} could be restored,"
            return f"a disaster from {_written(self.at)} {end}"
        if self.ended_by is None:
            return f"a disaster at {_written(self.at)}"
        first = f"when backup {self.ended_by.id} could be restored"
        return f"a disaster just before {_written(self.at)}, {first},"

    def _what(self) -> str:
        if self.fallback is None:
            return "found no backup to restore"
        point = _written(recovery_point_of(self.fallback))
        return f"fallen back on backup {self.fallback.id}, which began to read at {point}"


class _Span(NamedTuple):
    """A backup and when it can be restored; a later one has a higher number."""

    number: int
    job: BackupJob
    since: datetime
    until: datetime | None

    def holds(self, moment: datetime) -> bool:
        return self.until is None or moment < self.until


class _Stretch(NamedTuple):
    """A time in which the same backup, or none, is the newest that can be restored."""

    since: datetime
    until: datetime
    span: _Span | None
    ended_by: _Span | None

    @property
    def worst(self) -> timedelta:
        return exposure_at(None if self.span is None else self.span.job, self.until)


def exposure_at(newest: BackupJob | None, moment: datetime) -> timedelta:
    """What a disaster at a moment costs: the time since a recovery point, or all there ever was.

    Source: the recovery point objective of NIST SP 800-34 rev. 1, section 3.2.1.

    Args:
        newest: the newest backup that can be restored then; None where there is none.
        moment: when it strikes.
    """
    return timedelta.max if newest is None else moment - recovery_point_of(newest)


def backup_exposure(  # noqa: PLR0913 - settings with defaults, by keyword
    jobs: Iterable[BackupJob],
    *,
    start: datetime,
    end: datetime,
    usable_after: str | timedelta = "0s",
    lost: Mapping[str, datetime] | None = None,
    verified: bool = False,
    failures: Iterable[FailedRun] = (),
    usable: Callable[[BackupJob], UsableSpan] = when_completed,
) -> BackupExposure:
    """The most that a disaster could have cost at any instant of a span, exactly.

    At an instant, a disaster costs the time since the recovery point of the newest backup that can
    be restored then. That grows evenly, and drops or jumps only where a backup becomes usable or is
    lost: the worst is found at those moments and at the end of the span, and nothing is sampled.

    Source: derived from the recovery point objective of NIST SP 800-34 rev. 1, section 3.2.1 (the
    point in time, prior to a disruption, to which data can be recovered given the most recent
    backup copy).

    Args:
        jobs: the backups of one destination, in any order, from ``BackupSchedule.jobs`` or
            ``list_backups``. Only completed ones count, and of what was pruned nothing is known.
        start: the first instant that counts.
        end: the last one.
        usable_after: from the completion of a backup until it can be restored, as by its copy to
            another place.
        lost: the ids of backups that were lost or found damaged, each with the moment of it; what
            builds on such a one can't be restored from then on either.
        verified: whether a backup counts only once every byte of it was read and found intact; the
            last time counts (``verified_at``), since the job tells of no earlier one.
        failures: the runs that gave no backup, for the explanation.
        usable: tells of a backup from when until when it can be restored, before ``usable_after``
            and ``lost``; by default it is the moment of its completion.

    Raises:
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: a moment without a time zone, an end before the start, no duration, or an id in
            ``lost`` that is none of these backups' and of none that they build on.
        BackupRefused: a job whose id is none.
    """
    start, end = settings.in_utc("start", start), settings.in_utc("end", end)
    if end < start:
        raise ValueError(f"the end {end} is before the start {start}")
    delay = settings.duration("usable_after", usable_after)
    known = _checked(jobs)
    spans = _spans(known, usable, delay, _moments(lost, known), verified=verified)
    worst = max(_stretches(spans, start, end), key=attrgetter("worst"))  # of equal ones the first
    return _explained(worst, start, end, spans, failures)


def _explained(
    worst: _Stretch,
    start: datetime,
    end: datetime,
    spans: list[_Span],
    failures: Iterable[FailedRun],
) -> BackupExposure:
    fallback, ended_by = worst.span, worst.ended_by
    point = None if fallback is None else recovery_point_of(fallback.job)
    at = worst.since if fallback is None else worst.until
    return BackupExposure(
        start=start,
        end=end,
        worst=worst.worst,
        at=at,
        until=worst.until,
        fallback=None if fallback is None else fallback.job,
        ended_by=None if ended_by is None else ended_by.job,
        failed=tuple(
            run
            for run in failures
            if run.moment <= worst.until and (point is None or run.moment >= point)
        ),
        lost=tuple(
            span.job
            for span in spans
            if span.since <= at
            and not span.holds(at)
            and (fallback is None or span.number > fallback.number)
        ),
        late=timedelta(0) if ended_by is None else ended_by.since - recovery_point_of(ended_by.job),
    )


def _stretches(spans: list[_Span], start: datetime, end: datetime) -> Iterator[_Stretch]:
    """The stretches of a span in order; at its end there may be one of no length."""
    coming = sorted(spans, key=attrgetter("since"), reverse=True)
    usable: list[tuple[int, _Span]] = []  # a heap, the newest first; those lost since among them
    edges = {start}
    for span in spans:
        edges.update(each for each in span[2:] if each is not None and start < each <= end)
    newest: _Span | None = None
    since = start
    for moment in sorted(edges):
        while coming and coming[-1].since <= moment:
            span = coming.pop()
            heapq.heappush(usable, (-span.number, span))
        while usable and not usable[0][1].holds(moment):
            heapq.heappop(usable)
        found = usable[0][1] if usable else None
        if found is newest:
            continue
        if moment > start:
            begun = found is not None and found.since == moment
            yield _Stretch(since, moment, newest, found if begun else None)
        newest, since = found, moment
    yield _Stretch(since, end, newest, None)


def _spans(
    jobs: list[BackupJob],
    usable: Callable[[BackupJob], UsableSpan],
    delay: timedelta,
    lost: Mapping[str, datetime],
    *,
    verified: bool,
) -> list[_Span]:
    """The backups that can ever be restored, the oldest first, each with all that it builds on."""
    by_id = {job.id: job for job in jobs}
    own = {}
    for job in jobs:
        told = usable(job) if job.status is BackupStatus.COMPLETED else UsableSpan(None)
        own[job.id] = _own_span(told, delay, lost.get(job.id))
    found = []
    for job in jobs:
        parts = [own[job.id]]
        for base in _needed(job, by_id):
            known = own.get(base)
            parts.append(UsableSpan(_LONG_AGO, lost.get(base)) if known is None else known)
        # A recovery point after the completion tells of a clock that was set back.
        begins = [recovery_point_of(job), *(part.since for part in parts)]
        if verified:
            begins.append(job.verified_at)
        since = None if None in begins else max(each for each in begins if each is not None)
        until = min((part.until for part in parts if part.until is not None), default=None)
        if since is not None and (until is None or since < until):
            found.append(_Span(number_of(job.id), job, since, until))
    return sorted(found, key=attrgetter("number"))


def _own_span(usable: UsableSpan, delay: timedelta, lost: datetime | None) -> UsableSpan:
    """When a backup can be restored as far as that depends on itself alone."""
    since = usable.since
    return UsableSpan(
        None if since is None else since + delay,
        min((m for m in (usable.until, lost) if m is not None), default=None),
    )


def _needed(job: BackupJob, by_id: Mapping[str, BackupJob]) -> list[str]:
    """The ids of the other backups without which one can't be restored, as far as is known."""
    if job.manifest_id is None:
        return job.bases
    owner = by_id.get(job.manifest_id)
    return [*(owner.bases if owner is not None else ()), job.manifest_id]


def _checked(jobs: Iterable[BackupJob]) -> list[BackupJob]:
    if not isinstance(jobs, Iterable):
        raise TypeError(f"jobs are BackupJobs, not {shown(jobs)}")
    found = list(jobs)
    for job in found:
        if not isinstance(job, BackupJob):
            raise TypeError(f"jobs are BackupJobs, not {shown(job)}")
        checked_id(job.id)
    return found


def _moments(lost: Mapping[str, datetime] | None, known: list[BackupJob]) -> dict[str, datetime]:
    if lost is None:
        return {}
    if not isinstance(lost, Mapping):
        raise TypeError(f"lost names backups by their ids, each with a moment, not {shown(lost)}")
    moments = {job_id: settings.in_utc(f"lost[{job_id!r}]", each) for job_id, each in lost.items()}
    ids = {each for job in known for each in (job.id, *job.bases, job.manifest_id)}
    for unknown in (job_id for job_id in moments if job_id not in ids):
        newest = sorted((job.id for job in known), key=number_of)[-_NAMED:]
        there = f"the newest are {', '.join(newest)}" if newest else "there is none"
        raise ValueError(f"lost names {shown(unknown)}, which is no id of a backup here: {there}")
    return moments


def _written(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
