"""Timetables: when a schedule runs, and what that promises."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pytest_drdrill.backup import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from pytest_drdrill.backup.slots import Slots


class Timetable:
    """The slots of a schedule, and questions about them; nothing runs here.

    Args:
        slots: when they are.
    """

    def __init__(self, slots: Slots) -> None:
        self._slots = slots

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

    def worst_case_rpo(
        self, duration: str | timedelta, *, usable_after: str | timedelta = "0s"
    ) -> timedelta:
        """The most that a disaster can cost while every run succeeds.

        It is the longest gap between two recovery points, plus the time from a recovery point until
        its backup is usable: a disaster just before that moment falls back on the recovery point
        before. The longest gap is that of the slots; where a backup takes longer than that, the
        next one begins when it ends, and the gap is what a backup takes. It does not wait for a
        copy, which adds to the time until usable alone. For ``cron`` the gaps of the whole calendar
        count, leap years and centuries included.

        Source: derived from the recovery point objective of NIST SP 800-34 rev. 1, section 3.2.1
        (the point in time, prior to a disruption, to which data can be recovered given the most
        recent backup copy).

        Args:
            duration: how long a backup takes, from its recovery point to its completion.
            usable_after: from the completion of a backup until it can be restored, as by its copy
                to another place.

        Raises:
            TypeError: one of them is no text and no timedelta.
            ValueError: it is no duration.
        """
        takes = settings.duration("duration", duration)
        delay = settings.duration("usable_after", usable_after)
        return max(self._slots.longest_gap(), takes) + takes + delay

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
