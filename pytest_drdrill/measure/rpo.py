"""Lost work: from a ledger of writes, a backup's recovery point, or a schedule's exposure."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pytest_drdrill.durations import LONGEST, format_duration
from pytest_drdrill.measure.ledger import LedgerLoss, WriteLedger
from pytest_drdrill.measure.records import required_reason
from pytest_drdrill.text import one_line, shown

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from pytest_drdrill.measure.records import Basis
    from pytest_drdrill.measure.timeline import Moment, Timeline


class Loss(NamedTuple):
    """A measured loss.

    Attributes:
        actual: span of lost work; None when it has no bound.
        basis: what it was measured from.
        why: how it came about, as a clause; empty where the figures say it all.
    """

    actual: timedelta | None
    basis: Basis
    why: str = ""


class Exposure(Protocol):
    """The most that a disaster could have cost at any instant of a span."""

    @property
    def worst(self) -> timedelta:
        """The most; ``timedelta.max`` where it has no bound."""
        ...

    @property
    def at(self) -> datetime:
        """The worst instant."""
        ...

    @property
    def explanation(self) -> str:
        """How it came about, as a clause."""
        ...


class Exposed(Protocol):
    """What knows its exposure up to now, as a schedule of backups does."""

    def exposure(self) -> Exposure:
        """The exposure up to now."""
        ...


class _RecoveryPoint(NamedTuple):
    """A recovery point, and the index of the first disaster that it can answer."""

    moment: datetime
    basis: Basis
    since: int


class RPOTimer:
    """Measures how much acknowledged work a disaster cost.

    From a write ledger: RPA = max(disaster, last lost acknowledgement) - first lost
    acknowledgement, zero when nothing is lost. From a backup: RPA = disaster - its recovery point.
    From a schedule: the most that a disaster would have cost at any instant. With several of them,
    the largest decides.

    Source of the definition: NIST SP 800-34 rev. 1, section 3.2.1 (recovery point objective: the
    point in time, prior to a disruption, to which data must be recovered).
    """

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._restart()

    def _restart(self) -> None:
        """Forget everything that was entered."""
        self.ledger = WriteLedger()
        self._recovery_points: list[_RecoveryPoint] = []
        self._exposures: list[Loss] = []
        # How many disasters had struck when survivors were last read back, when a recovery point
        # was last given, and when one was last given before the latest disaster.
        self._read_after: int | None = None
        self._answered = self._answered_before = 0
        self._not_applicable: str | None = None
        self._weaknesses: list[str] = []
        self._loss: LedgerLoss | None = None  # as of these recoveries, one for each disaster:
        self._loss_of: list[float] = []
        # What was read back before the latest disaster, and the disasters that it answered.
        self._earlier: list[tuple[LedgerLoss, list[float]]] = []

    # -- what a drill calls ---------------------------------------------------------------------

    def acknowledged(self, key: Hashable, *, at: float | None = None) -> None:
        """The system confirmed the write ``key`` now, or at ``at`` (the clock's monotonic seconds).

        Raises:
            TypeError: ``at`` is no number of seconds.
            ValueError: ``at`` is no moment of that clock: not finite, or a million days away.
        """
        __tracebackhide__ = True
        self._loss = None
        now = self._timeline.clock.monotonic()
        moment = now if at is None else _moment(at, now)
        self.ledger.acknowledged(key, moment)

    def indeterminate(self, key: Hashable) -> None:
        """The answer to the write ``key`` never came: it is neither lost nor safe."""
        self._loss = None
        self.ledger.indeterminate(key)

    def survived(self, keys: Iterable[Hashable]) -> None:
        """These keys were read back after the recovery; an empty collection says that none were.

        Several calls add up, until the next disaster: the first reading after it begins anew.

        Raises:
            TypeError: a single text in place of a collection.
        """
        __tracebackhide__ = True
        self._loss = None
        struck = len(self._timeline.disasters)
        afresh = self._read_after != struck
        if afresh and self._read_after and self.ledger.unknown() is None:
            # A loss that was measured stands, whatever is read or written after another disaster.
            answered = [disaster.at for disaster in self._timeline.disasters[: self._read_after]]
            earlier = self.ledger.loss(
                as_read=True, disasters=answered, recoveries=self._timeline.recoveries
            )
            self._earlier.append((earlier, answered))
        self.ledger.survived(keys, afresh=afresh)
        self._read_after = struck
        if afresh:  # once, not for every key of somebody who reads them one by one
            self._timeline.record("survivors read back")

    def recovered_to(self, moment: datetime, *, basis: Basis | None = None) -> None:
        """Recovery ended at this recovery point: the moment the backup *began* reading.

        Of point-in-time recovery, give the last commit replayed; of a dump, the moment in its own
        header; never a file's mtime. With several disasters, it answers the first one after it of
        those that struck since recovery points were last given.

        Args:
            moment: aware datetime, not after the disaster.
            basis: ``"backup"`` or ``"staged"``. Default: ``staged`` where the recovery point lies
                within the drill, which then took the backup itself: honest for the restore, no
                evidence for the schedule. Give ``"backup"`` where the drill drives the schedule.

        Raises:
            TypeError: not a datetime.
            ValueError: a naive datetime, an unknown basis, or a moment after the disaster, which
                holds what the disaster did.
        """
        __tracebackhide__ = True
        if not isinstance(moment, datetime):
            raise TypeError(f"recovered_to() takes an aware datetime, not {moment!r:.80}")
        if moment.utcoffset() is None:
            raise ValueError(f"recovered_to() takes an aware datetime; {moment} has no time zone")
        if basis not in (None, "backup", "staged"):
            raise ValueError(f"basis {basis!r}: write 'backup' or 'staged'")
        utc = moment.astimezone(UTC)
        if basis is None:
            basis = "staged" if utc >= self._timeline.started.utc else "backup"
        disasters = self._timeline.disasters
        if disasters:
            _refuse_after(utc, disasters[-1])
        if len(disasters) > self._answered:
            self._answered_before, self._answered = self._answered, len(disasters)
        self._recovery_points.append(_RecoveryPoint(utc, basis, self._answered_before))
        self._timeline.record("recovery point", f"{utc.isoformat()} ({basis})")

    def exposed(self, source: Exposed | Exposure) -> None:
        """What a disaster would have cost at the worst instant is this drill's loss; none struck.

        Args:
            source: a schedule of backups, of which the exposure up to now counts, or what its
                ``exposure(...)`` or ``backup_exposure(...)`` gave for another span.

        Raises:
            TypeError: neither of them.
            ValueError: a schedule that has not run yet, or a span that is shorter than the longest
                gap between its slots: what was at stake then is not its worst case.
        """
        __tracebackhide__ = True
        ask = getattr(source, "exposure", None)
        found: Any = ask() if callable(ask) else source
        worst, at = getattr(found, "worst", None), getattr(found, "at", None)
        if not isinstance(worst, timedelta) or not isinstance(at, datetime):
            raise TypeError(
                "exposed() takes a schedule of backups, or the exposure that it gave, not "
                f"{shown(source)}"
            )
        bounded = worst != timedelta.max
        if bounded:
            _refuse_short(found)
        why = one_line(found.explanation)
        self._exposures.append(Loss(worst if bounded else None, "schedule", why))
        cost = format_duration(worst) if bounded else "no bound"
        started, now = self._timeline.started, self._timeline.moment()
        moment = now.at  # unless the worst instant was one of this drill's
        if started.utc <= at <= now.utc:
            moment = started.at + (at - started.utc).total_seconds()
        self._timeline.record("worst exposure", f"{cost}: {why}", at=moment, vital=True)

    def not_applicable(self, reason: str) -> None:
        """This drill holds no data to lose, and says why; the reason is in every report.

        Raises:
            TypeError: the reason is no text.
            ValueError: it is empty.
        """
        __tracebackhide__ = True
        example = "the service is stateless"
        self._not_applicable = required_reason("not_applicable", reason, example)
        self._timeline.record("rpo not applicable", self._not_applicable)

    def weakened(self, reason: str) -> None:
        """For a while acknowledgements were worth less than promised: an RPO of zero is broken.

        As when a synchronous replication goes on without its secondary: what a disaster would have
        cost then is not what this one did. Wider objectives are judged by what was measured alone.

        Args:
            reason: what was weaker, as a clause for a reader.

        Raises:
            TypeError: no text.
            ValueError: an empty one.
        """
        __tracebackhide__ = True
        example = "the secondary was not waited for"
        self._weaknesses.append(required_reason("weakened", reason, example))

    # -- what was measured ----------------------------------------------------------------------

    @property
    def data_loss(self) -> timedelta | None:
        """The measured loss; ``timedelta.max`` where it has no bound, None while unknown."""
        loss = self.measured()
        if loss is None:
            return None
        return timedelta.max if loss.actual is None else loss.actual

    @property
    def lost(self) -> list[Hashable]:
        """Every acknowledged write that was missing after a disaster; empty while unknown."""
        return list(dict.fromkeys(key for loss in self._losses() for key in loss.lost))

    @property
    def holes(self) -> list[Hashable]:
        """Those of ``lost`` with a later survivor of before the same disaster: corruption."""
        return list(dict.fromkeys(key for loss in self._losses() for key in loss.holes))

    def _losses(self) -> list[LedgerLoss]:
        latest = self.ledger_loss()
        return [*(loss for loss, _ in self._earlier), *([latest] if latest else [])]

    @property
    def entered(self) -> bool:
        """Whether anything was entered, be it enough to measure a loss or not."""
        return self._needs_disaster or bool(self._exposures)

    @property
    def _needs_disaster(self) -> bool:
        """Whether anything was entered that is measured from a disaster."""
        return self.ledger.used or bool(self._recovery_points)

    @property
    def reason_not_applicable(self) -> str | None:
        """The reason given to ``not_applicable``, or None."""
        return self._not_applicable

    @property
    def weaknesses(self) -> tuple[str, ...]:
        """The reasons given to ``weakened``."""
        return tuple(self._weaknesses)

    def unknown(self) -> str | None:
        """Why there is no measured loss, in one clause, or None when there is one."""
        if not self.entered:
            return "nothing was entered: no acknowledged write, no recovery point, no exposure"
        if not self._needs_disaster:
            return None
        if self.ledger.used and (reason := self.ledger.unknown()):
            return reason
        disasters = self._timeline.disasters
        if not disasters:
            return "the moment of the disaster is unknown: open rto_timer.outage() or .disaster()"
        return self._unanswered(disasters)

    def _unanswered(self, disasters: list[Moment]) -> str | None:
        """Why what was entered does not answer the disasters, or None where it does."""
        if self.ledger.used and (reason := self._ledger_unknown(disasters)):
            return reason
        if any(point.moment > disasters[-1].utc for point in self._recovery_points):
            return "the recovery point lies after the disaster: it holds what the disaster did"
        return None

    def _ledger_unknown(self, disasters: list[Moment]) -> str | None:
        if self._read_after != len(disasters):
            return "the survivors were read back before the disaster: call survived(keys) after it"
        if self.ledger.last_at() > self._timeline.clock.monotonic():
            return "an acknowledgement lies in the future: its time is of another clock"
        found = self.ledger_loss()
        if found and not found.unbounded and self.ledger.first_at() > disasters[-1].at:
            return "no write was acknowledged before the disaster, so none was at risk"
        return None

    def ledger_loss(self) -> LedgerLoss | None:
        """The ledger's account since the latest disaster, or None while it says nothing."""
        recoveries = self._timeline.recoveries
        if self._loss is not None and self._loss_of == recoveries:
            return self._loss
        if self.ledger.used and self.ledger.unknown() is None:
            struck = [disaster.at for disaster in self._timeline.disasters]
            self._loss = self.ledger.loss(disasters=struck, recoveries=recoveries)
            self._loss_of = recoveries
        return self._loss

    def measured(self) -> Loss | None:
        """The largest loss over all sources, or None while it is unknown."""
        if self.unknown() is not None:
            return None
        disasters = self._timeline.disasters
        losses = list(self._exposures)
        if found := self.ledger_loss():
            # What an earlier reading found lost is a loss of the disasters before that one.
            told = {key for loss, _ in self._earlier for key in loss.lost}
            pairs = zip(found.lost, found.lost_at, strict=True)
            fresh = [(key, at) for key, at in pairs if key not in told]
            found = found._replace(lost=[key for key, _ in fresh], lost_at=[at for _, at in fresh])
            for loss, answered in [*self._earlier, (found, [each.at for each in disasters])]:
                seconds = loss.seconds_lost(*answered)
                actual = None if seconds is None else timedelta(seconds=seconds)
                losses.append(Loss(actual, "ledger"))
        for point in self._recovery_points:
            struck = next(d.utc for d in disasters[point.since :] if d.utc >= point.moment)
            losses.append(Loss(struck - point.moment, point.basis))
        unbounded = next((loss for loss in losses if loss.actual is None), None)
        return unbounded or max(losses, key=lambda loss: loss.actual or timedelta())


def _refuse_short(exposure: Any) -> None:
    """Refuse the exposure of a schedule over less than the longest gap between its slots."""
    __tracebackhide__ = True
    gap: timedelta | None = getattr(exposure, "longest_gap", None)
    if gap is not None and (span := exposure.end - exposure.start) < gap:
        raise ValueError(
            f"looked at {format_duration(span)} of a schedule whose slots are up to "
            f"{format_duration(gap)} apart: that is not its worst case; let it run longer, or give "
            "exposure() an earlier start"
        )


def _moment(at: object, now: float) -> float:
    __tracebackhide__ = True
    if isinstance(at, bool) or not isinstance(at, int | float):
        raise TypeError(f"acknowledged(at=...) takes monotonic seconds, not {at!r:.80}")
    if not math.isfinite(at) or abs(at - now) > LONGEST.total_seconds():
        raise ValueError(f"acknowledged(at={at!r}) is no moment of the drill's monotonic clock")
    return at


def _refuse_after(moment: datetime, disaster: Moment) -> None:
    __tracebackhide__ = True
    if moment > disaster.utc:
        raise ValueError(
            f"recovery point {moment.isoformat()} lies after the disaster "
            f"({disaster.utc.isoformat()}): it holds what the disaster did"
        )
