"""A schedule: when a folder is backed up, and the run that keeps to it."""

from __future__ import annotations

import logging
from dataclasses import replace
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Self

from pytest_drdrill.backup import settings
from pytest_drdrill.backup.errors import BackupRefused
from pytest_drdrill.backup.exposure import BackupExposure, backup_exposure
from pytest_drdrill.backup.job import recovery_point_of
from pytest_drdrill.backup.maker import BackupMaker, FailedRun, UsableSpan
from pytest_drdrill.backup.paths import absolute, is_missing, refuse_overlap
from pytest_drdrill.backup.runs import Runs
from pytest_drdrill.backup.slots import slots_of
from pytest_drdrill.backup.timetable import Timetable
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    import asyncio
    import os
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime, timedelta
    from pathlib import Path
    from types import TracebackType

    from pytest_drdrill.backup.job import BackupJob

_log = logging.getLogger("pytest_drdrill.backup")


class BackupSchedule(Timetable):
    """Backs up a folder again and again, at even intervals or as a cron expression says.

    With ``every``, the slots are at ``start + n * every``, the first one at the start; they are
    counted from it and never added up, so they don't drift. With ``cron`` they are in UTC, so that
    no change of daylight saving time skips or doubles a run.

    ``run`` and ``start`` begin with a backup if one is due. Slots that passed while nothing ran, or
    while the backup before them was still being made, are made up for by one backup, however many
    they are. A run that fails is kept in ``failures``, and the next slot is tried as usual.

    Strategies make backups inline, in the event loop and not in a thread beside it: the loop stands
    still meanwhile. So nothing depends on how threads are scheduled, a virtual clock can drive a
    schedule, and a cancellation never strikes in the middle of a backup. A maker whose
    ``create_backup`` is asynchronous lets the loop go on; a cancellation ends its backup, which is
    then neither a job nor a failure of the schedule. No backup begins before the one before it has
    ended. Time is met through the strategy's clock alone. Where that is of a simulated world that
    begins anew, as for each example of ``@given``, so does what came of the runs.

    Args:
        strategy: what makes the backups, a ``BackupStrategy`` or any other ``BackupMaker``; its
            clock is the clock of the schedule.
        source: the folder to read.
        destination: the folder that holds the backups; made if it is missing.
        every: time from a slot to the next one, as ``"1h"`` or a timedelta.
        cron: five fields (minute, hour, day of month, month, day of week) as in ``"0 3 * * *"``,
            read in UTC; needs the extra ``pytest-drdrill[cron]``. Give this or ``every``.
        start: the first slot of ``every``; by default the moment at which the schedule is made.
        on_failure: called with each ``FailedRun`` (``moment``, ``error``, ``job``). What it raises
            is logged and changes nothing.

    Raises:
        TypeError: an argument of another type, or an interval without a unit.
        ValueError: both of ``every`` and ``cron`` or neither, an interval that is none or zero, a
            cron expression that is none or that no day ever matches, ``start`` without a time zone
            or beside ``cron``.
        ImportError: the library that reads cron expressions is not installed.
        BackupRefused: a path is empty, or the source and the destination overlap.
    """

    def __init__(  # noqa: PLR0913 - settings with defaults, by keyword
        self,
        strategy: BackupMaker,
        source: str | os.PathLike[str],
        destination: str | os.PathLike[str],
        *,
        every: str | timedelta | None = None,
        cron: str | None = None,
        start: datetime | None = None,
        on_failure: Callable[[FailedRun], object] | None = None,
    ) -> None:
        if not isinstance(strategy, BackupMaker):
            raise TypeError(
                f"a schedule needs a strategy such as FullBackupStrategy(), not {shown(strategy)}"
            )
        self.strategy = strategy
        self.source: Path = absolute(source, "the source")
        self.destination: Path = absolute(destination, "the destination")
        refuse_overlap(self.source, self.destination, "the source")
        super().__init__(slots_of(every, cron, start, strategy.clock))
        if on_failure is not None:
            settings.check_callback("on_failure", on_failure)
        self._on_failure = on_failure
        self._kept = Runs()
        self._era = self._now_era()
        self._lasting: Runs | None = None  # what came of the runs before its world first began anew
        self._running = False
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<BackupSchedule of {self.source} to {self.destination}, {self._slots}>"

    # What is known.

    @property
    def jobs(self) -> tuple[BackupJob, ...]:
        """The backups that this schedule made, in order; the last ten thousand of them."""
        return tuple(self._runs.jobs)

    @property
    def failures(self) -> tuple[FailedRun, ...]:
        """The runs that failed, in order; the last ten thousand of them."""
        return tuple(self._runs.failures)

    @property
    def failing(self) -> tuple[FailedRun, ...]:
        """The runs that failed since the last one that did not."""
        return self._runs.failing

    @property
    def is_running(self) -> bool:
        """Whether ``run``, or what ``start`` started, is under way."""
        return self._running or (self._task is not None and not self._task.done())

    # When.

    def due(self, at: datetime | None = None) -> bool:
        """Whether a slot has come since the newest backup of the destination began to read.

        True also where the destination is missing or holds no backup; false before the start of a
        schedule with ``every``.

        Args:
            at: the moment to ask about; the clock's by default.

        Raises:
            TypeError: the moment is no datetime.
            ValueError: it has no time zone.
            BackupRefused: the destination can't be read.
        """
        at = self.strategy.clock.now() if at is None else settings.in_utc("at", at)
        # A recovery point that lies later tells of a clock that was wrong, and counts for nothing.
        points = map(recovery_point_of, self._listed())
        return self.next_due(next((point for point in points if point <= at), None)) <= at

    def exposure(
        self,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        usable_after: str | timedelta = "0s",
        lost: Mapping[str, datetime] | None = None,
        verified: bool = False,
    ) -> BackupExposure:
        """The most that a disaster could have cost at any instant, by what has come of the runs.

        ``worst_case_rpo`` says what the slots allow while every run succeeds; here those that
        failed, took long or were skipped count. Whatever else the destination holds counts too.
        What that lacks of them was lost or pruned: since now, as nothing tells since when.

        Args:
            start: the first instant that counts. By default the moment at which the first backup
                could be restored, and was verified where that is wanted: what is there before has
                none yet. Where the first run failed, it is the moment at which that began.
            end: the last one; by default now.
            usable_after: see ``backup_exposure``, as the next two.
            lost: backups that were lost or found damaged, by id.
            verified: whether a backup counts only once it was verified.

        Raises:
            TypeError: an argument of another type, or a duration without a unit.
            ValueError: a moment without a time zone, an end before the start, no duration, no run
                yet, a start from which on not all backups are known any more, or an id in ``lost``
                that is no backup's.
            BackupRefused: the destination is there and can't be read.
        """
        runs, now = self._runs, self.strategy.clock.now()
        own = {job.id: job for job in runs.jobs}
        listed = {job.id: job for job in self._listed()}
        known = own | listed

        def usable(job: BackupJob) -> UsableSpan:
            told = self.strategy.usable(job)
            if job.id in listed:
                return told
            return told._replace(until=now if told.until is None else min(told.until, now))

        end = now if end is None else settings.in_utc("end", end)
        if start is None:
            delay = settings.duration("usable_after", usable_after)
            first = runs.first_usable(known, self.strategy.usable, delay, verified=verified)
            start = min(first, end)
        runs.refuse_forgotten(settings.in_utc("start", start), known.values())
        found = backup_exposure(
            known.values(),
            start=start,
            end=end,
            usable_after=usable_after,
            lost=lost,
            verified=verified,
            failures=runs.failures,
            usable=usable,
        )
        return replace(found, longest_gap=self._slots.longest_gap())

    def _listed(self) -> Sequence[BackupJob]:
        """The backups of the destination; none where it is missing."""
        try:
            return self.strategy.list_backups(self.destination)
        except BackupRefused:
            if is_missing(self.destination):
                return []
            raise

    # What came of the runs.

    @property
    def _runs(self) -> Runs:
        """What came of them since the world of the clock began, if it can begin anew."""
        era = self._now_era()
        if era is not self._era:
            self._lasting = self._lasting or self._kept
            self._era, self._kept = era, self._lasting.copied()
        return self._kept

    def _now_era(self) -> object:
        return getattr(self.strategy.clock, "era", None)

    # What a caller can do.

    def run_once(self) -> BackupJob:
        """Back up now, whatever the slots say.

        Returns:
            The completed job, which is also the last one of ``jobs``.

        Raises:
            TypeError: the backups are asynchronous: await ``run_now()``. Nothing was begun.
            Exception: what ``create_backup`` raised, which is also the last one of ``failures``;
                ``on_failure`` was told.
        """
        began = self.strategy.clock.now()
        try:
            made = self.strategy.create_backup(self.source, self.destination)
        except Exception as error:
            self._failed(began, error)
            raise
        if isawaitable(made):
            if iscoroutine(made):
                made.close()
            raise TypeError(f"the backups of {self.strategy!r} take time: await schedule.run_now()")
        return self._completed(made)

    async def run_now(self) -> BackupJob:
        """Back up now, as ``run_once`` does, with a strategy or with what is asynchronous.

        Returns:
            The completed job, which is also the last one of ``jobs``.

        Raises:
            Exception: see ``run_once``.
        """
        began = self.strategy.clock.now()
        try:
            made = self.strategy.create_backup(self.source, self.destination)
            job = await made if isawaitable(made) else made
        except Exception as error:
            self._failed(began, error)
            raise
        return self._completed(job)

    async def run(self, *, until: datetime | None = None) -> None:
        """Keep to the schedule: a backup now if one is due, then one at each slot.

        Args:
            until: return at that moment, after a slot that falls on it; by default it goes on until
                it is cancelled.

        Raises:
            TypeError: ``until`` is no datetime.
            ValueError: it has no time zone, or the next slot is out of a datetime's range.
            BackupRefused: the schedule is running already.
        """
        end = None if until is None else settings.in_utc("until", until)
        self._refuse_second()
        await self._run(end)

    async def start(self) -> None:
        """Begin to ``run`` as a task of the running event loop, until ``stop``.

        Raises:
            BackupRefused: the schedule is running already.
        """
        self._refuse_second()
        import asyncio  # only who runs a schedule pays for it

        self._task = asyncio.create_task(self._run(None), name=f"backups of {self.source}")

    async def stop(self) -> None:
        """End what ``start`` began. Stopping twice is no error.

        Raises:
            BackupRefused: called from another event loop than the one of the start.
            Exception: what had ended the schedule: a clock that failed, for instance. Backups that
                failed never do.
        """
        import asyncio

        task = self._task
        if task is None:
            return
        if not task.done():
            if task.get_loop() is not asyncio.get_running_loop():
                raise BackupRefused(
                    "a schedule is stopped in the event loop that it was started in"
                )
            task.cancel()
            await asyncio.wait([task])
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; what the body raised is never hidden by what had ended the schedule."""
        try:
            await self.stop()
        except Exception as failure:
            if error is None:
                raise
            error.add_note(f"besides, the schedule of backups had ended: {failure!r}")

    # How.

    async def _run(self, end: datetime | None) -> None:
        self._running = True
        try:
            clock = self.strategy.clock
            now = clock.now()
            slot = now if self._is_due_or_unknown(now) else self._after(now)
            while end is None or slot <= end:
                await self._sleep_until(slot)
                began = clock.now()
                if began < slot:  # floating seconds ended short of it, or the clock was set back
                    slot = min(slot, self._after(began))
                    continue
                try:
                    await self.run_now()
                except Exception as error:  # noqa: BLE001 - kept and told; the next may succeed
                    _log.warning("a scheduled backup of %s failed: %r", self.source, error)
                slot = self._after(began)
            while clock.now() < end:
                await self._sleep_until(end)
        finally:
            self._running = False

    def _is_due_or_unknown(self, now: datetime) -> bool:
        try:
            return self.due(now)
        except BackupRefused:
            return True  # the backup then fails of the same, and says so to whoever listens

    async def _sleep_until(self, moment: datetime) -> None:
        # Even where no time is left: backups that take longer than the interval must let others in.
        clock = self.strategy.clock
        await clock.sleep(max(0.0, (moment - clock.now()).total_seconds()))

    def _completed(self, job: BackupJob) -> BackupJob:
        self._runs.completed(job)
        return job

    def _failed(self, began: datetime, error: Exception) -> None:
        run = FailedRun(began, error, getattr(error, "job", None))
        self._runs.failed(run)
        if self._on_failure is None:
            return
        try:
            self._on_failure(run)
        except Exception:  # noqa: BLE001 - the user's own function may raise anything
            _log.exception("on_failure raised when told of a failed backup of %s", self.source)

    def _refuse_second(self) -> None:
        if self.is_running:
            raise BackupRefused("this schedule is running already; stop it before a new start")
