"""Changes, and what holds them: the log that a primary writes and a secondary follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Key: TypeAlias = str | int
Value: TypeAlias = str | bytes | int | float | bool
_NUMBER_BYTES = 8


@dataclass(frozen=True, slots=True)
class Change:
    """One write: a key has a new value.

    Attributes:
        position: its sequence number; the first change of all has 1, and there are no gaps.
        epoch: of the primary that took it. Of one epoch there is but one primary, so position and
            epoch together name a change.
        key: text or a whole number.
        value: text, bytes or a number.
    """

    position: int
    epoch: int
    key: Key
    value: Value

    @property
    def size(self) -> int:
        """Bytes of its key and value: text as UTF-8, numbers as 8."""
        return _size(self.key) + _size(self.value)


class History(NamedTuple):
    """Which epochs wrote a log, and how far it goes: what it takes to compare two of them.

    Attributes:
        epochs: each epoch that wrote, with the position of its first change, in order.
        position: of the last change; 0 for an empty log.
    """

    epochs: tuple[tuple[int, int], ...] = ()
    position: int = 0

    @property
    def last(self) -> tuple[int, int]:
        """Epoch and position of the last change: of two logs the greater one is more advanced."""
        return (self.epochs[-1][0] if self.epochs else 0, self.position)

    def common(self, other: History) -> int:
        """The position up to which two logs hold the same changes.

        As PostgreSQL compares the timelines of a server and of the one that it is to follow.
        """
        shared = 0
        for place, ours in enumerate(self.epochs):
            if place >= len(other.epochs) or other.epochs[place] != ours:
                break
            shared = min(self._end(place), other._end(place))
        return shared

    def holds(self, change: Change) -> bool:
        """Whether a log of this history has a change, rather than another one in its place."""
        if change.position > self.position:
            return False
        wrote = 0
        for epoch, first in self.epochs:
            if first > change.position:
                break
            wrote = epoch
        return wrote == change.epoch

    def _end(self, place: int) -> int:
        after = place + 1
        return self.epochs[after][1] - 1 if after < len(self.epochs) else self.position

    def extended(self, changes: Sequence[Change]) -> History:
        """The history of this log with further changes, at least one, behind its last one."""
        epochs = self.epochs
        for change in changes:
            if not epochs or epochs[-1][0] != change.epoch:
                epochs = (*epochs, (change.epoch, change.position))
        return History(epochs, changes[-1].position)

    def cut(self, position: int) -> History:
        """The history of this log up to a position."""
        return History(tuple(each for each in self.epochs if each[1] <= position), position)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a store holds at one position, without the changes that led there.

    Attributes:
        history: of the log up to that position.
        items: each key with its value.
    """

    history: History
    items: Mapping[Key, Value]


class ChangeLog(Protocol):
    """The log of a region, as whoever replicates from it sees it.

    Calls are synchronous and durable when they return: between a check and the write that it
    allows, nothing else can come. One that can't be stored raises ``OSError``, and changes nothing.
    """

    @property
    def epoch(self) -> int:
        """The highest epoch promised to anybody; 0 before the first."""
        ...

    @property
    def history(self) -> History:
        """Which epochs wrote it, and its last position."""
        ...

    @property
    def oldest(self) -> int:
        """The position before the oldest change that it still has; what is older is a snapshot."""
        ...

    def append(self, key: Key, value: Value) -> Change:
        """Write a change of the promised epoch, at the next position."""
        ...

    def changes(self, after: int, limit: int | None = None) -> Sequence[Change]:
        """The changes after a position, at most so many.

        Raises:
            DivergedError: the log no longer reaches back so far.
        """
        ...

    def snapshot(self) -> Snapshot:
        """All that it holds now."""
        ...


class ChangeSink(Protocol):
    """The log of a region, as whoever replicates into it sees it. Synchronous, as ``ChangeLog``."""

    def promise(self, epoch: int) -> None:
        """Refuse from now on, restarts included, whatever comes of an earlier epoch.

        Raises:
            StaleEpochError: a later one is promised already.
        """
        ...

    def apply(self, changes: Sequence[Change]) -> int:
        """Take changes, in order; those that it has already are skipped. Returns its position.

        Raises:
            DivergedError: the changes begin after the next position.
        """
        ...

    def rewind(self, position: int) -> Sequence[Change]:
        """Take back every change after a position; returns them.

        Raises:
            DivergedError: the log no longer reaches back so far.
        """
        ...

    def load(self, snapshot: Snapshot) -> None:
        """Hold what a snapshot holds, in place of everything else."""
        ...


class ChangeStore(ChangeLog, ChangeSink, Protocol):
    """What each region has: any of them may be the primary, so it is both, and can be read."""

    def get(self, key: Key) -> Value | None:
        """The value of a key; None where there is none."""
        ...

    def keys(self) -> list[Key]:
        """Every key, in the order in which they were first written."""
        ...


def checked_key(key: object) -> Key:
    """A key that every store can hold.

    Raises:
        TypeError: neither text nor a whole number.
    """
    if type(key) is not int and not isinstance(key, str):
        raise TypeError(f"a key must be text or a whole number, not {key!r:.80}")
    return key


def checked_value(value: object) -> Value:
    """A value that every store can hold.

    Raises:
        TypeError: neither text nor bytes nor a number.
    """
    if not isinstance(value, str | bytes | int | float):
        raise TypeError(f"a value must be text, bytes or a number, not {value!r:.80}")
    return value


def checked_retention(retain: object) -> int:
    """How many changes a log keeps.

    Raises:
        TypeError: no whole number.
        ValueError: below one.
    """
    if type(retain) is not int:
        raise TypeError(f"retain must be a whole number of changes, not {retain!r:.80}")
    if retain < 1:
        raise ValueError(f"retain must be at least 1, not {retain}")
    return retain


def out_of_reach(position: int, oldest: int) -> str:
    """What a store says that no longer has the changes after a position."""
    return f"the log reaches back to position {oldest} only, not to {position}"


def gap(first: int, position: int) -> str:
    """What a store says of changes that it can't take yet."""
    return f"changes from position {first} on can't follow position {position}"


def _size(value: Value) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    return len(value) if isinstance(value, bytes) else _NUMBER_BYTES
