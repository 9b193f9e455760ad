"""A change store in memory, for the simulated world and for tests."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pytest_drdrill.replication.changes import (
    Change,
    Key,
    Snapshot,
    Value,
    checked_retention,
)
from pytest_drdrill.replication.state import LogState

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_RETAIN = 100_000


class MemoryStore(LogState):
    """A log of changes and what they amount to, in memory; a ``ChangeStore``.

    Args:
        retain: changes that its log keeps at least; of older ones it knows the outcome alone, and
            who is further behind takes a snapshot.

    Raises:
        TypeError: ``retain`` is no whole number.
        ValueError: it is below one.
    """

    def __init__(self, retain: int = DEFAULT_RETAIN) -> None:
        self._retain = checked_retention(retain)
        self._base: dict[Key, Value] = {}
        self._log: list[Change] = []
        self._items: dict[Key, Value] = {}

    def promise(self, epoch: int) -> None:
        """Refuse from now on whatever comes of an earlier epoch.

        Raises:
            StaleEpochError: a later one is promised already.
        """
        self._check_promise(epoch)
        self._epoch = epoch

    def append(self, key: Key, value: Value) -> Change:
        """Write a change of the promised epoch, at the next position."""
        change = self._next(key, value)
        self._take([change])
        return change

    def apply(self, changes: Sequence[Change]) -> int:
        """Take changes, in order; those that it has already are skipped. Returns its position.

        Raises:
            DivergedError: the changes begin after the next position.
        """
        if fresh := self._fresh(changes):
            self._take(fresh)
        return self._history.position

    def changes(self, after: int, limit: int | None = None) -> Sequence[Change]:
        """The changes after a position, at most so many.

        Raises:
            DivergedError: the log no longer reaches back so far.
        """
        skipped = self._index(after)
        return self._log[skipped : None if limit is None else skipped + limit]

    def rewind(self, position: int) -> Sequence[Change]:
        """Take back every change after a position; returns them.

        Raises:
            DivergedError: the log no longer reaches back so far.
        """
        kept = self._index(position)
        gone = self._log[kept:]
        if gone:
            del self._log[kept:]
            self._history = self._history.cut(position)
            self._items = self._base | {change.key: change.value for change in self._log}
        return gone

    def snapshot(self) -> Snapshot:
        """All that it holds now."""
        return Snapshot(self._history, dict(self._items))

    def load(self, snapshot: Snapshot) -> None:
        """Hold what a snapshot holds, in place of everything else."""
        self._history = snapshot.history
        self._oldest = snapshot.history.position
        self._log = []
        self._base = dict(snapshot.items)
        self._items = dict(snapshot.items)

    def get(self, key: Key) -> Value | None:
        """The value of a key; None where there is none."""
        return self._items.get(key)

    def keys(self) -> list[Key]:
        """Every key, in the order in which they were first written."""
        return list(self._items)

    def _take(self, changes: Sequence[Change]) -> None:
        self._history = self._history.extended(changes)
        self._log += changes
        self._items.update((change.key, change.value) for change in changes)
        self._trim()

    def _index(self, position: int) -> int:
        self._check_reach(position)
        return position - self._oldest

    def _trim(self) -> None:
        # Twice as many are let grow, so that a change costs no move of all the others.
        if len(self._log) < 2 * self._retain:
            return
        surplus = len(self._log) - self._retain
        for change in islice(self._log, surplus):
            self._base[change.key] = change.value
        del self._log[:surplus]
        self._oldest += surplus
