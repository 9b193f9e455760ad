"""The write ledger: which acknowledged writes came through a disaster, and which did not."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence


class LedgerLoss(NamedTuple):
    """What a ledger shows after the survivors were read back.

    Attributes:
        lost: every acknowledged key that is missing, in the order of acknowledgement.
        holes: those of ``lost`` with a survivor that was acknowledged later and before the same
            disaster: not a cut-off tail but corruption.
        indeterminate: keys whose answer never came: neither lost nor safe.
        lost_at: monotonic seconds of each acknowledgement in ``lost``, never falling.
        unbounded: there were acknowledged writes, and no key of the ledger survived.
    """

    lost: Sequence[Hashable]
    holes: Sequence[Hashable]
    indeterminate: Sequence[Hashable]
    lost_at: Sequence[float]
    unbounded: bool

    def seconds_lost(self, *disasters: float) -> float | None:
        """The measured loss: max(disaster, last lost ack) - first lost ack; 0 when nothing is lost.

        With several disasters each lost write belongs to the first one after it, those after the
        last to that one, and the longest of their losses counts. None when the loss has no bound.

        Args:
            disasters: monotonic seconds of each, in order; at least one.
        """
        if self.unbounded:
            return None
        longest, before = 0.0, -math.inf
        for struck in disasters:
            end = math.inf if struck == disasters[-1] else struck
            its_own = [at for at in self.lost_at if before < at <= end]
            if its_own:
                longest = max(longest, max(struck, its_own[-1]) - its_own[0])
            before = struck
        return longest


class WriteLedger:
    """Three states for each write: acknowledged, indeterminate, or never heard of.

    Keys are any hashable values that identify a write. A key acknowledged more than once keeps its
    first moment; one that was indeterminate and is acknowledged later counts as acknowledged.
    """

    __slots__ = ("_acknowledged", "_covered", "_indeterminate", "_read_back", "_survivors")

    def __init__(self) -> None:
        self._acknowledged: dict[Hashable, float] = {}
        self._indeterminate: dict[Hashable, None] = {}
        self._survivors: set[Hashable] = set()
        self._read_back = False
        self._covered = 0  # writes acknowledged when survivors were last read back

    def acknowledged(self, key: Hashable, at: float) -> None:
        """The system confirmed this write at ``at`` (monotonic seconds)."""
        self._acknowledged.setdefault(key, at)
        self._indeterminate.pop(key, None)

    def indeterminate(self, key: Hashable) -> None:
        """The answer to this write never came: it may or may not be there."""
        if key not in self._acknowledged:
            self._indeterminate[key] = None

    def survived(self, keys: Iterable[Hashable], *, afresh: bool = False) -> None:
        """These keys were read back after the recovery; several calls add up.

        Args:
            keys: what was found.
            afresh: a new reading, which replaces the earlier one: what was there before the latest
                disaster need not be there since.

        Raises:
            TypeError: a single text, which would be taken for its letters.
        """
        __tracebackhide__ = True
        if isinstance(keys, str | bytes):
            raise TypeError(f"survived() takes a collection of keys, not one text: {keys!r:.80}")
        if afresh:
            self._survivors.clear()
        self._survivors.update(keys)
        self._read_back = True
        self._covered = len(self._acknowledged)

    @property
    def count(self) -> int:
        """How many writes were acknowledged."""
        return len(self._acknowledged)

    def first_at(self) -> float:
        """Monotonic seconds of the first acknowledgement.

        Raises:
            ValueError: nothing was acknowledged.
        """
        return min(self._acknowledged.values())

    def last_at(self) -> float:
        """Monotonic seconds of the last acknowledgement.

        Raises:
            ValueError: nothing was acknowledged.
        """
        return max(self._acknowledged.values())

    @property
    def used(self) -> bool:
        """Whether anything at all was entered."""
        return bool(self._acknowledged or self._indeterminate or self._read_back)

    def unknown(self) -> str | None:
        """Why this ledger says nothing of a loss, or None when it does."""
        if not self._acknowledged:
            return "no write was acknowledged"
        if not self._read_back:
            return "the survivors were never read back: call rpo_timer.survived(keys)"
        return None

    def loss(self, *disasters: float, as_read: bool = False) -> LedgerLoss:
        """Compare what was acknowledged with what survived.

        Args:
            disasters: monotonic seconds of each, in order. What is acknowledged after one of them
                says nothing of what it cut off.
            as_read: leave out what was acknowledged after the survivors were last read back.

        Raises:
            ValueError: the ledger says nothing; the message says why (see ``unknown``).
        """
        if reason := self.unknown():
            raise ValueError(reason)
        # By moment, not by entry: writers that run concurrently report a little out of order.
        counted = list(self._acknowledged)[: self._covered if as_read else None]
        by_time = sorted(counted, key=self._acknowledged.__getitem__)
        survivors = self._survivors
        lost = [key for key in by_time if key not in survivors]
        survived = sorted(at for key, at in self._acknowledged.items() if key in survivors)
        holes = [key for key in lost if _is_followed(self._acknowledged[key], survived, disasters)]
        return LedgerLoss(
            lost=lost,
            holes=holes,
            indeterminate=list(self._indeterminate),
            lost_at=[self._acknowledged[key] for key in lost],
            unbounded=bool(lost)
            and len(lost) == len(by_time)
            and survivors.isdisjoint(self._indeterminate),
        )


def _is_followed(at: float, survived: Sequence[float], disasters: Sequence[float]) -> bool:
    """Whether a later write survived that was acknowledged before the same disaster."""
    struck = bisect_left(disasters, at)
    end = disasters[struck] if struck < len(disasters) else math.inf
    later = bisect_right(survived, at)
    return later < len(survived) and survived[later] <= end
