"""What every store knows of its log, and refuses by that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.replication.changes import Change, History, gap, out_of_reach
from pytest_drdrill.replication.errors import DivergedError, StaleEpochError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_drdrill.replication.changes import Key, Value


class LogState:
    """The promised epoch, the history, and how far back a log reaches; a store keeps them so."""

    _epoch = 0
    _history = History()
    _oldest = 0

    @property
    def epoch(self) -> int:
        """The highest epoch promised to anybody; 0 before the first."""
        return self._epoch

    @property
    def history(self) -> History:
        """Which epochs wrote it, and its last position."""
        return self._history

    @property
    def oldest(self) -> int:
        """The position before the oldest change that it still has."""
        return self._oldest

    def _check_promise(self, epoch: int) -> None:
        if epoch < self._epoch:
            raise StaleEpochError(f"epoch {epoch} is over; epoch {self._epoch} is promised")

    def _check_reach(self, position: int) -> None:
        if position < self._oldest:
            raise DivergedError(out_of_reach(position, self._oldest))

    def _next(self, key: Key, value: Value) -> Change:
        """A change of the promised epoch, at the next position."""
        return Change(self._history.position + 1, self._epoch, key, value)

    def _fresh(self, changes: Sequence[Change]) -> list[Change]:
        """Those of some changes, in order, that it has not; none may be missing before them."""
        position = self._history.position
        if changes and changes[0].position > position + 1:
            raise DivergedError(gap(changes[0].position, position))
        return [change for change in changes if change.position > position]
