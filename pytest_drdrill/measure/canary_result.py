"""What a canary found, and how that is put on a drill's record."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import timedelta

    from pytest_drdrill.measure.drill import Drill

_KEYS_NAMED = 5


class CanaryResult(NamedTuple):
    """What a canary saw of a disaster, from the outside.

    Attributes:
        acknowledged: writes that the system confirmed.
        failed: writes that it refused.
        indeterminate: writes whose outcome is not known.
        skipped: writes that were due while all before them still hung, and so were never sent.
        lost: keys of acknowledged writes that were gone afterwards or had another value, in the
            order of their acknowledgement.
        holes: those of ``lost`` with a later acknowledged survivor.
        corrupted: keys read back with another value than was written, and keys of the canary's own
            kind that it never sent.
        duplicated: keys read back more than once.
        resurrected: keys of refused writes that are there all the same.
        outage: the longest outage that users saw: from the disaster to the first acknowledged write
            of the run that held; None where one did not end.
        longest_gap: the longest time from one acknowledgement to the next since the disaster; it
            begins before the disaster, and includes what was left at the end.
    """

    acknowledged: int
    failed: int
    indeterminate: int
    skipped: int
    lost: Sequence[str]
    holes: Sequence[str]
    corrupted: Sequence[str]
    duplicated: Sequence[str]
    resurrected: Sequence[str]
    outage: timedelta | None
    longest_gap: timedelta


def put_on_record(drill: Drill, name: str, result: CanaryResult) -> None:
    """Show what a canary found: a line of the timeline, figures, and what has to be mended."""
    gap = result.longest_gap.total_seconds()
    drill.metric(f"{name}: longest gap between acknowledgements", gap, "s")
    drill.metric(f"{name}: writes refused", result.failed)
    drill.event(
        f"{name} verified",
        f"{result.acknowledged} writes acknowledged, {result.failed} failed, "
        f"{result.indeterminate} indeterminate; {len(result.lost)} lost, "
        f"{len(result.holes)} of them holes; {len(result.corrupted)} corrupted, "
        f"{len(result.duplicated)} duplicated; longest gap {format_seconds(gap)}",
    )
    wrong = (
        ("came back with another value than was written", result.corrupted),
        ("came back more than once", result.duplicated),
        ("came back though their writes were refused", result.resurrected),
    )
    for what, keys in wrong:
        if keys:
            drill.finding(f"{name}: {len(keys)} keys {what}: {_named(keys)}")


def longest_gap(acknowledged: Sequence[float], since: float, until: float) -> float:
    """Seconds of the longest gap between acknowledgements that ended after ``since``.

    Args:
        acknowledged: monotonic seconds of each, in order.
        since: monotonic seconds of the disaster.
        until: monotonic seconds at which the last write was sent: what is missing up to then counts
            as well.
    """
    moments = [*acknowledged, max(until, acknowledged[-1])]
    gaps = (after - before for before, after in pairwise(moments) if after > since)
    return max(gaps, default=0.0)


def _named(keys: Iterable[str]) -> str:
    first, *others = [one_line(key, 80) for key in keys]
    named = ", ".join([first, *others[: _KEYS_NAMED - 1]])
    left = len(others) + 1 - _KEYS_NAMED
    return f"{named}, … {left} more" if left > 0 else named
