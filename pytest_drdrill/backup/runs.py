"""What came of the runs of a schedule."""

from __future__ import annotations

import copy
from collections import deque
from typing import TYPE_CHECKING, Self

from pytest_drdrill.backup.job import recovery_point_of
from pytest_drdrill.backup.maker import FailedRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime, timedelta

    from pytest_drdrill.backup.job import BackupJob
    from pytest_drdrill.backup.maker import UsableSpan

KEPT = 10_000


class Runs:
    """The last ten thousand backups of a schedule, and as many runs that gave none.

    Attributes:
        jobs: the backups that were made, in order.
        failures: the runs that failed, in order.
        first: what came of the first run; None where there was none yet.
        forgotten: how many more backups there were than are kept.
    """

    def __init__(self) -> None:
        self.jobs: deque[BackupJob] = deque(maxlen=KEPT)
        self.failures: deque[FailedRun] = deque(maxlen=KEPT)
        self.first: BackupJob | FailedRun | None = None
        self.forgotten = 0
        self._failing = 0

    def completed(self, job: BackupJob) -> None:
        """A run gave a backup."""
        self.first = self.first or job
        self.forgotten += len(self.jobs) == KEPT
        self.jobs.append(job)
        self._failing = 0

    def failed(self, run: FailedRun) -> None:
        """A run gave none."""
        self.first = self.first or run
        self.failures.append(run)
        self._failing += 1

    @property
    def failing(self) -> tuple[FailedRun, ...]:
        """The runs that failed since the last one that did not."""
        return tuple(self.failures)[max(0, len(self.failures) - self._failing) :]

    def copied(self) -> Self:
        """The same, to be added to apart."""
        twin = copy.copy(self)
        twin.jobs, twin.failures = self.jobs.copy(), self.failures.copy()
        return twin

    def first_usable(
        self,
        known: Mapping[str, BackupJob],
        usable: Callable[[BackupJob], UsableSpan],
        delay: timedelta,
        *,
        verified: bool,
    ) -> datetime:
        """When a backup could first be restored; where the first run failed, when that began.

        Args:
            known: what is known of the backups by now, by id.
            usable: tells from when until when a backup can be restored.
            delay: how long that takes beside.
            verified: whether one counts only once it was verified. Where none was, it is the first.

        Raises:
            ValueError: there was no run.
        """
        first = self.first
        if first is None:
            raise ValueError(
                "the schedule has not run yet, so there is no span to look at: give a start"
            )
        if isinstance(first, FailedRun):
            return first.moment
        moments = []
        for job in (first, *self.jobs) if verified else ():
            at, since = known.get(job.id, job).verified_at, usable(job).since
            if at is not None and since is not None:
                moments.append(max(at, since + delay))
        if moments:
            return min(moments)
        since = usable(first).since
        return recovery_point_of(first) if since is None else since + delay

    def refuse_forgotten(self, start: datetime, known: Iterable[BackupJob]) -> None:
        """Refuse to speak of a time of which backups are forgotten that are not known otherwise.

        Raises:
            ValueError: from ``start`` on, there were such backups.
        """
        if not self.forgotten or start >= (oldest := recovery_point_of(self.jobs[0])):
            return
        assert self.first is not None
        first = self.first
        began = first.moment if isinstance(first, FailedRun) else recovery_point_of(first)
        listed = sum(began <= recovery_point_of(job) < oldest for job in known)
        if listed < self.forgotten:
            raise ValueError(
                f"the schedule keeps its last {KEPT:,} backups, of which the oldest began to read "
                f"at {oldest}, and the destination lacks some from before: give a later start"
            )
