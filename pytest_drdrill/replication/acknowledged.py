"""What was acknowledged, so that a change of the primary can say which of it is lost."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from pytest_drdrill.replication.changes import History

if TYPE_CHECKING:
    from pytest_drdrill.replication.changes import Change

_ROOM = 64 * 1024 * 1024
_OVERHEAD = 200
"""Bytes of a change beside its key and value."""


class Loss(NamedTuple):
    """Acknowledged writes that a log lacks.

    Attributes:
        changes: those that are still known, in order.
        unlisted: positions besides, whose changes are no longer kept.
    """

    changes: tuple[Change, ...] = ()
    unlisted: int = 0


class AcknowledgedWrites:
    """The acknowledged writes that a primary's log holds, from one epoch to the next.

    A region may lose what it has said that it flushed. So those that every other region is known to
    have are kept too, as far back as there is room; of older ones the position is all that is left.

    Args:
        room: bytes that they may take. Those that another region may lack take more if they must.
    """

    def __init__(self, room: int = _ROOM) -> None:
        self._room = room
        self._taken = 0
        self._changes: deque[Change] = deque()
        self._forgotten = History()  # of the log up to the last change that is not kept

    @property
    def last(self) -> int:
        """The position of the last one; 0 before the first."""
        return self._changes[-1].position if self._changes else 0

    def add(self, change: Change, safe: int, history: History) -> None:
        """Keep one more.

        Args:
            change: the write.
            safe: the position up to which every other region is known to have all.
            history: of the primary's log, which holds the write.
        """
        self._changes.append(change)
        self._taken += change.size + _OVERHEAD
        gone = 0
        while self._taken > self._room and self._changes[0].position <= safe:
            old = self._changes.popleft()
            self._taken -= old.size + _OVERHEAD
            gone = max(gone, old.position)
        if gone > self._forgotten.position:
            self._forgotten = history.cut(gone)

    def part_with(self, history: History) -> Loss:
        """Keep what a log of another history holds; returns the rest, which is not told again."""
        known = sorted(self._changes, key=lambda change: change.position)
        lost = tuple(change for change in known if not history.holds(change))
        shared = self._forgotten.common(history)
        unlisted = self._forgotten.position - shared
        self._changes = deque(change for change in known if history.holds(change))
        self._taken -= sum(change.size + _OVERHEAD for change in lost)
        self._forgotten = self._forgotten.cut(shared)
        return Loss(lost, unlisted)
