"""Monitoring: whether the backups in a destination keep what they promise, and who is told."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from pytest_drdrill.backup import settings
from pytest_drdrill.backup.errors import BackupError, BackupNotFound, BackupRefused
from pytest_drdrill.backup.exposure import exposure_at
from pytest_drdrill.backup.job import recovery_point_of
from pytest_drdrill.backup.parts import check_parts
from pytest_drdrill.backup.schedule import BackupSchedule
from pytest_drdrill.backup.store import Store
from pytest_drdrill.clock import Clock, RealClock
from pytest_drdrill.durations import format_duration
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from pytest_drdrill.backup.job import BackupJob
    from pytest_drdrill.backup.maker import FailedRun

AlertKind: TypeAlias = Literal["missing", "overdue", "failed", "unverified", "damaged", "future"]

_log = logging.getLogger("pytest_drdrill.backup")


@dataclass(frozen=True, slots=True)
class BackupAlert:
    """Something about the backups of a destination that someone should know.

    Attributes:
        kind: ``missing``, no backup there, or no destination that can be read; ``overdue``, the
            newest backup is older than it should be; ``failed``, the last run of the schedule gave
            no backup; ``unverified``, the newest verified backup is older than allowed, or there is
            none; ``damaged``, a backup whose metadata can't be read or that quick verification
            finds damaged; ``future``, a backup whose recovery point lies in the future, so that a
            clock is or was wrong.
        message: what is wrong, in a sentence, as of the check that gave this alert.
        raised_at: when a check first found it, in UTC.
        job_id: the backup that it is about, for ``damaged`` and ``future``; else None.
        cleared_at: when a check found it gone; None while it lasts.
    """

    kind: AlertKind
    message: str
    raised_at: datetime
    job_id: str | None = None
    cleared_at: datetime | None = None

    @property
    def cleared(self) -> bool:
        """Whether it is gone."""
        return self.cleared_at is not None


@dataclass(frozen=True, slots=True)
class BackupHealth:
    """What a check found.

    Only backups that can be relied on count in it: completed, found whole by quick verification,
    and with a recovery point that does not lie in the future.

    Attributes:
        checked_at: the moment of the check, in UTC.
        newest: the newest backup that counts, or None.
        newest_verified: the newest one that counts and of which every byte was once read and found
            intact (``verified_at``), or None.
        age: from the recovery point of ``newest`` to the check; None without one.
        rpo_exposure: from the recovery point of ``newest_verified`` to the check: what a disaster
            at that moment would cost for certain at most. ``timedelta.max`` where no backup was
            verified: what was never read back is no promise. Source: the recovery point objective
            of NIST SP 800-34 rev. 1, section 3.2.1, measured as of the check.
        overdue: whether ``newest`` is older than the interval or the schedule and the grace allow;
            also where there is none. Never where the monitor knows neither.
        failed: the runs of the schedule that failed since its last success and since ``newest``.
        alerts: all that is wrong, kind by kind in the order of ``BackupAlert.kind``.
    """

    checked_at: datetime
    newest: BackupJob | None
    newest_verified: BackupJob | None
    age: timedelta | None
    rpo_exposure: timedelta
    overdue: bool
    failed: tuple[FailedRun, ...]
    alerts: tuple[BackupAlert, ...]


@dataclass(slots=True)
class _Found:
    """What a look into the destination gave.

    Attributes:
        sound: the backups that quick verification finds whole, newest first.
        damaged: what is wrong with the others, by id.
        missing: why there is no backup at all, or None.
    """

    sound: list[BackupJob]
    damaged: dict[str, str]
    missing: str | None = None


class BackupMonitor:
    """Looks after the backups in a destination, whoever makes them.

    Each ``check`` looks at all of them anew: reads their metadata and verifies them quickly
    (presence, sizes, hashes of manifests), and needs no lock. Nothing runs between checks.

    Args:
        destination: the folder that holds the backups; it may be missing yet.
        every: how often a backup should be made, as ``"1h"`` or a timedelta.
        schedule: the schedule that makes them, which also knows of runs that failed. Give this or
            ``every``, or neither: then nothing is ever overdue.
        grace: how much later than that a backup may be there: what making it takes, and a margin.
        max_unverified_age: how old the newest verified backup may be, by its recovery point; by
            default that is not looked at.
        clock: where the moments come from; by default the schedule's clock, or the real one.

    Raises:
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: both ``every`` and ``schedule``, or a duration that is none, or an interval of
            zero.
        BackupRefused: the destination is an empty path.
    """

    def __init__(  # noqa: PLR0913 - settings with defaults, by keyword
        self,
        destination: str | os.PathLike[str],
        *,
        every: str | timedelta | None = None,
        schedule: BackupSchedule | None = None,
        grace: str | timedelta = "5m",
        max_unverified_age: str | timedelta | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._store = Store(destination)
        if schedule is not None and not isinstance(schedule, BackupSchedule):
            raise TypeError(f"schedule is a BackupSchedule, not {shown(schedule)}")
        if every is not None and schedule is not None:
            raise ValueError("a monitor takes either every or a schedule, not both")
        self._every = None if every is None else settings.interval(every)
        self._schedule = schedule
        self._grace = settings.duration("grace", grace)
        self._max_unverified_age = (
            None
            if max_unverified_age is None
            else settings.duration("max_unverified_age", max_unverified_age)
        )
        if clock is None:
            clock = RealClock() if schedule is None else schedule.strategy.clock
        self._clock: Clock = clock
        self._callbacks: list[Callable[[BackupAlert], object]] = []
        self._raised: dict[tuple[AlertKind, str | None], BackupAlert] = {}

    def add_alert_callback(self, callback: Callable[[BackupAlert], object]) -> None:
        """Have a function called with each alert when it arises, and once more when it is cleared.

        It is told by the ``check`` that finds either, and not of what lasts from one check to the
        next; of alerts that had arisen before it was added, only that they cleared. Callbacks are
        called in the order in which they were added. One that raises is logged and does not stop
        the others.

        Raises:
            TypeError: it can't be called, or would have to be awaited.
        """
        settings.check_callback("an alert callback", callback)
        self._callbacks.append(callback)

    def check(self) -> BackupHealth:
        """Look at the backups now, and tell the callbacks what is new.

        Nothing that is wrong with the destination makes it raise: it is an alert.
        """
        now = self._clock.now()
        found = self._look()
        future = [job for job in found.sound if recovery_point_of(job) > now]
        counting = [job for job in found.sound if recovery_point_of(job) <= now]
        newest = counting[0] if counting else None
        verified = next((job for job in counting if job.verified_at is not None), None)
        exposure = exposure_at(verified, now)
        overdue = self._is_overdue(newest, now)
        failed = self._failed_since(newest)
        alerts: dict[tuple[AlertKind, str | None], str] = {}
        if found.missing is not None:
            alerts["missing", None] = found.missing
        if overdue:
            alerts["overdue", None] = self._why_overdue(newest, now)
        if failed:
            alerts["failed", None] = _why_failed(failed)
        if self._max_unverified_age is not None and exposure > self._max_unverified_age:
            alerts["unverified", None] = _why_unverified(
                verified, exposure, self._max_unverified_age
            )
        alerts.update((("damaged", name), reason) for name, reason in found.damaged.items())
        alerts.update((("future", job.id), _why_future(job, now)) for job in future)
        return BackupHealth(
            checked_at=now,
            newest=newest,
            newest_verified=verified,
            age=None if newest is None else now - recovery_point_of(newest),
            rpo_exposure=exposure,
            overdue=overdue,
            failed=failed,
            alerts=self._update(alerts, now),
        )

    def _look(self) -> _Found:
        try:
            jobs, unreadable = self._store.survey()
        except BackupRefused as error:
            return _Found([], {}, str(error))
        found = _Found([], {name: str(unreadable[name]) for name in sorted(unreadable)})
        for job in jobs:
            try:
                check_parts(self._store, job, jobs)
            except BackupError as error:
                if self._is_there(job):
                    found.damaged[job.id] = str(error)
            else:
                found.sound.append(job)
        if not found.sound and not found.damaged:
            found.missing = f"there is no backup in {self._store.path}"
        return found

    def _is_there(self, job: BackupJob) -> bool:
        """Whether a backup was not just removed, which is no damage."""
        try:
            self._store.load(job.id)
        except BackupNotFound:
            return False
        except BackupError:
            pass
        return True

    def _is_overdue(self, newest: BackupJob | None, now: datetime) -> bool:
        if self._schedule is not None:
            due = self._schedule.next_due(None if newest is None else recovery_point_of(newest))
            return now - due > self._grace
        if self._every is None:
            return False
        return newest is None or now - recovery_point_of(newest) > self._every + self._grace

    def _why_overdue(self, newest: BackupJob | None, now: datetime) -> str:
        late = f"with a grace of {format_duration(self._grace)}"
        wanted = "the schedule asks for" if self._every is None else format_duration(self._every)
        if newest is None:
            return f"there is no backup to rely on in {self._store.path}, {wanted} {late}"
        age = format_duration(now - recovery_point_of(newest))
        return f"the newest backup, {newest.id}, is {age} old: more than {wanted} {late}"

    def _failed_since(self, newest: BackupJob | None) -> tuple[FailedRun, ...]:
        if self._schedule is None:
            return ()
        failing = self._schedule.failing
        if newest is None:
            return failing
        return tuple(run for run in failing if run.moment >= recovery_point_of(newest))

    def _update(
        self, messages: dict[tuple[AlertKind, str | None], str], now: datetime
    ) -> tuple[BackupAlert, ...]:
        """Bring what was raised before up to now, and tell what arose and what is gone."""
        before = self._raised
        raised = {
            key: replace(before[key], message=message)
            if key in before
            else BackupAlert(key[0], message, now, key[1])
            for key, message in messages.items()
        }
        self._raised = raised
        # All is in its place before anyone is told, who may well check again.
        for key, alert in before.items():
            if key not in messages:
                self._tell(replace(alert, cleared_at=now))
        for key in messages:
            if key not in before:
                self._tell(raised[key])
        return tuple(raised.values())

    def _tell(self, alert: BackupAlert) -> None:
        for callback in tuple(self._callbacks):
            try:
                callback(alert)
            except Exception:  # noqa: BLE001 - observers must not stop one another
                _log.exception("an alert callback raised when told of %s", alert)


def _why_failed(failed: tuple[FailedRun, ...]) -> str:
    last = failed[-1]
    count = "the last run" if len(failed) == 1 else f"the last {len(failed)} runs"
    return f"{count} of the schedule failed, at {last.moment:%Y-%m-%d %H:%M:%S} UTC: {last.error}"


def _why_unverified(verified: BackupJob | None, exposure: timedelta, allowed: timedelta) -> str:
    if verified is None:
        return "no backup was ever verified in full"
    return (
        f"the newest verified backup, {verified.id}, is {format_duration(exposure)} old, "
        f"more than {format_duration(allowed)}"
    )


def _why_future(job: BackupJob, now: datetime) -> str:
    ahead = format_duration(recovery_point_of(job) - now)
    return f"the recovery point of backup {job.id} lies {ahead} in the future: a clock is wrong"
