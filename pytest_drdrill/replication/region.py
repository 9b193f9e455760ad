"""One region: where its part of a service lives, and the rules by which it takes changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.replication.errors import StaleEpochError, WriteRefusedError
from pytest_drdrill.replication.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.replication.changes import (
        Change,
        ChangeStore,
        History,
        Key,
        Snapshot,
        Value,
    )


class Region:
    """A region with a copy of the data.

    Args:
        name: what events, messages and the report call it; unique within a replication.
        endpoint: where its clients find it, an address for readers.
        is_primary: whether it is the one that takes writes, to begin with.
        store: its copy of the data; by default one in memory.
        clock: its own clock, by which it counts how long its lease lasts; None: that of whoever
            promotes.

    Attributes:
        name: as given.
        endpoint: as given.
        is_primary: whether it takes the writes now, as whoever promotes knows it.
        store: as given.
        clock: as given.

    Raises:
        TypeError: a name or an endpoint that is no text.
        ValueError: an empty name.
    """

    def __init__(
        self,
        name: str,
        endpoint: str = "",
        is_primary: bool = False,
        *,
        store: ChangeStore | None = None,
        clock: Clock | None = None,
    ) -> None:
        for attribute, value in (("name", name), ("endpoint", endpoint)):
            if not isinstance(value, str):
                raise TypeError(f"{attribute} of a region must be text, not {value!r:.80}")
        if not name.strip():
            raise ValueError("a region needs a name")
        self.name = name
        self.endpoint = endpoint
        self.is_primary = is_primary
        self.store: ChangeStore = MemoryStore() if store is None else store
        self.clock = clock

    def __repr__(self) -> str:
        return f"<Region {self.name!r}{', primary' if self.is_primary else ''}>"


class Replica:
    """What a region does by itself, whatever others believe of it.

    It takes writes as a primary only of the epoch that it has promised last, and only while its
    lease lasts: so whoever waits until the lease is over, or has it promise a later epoch, knows
    that it takes none any more. The lease is the fencing that works on a region that nobody
    reaches.

    Args:
        region: the region.
    """

    __slots__ = ("_leading", "_lease_until", "region")

    def __init__(self, region: Region) -> None:
        self.region = region
        self._leading = 0  # the epoch in which it is the primary; 0: in none
        self._lease_until = 0.0

    @property
    def name(self) -> str:
        """The region's name."""
        return self.region.name

    @property
    def store(self) -> ChangeStore:
        """The region's copy of the data."""
        return self.region.store

    # As a primary.

    def lead(self, epoch: int, until: float, now: float = 0.0) -> None:
        """Take writes in an epoch, until a moment of the clock.

        Args:
            epoch: the epoch.
            until: the moment.
            now: the current one; one with a clock of its own counts by that what is left.

        Raises:
            StaleEpochError: a later epoch is promised.
        """
        self.store.promise(epoch)
        clock = self.region.clock
        self._leading = epoch
        self._lease_until = until if clock is None else clock.monotonic() + until - now

    def check(self, epoch: int, now: float) -> None:
        """Make sure that it may take, or acknowledge, a write of an epoch.

        Raises:
            WriteRefusedError: it is fenced, or its lease is over.
        """
        promised = self.store.epoch
        if not epoch or self._leading != epoch or promised != epoch:
            raise WriteRefusedError(
                f"{self.name} is fenced: it led epoch {epoch}, and has promised {promised}"
                if epoch
                else f"{self.name} takes no writes: it is not the primary"
            )
        clock = self.region.clock
        over = (now if clock is None else clock.monotonic()) - self._lease_until
        if over >= 0:
            ago = format_seconds(over)
            raise WriteRefusedError(f"{self.name} takes no writes: its lease ended {ago} ago")

    def accept(self, key: Key, value: Value, now: float) -> Change:
        """Take a write.

        Raises:
            WriteRefusedError: it is not the primary, is fenced, or its lease is over.
        """
        self.check(self._leading, now)
        return self.store.append(key, value)

    def read(self, now: float) -> ChangeStore:
        """Its copy, as the primary's: what is read there is the latest.

        Raises:
            WriteRefusedError: it is not the primary, is fenced, or its lease is over.
        """
        self.check(self._leading, now)
        return self.store

    # As a secondary.

    def promise(self, epoch: int) -> History:
        """Obey no earlier epoch from now on; returns how far its copy goes.

        Raises:
            StaleEpochError: a later one is promised.
        """
        self.store.promise(epoch)
        if self._leading < epoch:
            self._leading = 0
        return self.store.history

    def receive(self, epoch: int, changes: Sequence[Change]) -> int:
        """Take changes that the primary of an epoch sends; returns how far its copy goes.

        Raises:
            StaleEpochError: that epoch is over.
            DivergedError: they do not follow what it has.
        """
        self._check_epoch(epoch)
        return self.store.apply(changes)

    def rewind(self, epoch: int, position: int) -> Sequence[Change]:
        """Take back what the primary of an epoch does not have; returns it.

        Raises:
            StaleEpochError: that epoch is over.
            DivergedError: its log does not reach back so far.
        """
        self._check_epoch(epoch)
        return self.store.rewind(position)

    def load(self, epoch: int, snapshot: Snapshot) -> None:
        """Hold what the primary of an epoch holds, in place of everything else.

        Raises:
            StaleEpochError: that epoch is over.
        """
        self._check_epoch(epoch)
        self.store.load(snapshot)

    def _check_epoch(self, epoch: int) -> None:
        promised = self.store.epoch
        if epoch != promised:
            raise StaleEpochError(
                f"{self.name} has promised epoch {promised} and takes nothing of epoch {epoch}"
            )
