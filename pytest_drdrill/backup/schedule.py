"""A schedule: when a folder is backed up, and the run that keeps to it."""

from __future__ import annotations

import logging
import os
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from pytest_drdrill.backup import settings
from pytest_drdrill.backup.errors import BackupRefused
from pytest_drdrill.backup.paths import absolute, refuse_overlap
from pytest_drdrill.backup.slots import CronSlots, EvenSlots, Slots
from pytest_drdrill.backup.store import Store
from pytest_drdrill.backup.strategy import BackupStrategy
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator
    from datetime import timedelta
    from pathlib import Path
    from types import TracebackType

    from pytest_drdrill.backup.job import BackupJob

_KEPT = 10_000
_log = logging.getLogger("pytest_drdrill.backup")


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A run of a schedule that gave no backup.

    Attributes:
        moment: when it began, in UTC.
        error: what it raised.
        job: the job that failed, or None where it was refused before there was one.
    """

    moment: datetime
    error: Exception
    job: BackupJob | None


class BackupSchedule:
    """Backs up a folder again and again, at even intervals or as a cron expression says.

    With ``every``, the slots are at ``start + n * every``, the first one at the start; they are
    counted from it and never added up, so they don't drift. With ``cron`` they are in UTC, so that
    no change of daylight saving time skips or doubles a run.

    ``run`` and ``start`` begin with a backup if one is due. Slots that passed while nothing ran, or
    while the backup before them was still being made, are made up for by one backup, however many
    they are. A run that fails is kept in ``failures``, and the next slot is tried as usual.

    Backups are made inline, in the event loop and not in a thread beside it: the loop stands still
    meanwhile. So nothing depends on how threads are scheduled, a virtual clock can drive a
    schedule, and a cancellation never strikes in the middle of a backup. Time is met through the
    strategy's clock alone.

    Args:
        strategy: what makes the backups; its clock is the clock of the schedule.
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
        strategy: BackupStrategy,
        source: str | os.PathLike[str],
        destination: str | os.PathLike[str],
        *,
        every: str | timedelta | None = None,
        cron: str | None = None,
        start: datetime | None = None,
        on_failure: Callable[[FailedRun], object] | None = None,
    ) -> None:
        if not isinstance(strategy, BackupStrategy):
            raise TypeError(
                f"a schedule needs a strategy such as FullBackupStrategy(), not {shown(strategy)}"
            )
        self.strategy = strategy
        self.source: Path = absolute(source, "the source")
        self.destination: Path = absolute(destination, "the destination")
        refuse_overlap(self.source, self.destination, "the source")
        self._slots = _slots(strategy, every, cron, start)
        if on_failure is not None:
            settings.check_callback("on_failure", on_failure)
        self._on_failure = on_failure
        self._jobs: deque[BackupJob] = deque(maxlen=_KEPT)
        self._failures: deque[FailedRun] = deque(maxlen=_KEPT)
        self._failing = 0
        self._running = False
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<BackupSchedule of {self.source} to {self.destination}, {self._slots}>"

    # What is known.

    @property
    def jobs(self) -> tuple[BackupJob, ...]:
        """The backups that this schedule made, in order; the last ten thousand of them."""
        return tuple(self._jobs)

    @property
    def failures(self) -> tuple[FailedRun, ...]:
        """The runs that failed, in order; the last ten thousand of them."""
        return tuple(self._failures)

    @property
    def failing(self) -> tuple[FailedRun, ...]:
        """The runs that failed since the last one that did not."""
        return self.failures[max(0, len(self._failures) - self._failing) :]

    @property
    def is_running(self) -> bool:
        """Whether ``run``, or what ``start`` started, is under way."""
        return self._running or (self._task is not None and not self._task.done())

    # When.

    def next_after(self, moment: datetime) -> datetime:
        """The first slot that is later than a moment, in UTC.

        Raises:
            TypeError: the moment is no datetime.
            ValueError: it has no time zone, or what comes after it is out of a datetime's range.
        """
        return self._after(settings.in_utc("moment", moment))

    def runs_between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """The slots later than ``start`` and not later than ``end``, in order, in UTC.

        So the slots of adjoining spans are those of the whole: none twice, none left out.

        Raises:
            TypeError: a moment is no datetime.
            ValueError: a moment has no time zone, or the end is before the start.
        """
        start, end = settings.in_utc("start", start), settings.in_utc("end", end)
        if end < start:
            raise ValueError(f"the end {end} is before the start {start}")
        return self._between(start, end)

    def interval_at(self, moment: datetime) -> timedelta:
        """Time from a moment to the first slot later than it.

        Raises:
            TypeError: the moment is no datetime.
            ValueError: it has no time zone, or what comes after it is out of a datetime's range.
        """
        return self.next_after(moment) - settings.in_utc("moment", moment)

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
        try:
            jobs = Store(self.destination).jobs()
        except BackupRefused:
            if os.path.lexists(self.destination):
                raise
            jobs = []
        # A recovery point that lies later tells of a clock that was wrong, and counts for nothing.
        points = (job.recovery_point or job.created_at for job in jobs)
        return self.next_due(next((point for point in points if point <= at), None)) <= at

    def next_due(self, recovery_point: datetime | None) -> datetime:
        """When the next backup is due: at the first slot after a recovery point, in UTC.

        Args:
            recovery_point: that of the newest backup, or None where there is none: then it is the
                first slot, or long ago with ``cron``, which has no first one.

        Raises:
            TypeError: it is no datetime.
            ValueError: it has no time zone, or what comes after it is out of a datetime's range.
        """
        if recovery_point is not None:
            return self.next_after(recovery_point)
        return self._slots.start or datetime.min.replace(tzinfo=UTC)

    def worst_case_rpo(self, duration: str | timedelta) -> timedelta:
        """The most that a disaster can cost while every run succeeds.

        It is the longest gap between two recovery points, plus the time from a recovery point until
        its backup is usable: a disaster just before that moment falls back on the recovery point
        before. The longest gap is that of the slots; where a backup takes longer than that, the
        next one begins when it ends, and the gap is what a backup takes. For ``cron`` the gaps of
        the whole calendar count, leap years and centuries included.

        Source: derived from the recovery point objective of NIST SP 800-34 rev. 1, section 3.2.1
        (the point in time, prior to a disruption, to which data can be recovered given the most
        recent backup copy).

        Args:
            duration: how long a backup takes until it can be restored, its copy to another place
                included.

        Raises:
            TypeError: the duration is no text and no timedelta.
            ValueError: it is no duration.
        """
        takes = settings.duration("duration", duration)
        return max(self._slots.longest_gap(), takes) + takes

    # What a caller can do.

    def run_once(self) -> BackupJob:
        """Back up now, whatever the slots say.

        Returns:
            The completed job, which is also the last one of ``jobs``.

        Raises:
            Exception: what ``BackupStrategy.create_backup`` raised, which is also the last one of
                ``failures``; ``on_failure`` was told.
        """
        began = self.strategy.clock.now()
        try:
            job = self.strategy.create_backup(self.source, self.destination)
        except Exception as error:
            self._failed(FailedRun(began, error, getattr(error, "job", None)))
            raise
        self._jobs.append(job)
        self._failing = 0
        return job

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

    def _after(self, moment: datetime) -> datetime:
        try:
            return self._slots.after(moment)
        except OverflowError:
            raise ValueError(f"the slot after {moment} is out of range") from None

    def _between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        try:
            while (start := self._slots.after(start)) <= end:
                yield start
        except OverflowError:  # so the next one is later than any end
            return

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
                    self.run_once()
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

    def _failed(self, run: FailedRun) -> None:
        self._failures.append(run)
        self._failing += 1
        if self._on_failure is None:
            return
        try:
            self._on_failure(run)
        except Exception:  # noqa: BLE001 - the user's own function may raise anything
            _log.exception("on_failure raised when told of a failed backup of %s", self.source)

    def _refuse_second(self) -> None:
        if self.is_running:
            raise BackupRefused("this schedule is running already; stop it before a new start")


def _slots(
    strategy: BackupStrategy,
    every: str | timedelta | None,
    cron: str | None,
    start: datetime | None,
) -> Slots:
    if (every is None) == (cron is None):
        which = "neither is" if every is None else "both are"
        raise ValueError(f'a schedule takes either every="1h" or cron="0 3 * * *"; {which} given')
    if cron is not None:
        if start is not None:
            raise ValueError("start has no meaning with cron, which says itself when its slots are")
        return CronSlots(cron)
    assert every is not None
    first = strategy.clock.now() if start is None else settings.in_utc("start", start)
    return EvenSlots(every, first)
