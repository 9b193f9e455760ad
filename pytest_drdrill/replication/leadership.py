"""One epoch of one primary: who follows it, and which writes wait for whose flush."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.replication.errors import (
    DivergedError,
    IndeterminateWriteError,
    ReplicationError,
)
from pytest_drdrill.replication.events import Lag, ReplicationAlert
from pytest_drdrill.replication.shipping import Shipper

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.replication.acknowledged import AcknowledgedWrites
    from pytest_drdrill.replication.changes import Change
    from pytest_drdrill.replication.events import EventKind, Rejoin
    from pytest_drdrill.replication.network import Network
    from pytest_drdrill.replication.region import Replica
    from pytest_drdrill.replication.settings import Settings


_ALL_FLUSHED = "all that was acknowledged meanwhile is flushed"


class Record(Protocol):
    """Where what happens is written down."""

    def __call__(
        self,
        kind: EventKind,
        region: str | None = None,
        *,
        other: str | None = None,
        reason: str = "",
    ) -> None:
        """Record one event, now."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What every part of one replication shares."""

    network: Network
    clock: Clock
    settings: Settings
    record: Record
    chance: Callable[[str], random.Random]
    failed: Callable[[BaseException], None]
    alert: Callable[[ReplicationAlert], None]


class Owed(NamedTuple):
    """What one epoch leaves to the next: what was acknowledged, and what of it lacks flushes.

    Attributes:
        writes: all that was acknowledged and is not told to be lost.
        flush: the last position that was acknowledged in a fallback without waiting, or None.
        more: the last one that was acknowledged after fewer flushes than asked for, or None.
    """

    writes: AcknowledgedWrites
    flush: int | None = None
    more: int | None = None


