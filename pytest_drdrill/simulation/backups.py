"""Simulated backups: they take virtual time, fail, come late and get lost as a drill tells them."""

from __future__ import annotations

import contextlib
import copy
from datetime import timedelta
from typing import TYPE_CHECKING

from pytest_drdrill.backup import (
    BackupError,
    BackupJob,
    BackupLocked,
    BackupNotFound,
    BackupStatus,
    BackupType,
    UsableSpan,
)
from pytest_drdrill.backup.job import make_id
from pytest_drdrill.backup.paths import absolute
from pytest_drdrill.durations import format_duration, parse_duration
from pytest_drdrill.simulation.steps import Steps
from pytest_drdrill.text import shown, storable

if TYPE_CHECKING:
    import asyncio
    import os
    from datetime import datetime
    from pathlib import Path

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.simulation.world import SimulatedWorld

_MICROSECOND = timedelta(microseconds=1)
_SIMULATED = "simulated: there is no file behind it"
_WHY = "the place for the backups can't be reached"
_BY_CHANCE = "by chance, as its failure rate has it"


class SimulatedBackups:
    """Makes backups of a simulated world, for a ``BackupSchedule``: no file is read or written.

    It is a ``BackupMaker`` and no ``BackupStrategy``: there is nothing to restore or to verify. How
    it fares is a function of time: what is told holds from that moment until something else is
    told. A backup holds the state of the moment at which it began; each is a full one.

    Args:
        world: where it lives; ``SimulatedWorld.backups`` makes it.
        name: what events, messages and the report call it.
        takes: how long a backup takes.
        usable_after: how long it takes from then on until it can be restored, as its copy to
            another place does; the next one does not wait for that.
        failure_rate: the share of the backups that fail by chance, each at its end; by the seed of
            the world.

    Raises:
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: an empty name, no duration, or no share between 0 and 1.
    """

    def __init__(
        self,
        world: SimulatedWorld,
        name: str,
        *,
        takes: str | timedelta = "0s",
        usable_after: str | timedelta = "0s",
        failure_rate: float = 0.0,
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"a name of backups is a text, not {shown(name)}")
        if not name.strip():
            raise ValueError("a name of backups can't be empty")
        self.name = name
        self.clock: Clock = world.clock
        self._world = world
        self._takes = _microseconds("takes", takes)
        self._usable_after = _microseconds("usable_after", usable_after) * _MICROSECOND
        self._failure_rate = _share(failure_rate)
        self._trouble: Steps[str | None] = Steps(None)
        self._delay: Steps[int] = Steps(0)
        self._jobs: dict[str, BackupJob] = {}
        self._count = 0
        self._lost: dict[str, datetime] = {}
        self._gone: set[str] = set()
        self._under_way: set[Path] = set()
        self._waiting: list[asyncio.Future[None]] = []

    def __repr__(self) -> str:
        return f"<SimulatedBackups {self.name!r}>"

    # What a drill tells it.

    def fail(self, why: str = _WHY) -> None:
        """Backups fail from now on, the one that is under way too, until it recovers.

        Args:
            why: what the error says, as a clause.
        """
        self._trouble.set(self._now(), storable(why))
        self._changed("fails", why)

    def fail_at(self, at: str | timedelta, why: str = _WHY) -> None:
        """Backups fail from a moment on that is still to come.

        Args:
            at: how long after the world's beginning, such as ``"9d12h"``.
            why: what the error says, as a clause.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, or a moment that has passed.
        """
        self._trouble.set(self._ahead("fail_at", at), storable(why))
        self._plan(at, "fails", why)

    def slow(self, by: str | timedelta) -> None:
        """Backups that begin from now on take so much longer, until it recovers.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration.
        """
        self._delay.set(self._now(), _microseconds("by", by))
        self._changed("slows down", _by(by))

    def slow_at(self, at: str | timedelta, by: str | timedelta) -> None:
        """Backups that begin from a moment on that is still to come take so much longer.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, or a moment that has passed.
        """
        delay = _microseconds("by", by)
        self._delay.set(self._ahead("slow_at", at), delay)
        self._plan(at, "slows down", _by(by))

    def recover(self) -> None:
        """All is well from now on: backups succeed, in the time that they usually take."""
        self._recover(self._now())
        self._changed("recovers")

    def recover_at(self, at: str | timedelta) -> None:
        """All is well from a moment on that is still to come; see ``fail_at``.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, or a moment that has passed.
        """
        self._recover(self._ahead("recover_at", at))
        self._plan(at, "recovers")

    def lose(self, *jobs: BackupJob) -> None:
        """These backups are gone from now on; all that there are, where none is named.

        Raises:
            BackupNotFound: one is none of those that are there.
        """
        self._gone.update(self._end(jobs, "loses a backup"))

    def damage(self, *jobs: BackupJob) -> None:
        """These backups can't be restored from now on, and are listed as if nothing had happened.

        Raises:
            BackupNotFound: one is none of those that are there.
        """
        self._end(jobs, "damages a backup")

    # What a schedule asks it.

    async def create_backup(
        self, source: str | os.PathLike[str], destination: str | os.PathLike[str]
    ) -> BackupJob:
        """Make a backup, in virtual time.

        Args:
            source: a name of what is backed up, such as ``"/srv/orders"``; nothing is read.
            destination: a name of where to; nothing is written.

        Returns:
            The completed job; one of its warnings says that it is simulated.

        Raises:
            TypeError: a path is no text.
            BackupRefused: a path is empty.
            BackupLocked: another backup to that destination is under way.
            BackupError: it failed, as was told or by chance; carries the job.
        """
        source = absolute(source, "the source")
        destination = absolute(destination, "the destination")
        if destination in self._under_way:
            raise BackupLocked(f"another run is writing to {destination}")
        # Drawn by each backup, so that what is told to it changes no other one's chance.
        by_chance = self._world.random(self.name).random() < self._failure_rate
        job = self._begun(source, destination)
        self._under_way.add(destination)
        try:
            why = await self._work()
        except BaseException as error:  # it is cut off
            self._failed(job, str(error) or type(error).__name__)
            raise
        finally:
            self._under_way.discard(destination)
        if why is not None or by_chance:
            message = f"simulated backup {job.id} failed: {why or _BY_CHANCE}"
            self._failed(job, message)
            raise BackupError(message, job=job)
        job.status, job.completed_at = BackupStatus.COMPLETED, self.clock.now()
        self._jobs[job.id] = job
        # A month of them would fill a drill's timeline; its trace holds them all.
        self._world.trace.add(self.clock.monotonic(), self.name, "backup completed", job.id)
        return job

    def list_backups(self, destination: str | os.PathLike[str]) -> list[BackupJob]:
        """The completed backups to a destination that were not lost, newest first."""
        folder = absolute(destination, "the destination")
        listed = (job for job in reversed(self._jobs.values()) if job.id not in self._gone)
        return [job for job in listed if job.destination_path == folder]

    def usable(self, job: BackupJob) -> UsableSpan:
        """From when until when a backup can be restored; never, if it is none of its own.

        What it made before its world began anew is none of its own either.
        """
        if self._jobs.get(job.id) is not job or job.completed_at is None:
            return UsableSpan(None)
        return UsableSpan(job.completed_at + self._usable_after, self._lost.get(job.id))

    # What its world keeps of it.

    def kept(self) -> SimulatedBackups:
        """A copy of how it is now, for a world that begins anew."""
        twin = copy.copy(self)
        twin.begin_anew(self)
        return twin

    def begin_anew(self, kept: SimulatedBackups) -> None:
        """Be again as it was when that copy was made."""
        self._trouble, self._delay = copy.deepcopy((kept._trouble, kept._delay))
        self._jobs, self._count = dict(kept._jobs), kept._count
        self._lost, self._gone = dict(kept._lost), set(kept._gone)
        self._under_way, self._waiting = set(), []

    # Inside.

    def _begun(self, source: Path, destination: Path) -> BackupJob:
        now = self.clock.now()
        self._count += 1
        return BackupJob(
            make_id(self._count, BackupType.FULL, now),
            BackupType.FULL,
            source,
            destination,
            created_at=now,
            started_at=now,
            status=BackupStatus.RUNNING,
            recovery_point=now,
            warnings=[_SIMULATED],
        )

    def _failed(self, job: BackupJob, message: str) -> None:
        job.status, job.error_message = BackupStatus.FAILED, message
        self._world.record(self.name, "backup failed", message)

    async def _work(self) -> str | None:
        """Let the time pass that a backup takes; why it failed, at the moment at which it did."""
        now = self._now()
        ends = now + self._takes + self._delay.at(now)
        while (why := self._trouble.at(now)) is None and now < ends:
            change = self._trouble.after(now)
            await self._wait(now, ends if change is None else min(change, ends))
            now = self._now()
        return why

    async def _wait(self, now: int, until: int) -> None:
        """Wait for a moment, or until it is told anything."""
        clock = self._world.clock
        told: asyncio.Future[None] = clock.loop.create_future()
        self._waiting.append(told)
        try:
            with contextlib.suppress(TimeoutError):
                async with clock.timeout((until - now) / 1e6):
                    await told
        finally:
            self._waiting.remove(told)

    def _recover(self, since: int) -> None:
        self._trouble.set(since, None)
        self._delay.set(since, 0)

    def _end(self, jobs: tuple[BackupJob, ...], event: str) -> list[str]:
        there = self._jobs.keys() - self._gone
        for job in jobs:
            if not isinstance(job, BackupJob):
                raise TypeError(f"a backup is named by its BackupJob, not by {shown(job)}")
            if job.id not in there or self._jobs[job.id] is not job:
                raise BackupNotFound(f"{self.name!r} holds no backup {job.id}")
        ids = [job.id for job in jobs] or sorted(there)
        for job_id in ids:
            self._lost.setdefault(job_id, self.clock.now())
        self._world.record(self.name, event, ids[0] if len(ids) == 1 else f"{len(ids)} of them")
        return ids

    def _now(self) -> int:
        return round(self.clock.monotonic() * 1e6)

    def _ahead(self, called: str, at: str | timedelta) -> int:
        moment = _microseconds("at", at)
        if moment < self._now():
            passed = format_duration(self._now() * _MICROSECOND)
            raise ValueError(
                f"{called}({at!r}) of {self.name!r}: that moment has passed, the world is {passed} "
                "old by now"
            )
        return moment

    def _changed(self, event: str, detail: str = "") -> None:
        self._world.record(self.name, event, detail)
        self._tell_waiting()

    def _plan(self, at: str | timedelta, event: str, detail: str = "") -> None:
        """Have the trace say so when the time has come; the backups themselves need nothing."""
        self._world.plan(_microseconds("at", at), self.name, event, detail)
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        for told in self._waiting:
            if not told.done():
                told.set_result(None)


def _microseconds(name: str, span: str | timedelta) -> int:
    try:
        return parse_duration(span) // _MICROSECOND
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def _by(span: str | timedelta) -> str:
    return f"by {format_duration(parse_duration(span))}"


def _share(rate: float) -> float:
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        raise TypeError(f"failure_rate is a number between 0 and 1, not {shown(rate)}")
    if not 0 <= rate <= 1:
        raise ValueError(f"failure_rate is a number between 0 and 1, not {shown(rate)}")
    return rate
