"""The write ledger: which acknowledged writes came through a disaster, and which did not."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence


class LedgerLoss(NamedTuple):
    """What a ledger shows after the survivors were read back.

    Attributes:
        lost: every acknowledged key that is missing, in the order of acknowledgement.
        holes: those of ``lost`` that have a later acknowledged survivor: not a cut-off tail but
            corruption. What was acknowledged after the next disaster, as by the standby that took
            over, says nothing of that; nor is one a hole that was acknowledged between a disaster
            and the recovery, when the old primary may still have answered beside the new one.
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

    def unread(self) -> list[Hashable]:
        """Keys that were acknowledged after the survivors were last read back, and lost so far."""
        late = list(self._acknowledged)[self._covered :] if self._read_back else []
        return [key for key in late if key not in self._survivors]

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

    def loss(
        self,
        *,
        as_read: bool = False,
        disasters: Sequence[float] = (),
        recoveries: Sequence[float] = (),
    ) -> LedgerLoss:
        """Compare what was acknowledged with what survived.

        Args:
            as_read: leave out what was acknowledged after the survivors were last read back.
            disasters: monotonic seconds of each, in order.
            recoveries: monotonic seconds of the recovery from each; infinity for one that did not
                come. Those that are left out are taken to have come at once.

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
        return LedgerLoss(
            lost=lost,
            holes=find_holes(self._acknowledged, lost, disasters, recoveries),
            indeterminate=list(self._indeterminate),
            lost_at=[self._acknowledged[key] for key in lost],
            unbounded=bool(lost)
            and len(lost) == len(by_time)
            and survivors.isdisjoint(self._indeterminate),
        )


_Key = TypeVar("_Key", bound="Hashable")


def find_holes(
    acknowledged: Mapping[_Key, float],
    lost: Sequence[_Key],
    disasters: Sequence[float],
    recoveries: Sequence[float] = (),
) -> list[_Key]:
    """Those of the lost keys that have a later survivor from before the same disaster.

    None of those that were acknowledged between a disaster and the recovery from it.

    Args:
        acknowledged: monotonic seconds of each acknowledgement, of all keys.
        lost: some of them; all others survived.
        disasters: monotonic seconds of each, in order.
        recoveries: as of ``WriteLedger.loss``.
    """
    gone = set(lost)
    last_survivor: dict[int, float] = {}
    for key, at in acknowledged.items():
        if key not in gone:
            era = bisect_left(disasters, at)
            last_survivor[era] = max(at, last_survivor.get(era, at))
    holes = []
    for key in lost:
        at = acknowledged[key]
        era = bisect_left(disasters, at)
        in_outage = 0 < era <= len(recoveries) and at < recoveries[era - 1]
        if at < last_survivor.get(era, -math.inf) and not in_outage:
            holes.append(key)
    return holes