class Leadership:
    """A primary in its epoch; a ``ShippingHost``.

    Args:
        primary: the region that takes the writes.
        epoch: its epoch.
        parts: what it shares with everybody else.
        others: names of all other regions, whether or not they follow.
        owed: what earlier epochs left to it.

    Attributes:
        shippers: those who follow, by name.
        writes: those that were acknowledged, in this epoch and before.
        degraded: whether writes are acknowledged without waiting for a flush, a fallback.
        too_few: whether a write was acknowledged after fewer flushes than it asks for, since fewer
            regions follow; a fallback as well, until all that it acknowledged has as many.
    """

    def __init__(
        self,
        primary: Replica,
        epoch: int,
        parts: Parts,
        others: Iterable[str],
        owed: Owed,
    ) -> None:
        self.primary = primary
        self.epoch = epoch
        self.shippers: dict[str, Shipper] = {}
        self.writes = owed.writes
        self.degraded = False
        self.too_few = owed.more is not None
        self._parts = parts
        self._log = primary.store.history  # as of its last write
        self._failing: set[str] = set()
        self._others = tuple(others)
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._progress: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._written_at: deque[tuple[int, float]] = deque()  # one for each position, no gaps
        self._began = parts.clock.monotonic()
        self._owed = owed.flush  # the position whose flush ends a fallback
        self._short_of = (
            owed.more or 0
        )  # the last position that was acknowledged after too few flushes
        self._over: str | None = None

    # Who follows.

    def shipper(self, replica: Replica) -> Shipper:
        """What will have a region follow, not begun yet."""
        parts = self._parts
        return Shipper(
            primary=self.primary,
            secondary=replica,
            epoch=self.epoch,
            network=parts.network,
            clock=parts.clock,
            settings=parts.settings,
            chance=parts.chance(f"replication from {self.primary.name} to {replica.name}"),
            host=self,
            failed=parts.failed,
        )

    def follow(self, shipper: Shipper) -> None:
        """Count a region among those that follow, and have it do so in the background."""
        self.shippers[shipper.name] = shipper
        shipper.start()

    async def end(self, why: str) -> None:
        """Have nobody follow any more; every write that waits is indeterminate."""
        self.give_up(why)
        for shipper in tuple(self.shippers.values()):
            await shipper.end()

    @property
    def owed(self) -> Owed:
        """What it leaves to another epoch of its primary."""
        flush = (self.writes.last or self._owed) if self.degraded else self._owed
        return Owed(self.writes, flush, self._short_of if self.too_few else None)

    def give_up(self, why: str) -> None:
        """Wait for nobody any more."""
        self._over = self._over or why
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(IndeterminateWriteError(why))
                future.exception()  # whoever waited may be gone: this marks it as seen
        self._waiting.clear()
        self._turn()

    # What is written.

    @property
    def position(self) -> int:
        """Of the primary's last change."""
        return self.primary.store.history.position

    def written(self, change: Change) -> None:
        """Say that the primary has taken a write, which goes to the others from now on."""
        self._log = self.primary.store.history
        self._written_at.append((change.position, self._parts.clock.monotonic()))
        for shipper in self.shippers.values():
            shipper.written()
        self.flushed()

    async def wait_flushed(self, change: Change) -> None:
        """Wait until as many secondaries have flushed a change as the mode asks for.

        Raises:
            IndeterminateWriteError: they did not in time, and no weaker mode is allowed.
        """
        if self._flushed_by_enough() >= change.position:
            return
        settings, clock = self._parts.settings, self._parts.clock
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((change.position, future))
        patience = settings.write_timeout
        if settings.fallback_after is not None:
            patience = min(patience, settings.fallback_after)
        try:
            async with clock.timeout(patience):
                await future
        except TimeoutError:
            if settings.fallback_after == patience:
                self._degrade(patience)
                return
            flushed = sum(each.acked >= change.position for each in self.shippers.values())
            raise IndeterminateWriteError(
                f"position {change.position} is on {self.primary.name}, and {flushed} of the "
                f"{self._needed()} secondaries that a {settings.mode} write needs flushed it "
                f"within {format_seconds(patience)}"
            ) from None

    async def wait_for_room(self) -> bool:
        """Wait while the followers are further behind than allowed; returns whether it had to."""
        most, waited = self._parts.settings.max_backlog, False
        while most is not None and self.position - self._least_acked() >= most:
            waited = True
            await self.progress()
        return waited

    def acknowledged(self, change: Change) -> None:
        """Keep an acknowledged write in mind: whoever says that it has it may lose it yet."""
        self._count_flushes(change)
        self.writes.add(change, self._safe(), self._log)

    async def progress(self) -> None:
        """Wait until a secondary has flushed more, or the epoch is over.

        Raises:
            ReplicationError: the epoch is over.
        """
        if self._over is None:
            await asyncio.shield(self._progress)
        self.check_going()

    def check_going(self) -> None:
        """Make sure that the epoch is not over.

        Raises:
            ReplicationError: it is.
        """
        if self._over is not None:
            raise ReplicationError(self._over)

    # What shippers tell.

    def flushed(self) -> None:
        """A secondary has flushed more than before, or there is more to flush."""
        enough = self._flushed_by_enough()
        while self._waiting and self._waiting[0][0] <= enough:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
        safe = self._safe()
        while (
            self._written_at and self._written_at[0][0] <= safe
        ):  # not before who is to rejoin has it
            self._written_at.popleft()
        if self.shippers and self._has_flushed_owed():
            self._end_fallback()
        if self.too_few and self._has_enough(self._short_of):
            self.too_few = False
            self._parts.record("fallback_ended", self.primary.name, reason=_ALL_FLUSHED)
        self._turn()

    def interrupted(self) -> None:
        """A secondary does not follow for the time being."""
        self._turn()

    def check_primary(self) -> None:
        """Make sure that the primary has what it wrote: nobody is to be rewound to less.

        Raises:
            DivergedError: it has lost changes.
        """
        if self.position < self._log.position:
            raise DivergedError(
                f"{self.primary.name} has lost changes that others may have: it holds "
                f"{self.position} of {self._log.position}; promote one of them"
            )

    def failing(self, name: str, why: str) -> None:
        """A secondary has lost changes, or takes none; told once until it takes them again."""
        if name in self._failing:
            return
        self._failing.add(name)
        parts, primary = self._parts, self.primary.name
        parts.record("secondary_failed", name, other=primary, reason=why)
        text = f"{name} does not keep up with {primary}: {why}"
        parts.alert(ReplicationAlert("secondary_failed", name, primary, text))

    def recovered(self, name: str) -> None:
        """A secondary has taken changes, or holds everything."""
        if name in self._failing:
            self._failing.discard(name)
            self._parts.record("secondary_recovered", name, other=self.primary.name)

    def attached(self, rejoin: Rejoin) -> None:
        """A secondary follows from now on, and had to give up or take so much for it."""
        record, name = self._parts.record, rejoin.region
        if rejoin.discarded:
            first, last = rejoin.discarded[0].position, rejoin.discarded[-1].position
            record(
                "writes_discarded",
                name,
                other=self.primary.name,
                reason=f"{len(rejoin.discarded)} changes, positions {first} to {last}, that "
                f"{self.primary.name} does not have",
            )
        if rejoin.how == "re-cloned":
            record("snapshot_taken", name, reason=f"it holds position {rejoin.position} by now")

    # How far the others are.

    def lag(self, name: str, *, connected: bool) -> Lag:
        """How far a follower is behind."""
        shipper, log = self.shippers[name], self.primary.store
        behind = max(0, self.position - shipper.acked)  # the primary may have lost its own
        now = self._parts.clock.monotonic()
        since = now
        if behind:
            place = shipper.acked + 1 - (self._written_at[0][0] if self._written_at else 0)
            known = self._written_at and place >= 0  # not of what earlier epochs wrote
            since = self._written_at[place][1] if known else min(shipper.level_at, self._began)
        elif not connected:
            since = shipper.level_at
        reach = max(shipper.acked, log.oldest)
        size = sum(change.size for change in log.changes(reach)) if behind else 0
        return Lag(behind, size, timedelta(seconds=now - since))

    def _needed(self) -> int:
        """How many secondaries have to flush a write; those who left are not waited for."""
        return min(self._parts.settings.required, len(self.shippers))

    def _flushed_by_enough(self) -> int:
        return self._flushed_by(0 if self.degraded else self._needed())

    def _flushed_by(self, count: int) -> int:
        if not count:
            return self.position
        return sorted((each.acked for each in self.shippers.values()), reverse=True)[count - 1]

    def _least_acked(self) -> int:
        return min((each.acked for each in self.shippers.values()), default=self.position)

    def _safe(self) -> int:
        """The position up to which every other region is known to have all changes."""
        found = (self.shippers.get(name) for name in self._others)
        return min((0 if each is None else each.acked for each in found), default=0)

    def _degrade(self, waited: float) -> None:
        if self.degraded:
            return
        self.degraded, self._owed = True, self.position
        self._parts.record(
            "fallback",
            self.primary.name,
            reason=f"no flush by {self._needed()} secondaries for {format_seconds(waited)}: writes "
            "are acknowledged without one",
        )
        self.flushed()

    def _end_fallback(self) -> None:
        """Have writes wait again; it has ended once all that were not waited for are flushed."""
        if self.degraded:
            self.degraded, self._owed = False, self.position
        if self._has_flushed_owed():
            self._owed = None
            self._parts.record("fallback_ended", self.primary.name, reason=_ALL_FLUSHED)

    def _has_flushed_owed(self) -> bool:
        return self._owed is not None and self._flushed_by(self._needed()) >= self._owed

    # Where a write asks for several flushes, and fewer regions follow.

    def _count_flushes(self, change: Change) -> None:
        settings = self._parts.settings
        # Who asks for one asks for any region; a primary that is alone is said to be unprotected.
        several = settings.mode == "semi-synchronous" and settings.required > 1
        if not several or self.degraded or self._has_enough(change.position):
            return
        self._short_of = change.position
        if not self.too_few:
            self.too_few = True
            self._parts.record(
                "fallback",
                self.primary.name,
                reason=f"{len(self.shippers)} of the {settings.required} secondaries that a write "
                "asks for follow: writes are acknowledged after fewer flushes",
            )

    def _has_enough(self, position: int) -> bool:
        """Whether as many secondaries have flushed a position as a write asks for."""
        flushed = sum(each.acked >= position for each in self.shippers.values())
        return flushed >= self._parts.settings.required

    def _turn(self) -> None:
        done, self._progress = self._progress, asyncio.get_running_loop().create_future()
        if not done.done():
            done.set_result(None)
