"""What a canary found, and how that is put on a drill's record."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.measure.ledger import find_holes
from pytest_drdrill.text import named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_drdrill.measure.client_watch import ClientWatch
    from pytest_drdrill.measure.drill import Drill
    from pytest_drdrill.measure.read_back import ReadBack
    from pytest_drdrill.measure.reader import Reader
    from pytest_drdrill.measure.timeline import Timeline
    from pytest_drdrill.measure.write_stream import WriteStream


class ReadersView(NamedTuple):
    """What readers saw of a disaster, where the canary was given ``read``.

    Attributes:
        served: reads that were answered.
        failed: reads that raised, or had no answer in time.
        missing: those of ``served`` that found no value, as in a copy that lags.
        misread: keys that were read with another value than was written.
        outage: the longest outage that they saw, from the disaster to the first answer of the run
            that held; zero where no read failed, however slow it was; None where one did not end
            while the canary watched.
    """

    served: int
    failed: int
    missing: int
    misread: Sequence[str]
    outage: timedelta | None


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
        standstill: the longest time for which the event loop stood still, as while the drill calls
            what blocks it: no span that the canary measured is finer than that. Zero where it kept
            time, to within the interval.
        readers: what readers saw, or None where nothing was read meanwhile.
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
    standstill: timedelta
    readers: ReadersView | None = None


def result_of(  # noqa: PLR0913 - all that a canary knows
    stream: WriteStream,
    back: ReadBack,
    watch: ClientWatch,
    reader: Reader | None,
    *,
    timeline: Timeline,
    halted_at: float,
    standstill: float,
) -> CanaryResult:
    """What a canary found that has ended.

    Args:
        stream: what it wrote.
        back: what was read back.
        watch: its outages, at least one.
        reader: what it read meanwhile, or None.
        timeline: of the drill, with its outages.
        halted_at: monotonic seconds at which it sent the last write.
        standstill: seconds for which its loop stood still at the longest.
    """
    moments, survived = stream.acknowledged, set(back.survived)
    disasters = [each.at for each in timeline.disasters]
    lost = [key for key in moments if key not in survived]
    struck = watch.outages[0].outage.disaster.at
    gap = longest_gap(sorted(moments.values()), struck, halted_at)
    return CanaryResult(
        acknowledged=len(moments),
        failed=len(stream.failed),
        indeterminate=len(stream.indeterminate),
        skipped=stream.skipped,
        lost=lost,
        holes=find_holes(moments, lost, disasters, timeline.recoveries),
        corrupted=back.corrupted,
        duplicated=back.duplicated,
        resurrected=[key for key in back.survived if key in stream.failed],
        outage=_span(watch.longest()),
        longest_gap=timedelta(seconds=gap),
        standstill=timedelta(seconds=standstill),
        readers=None if reader is None else _readers_view(reader),
    )


def _span(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def put_on_record(drill: Drill, name: str, result: CanaryResult) -> None:
    """Show what a canary found: a line of the timeline, figures, and what has to be mended."""
    gap = result.longest_gap.total_seconds()
    drill.metric(f"{name}: longest gap between acknowledgements", gap, "s")
    drill.metric(f"{name}: writes refused", result.failed)
    if result.standstill:
        seconds = result.standstill.total_seconds()
        drill.metric(f"{name}: longest standstill of the event loop", seconds, "s")
    drill.event(
        f"{name} verified",
        f"{result.acknowledged} writes acknowledged, {result.failed} failed, "
        f"{result.indeterminate} indeterminate; {len(result.lost)} lost, "
        f"{len(result.holes)} of them holes; {len(result.corrupted)} corrupted, "
        f"{len(result.duplicated)} duplicated; longest gap {format_seconds(gap)}",
    )
    misread: Sequence[str] = ()
    if result.readers is not None:
        misread = result.readers.misread
        _put_reads_on_record(drill, name, result.readers)
    wrong = (
        ("were read with another value than was written", misread),
        ("came back with another value than was written", result.corrupted),
        ("came back more than once", result.duplicated),
        ("came back though their writes were refused", result.resurrected),
    )
    for what, keys in wrong:
        if keys:
            drill.finding(f"{name}: {len(keys)} keys {what}: {named(keys)}")


def _put_reads_on_record(drill: Drill, name: str, seen: ReadersView) -> None:
    took = "did not end"
    if seen.outage is not None:
        seconds = seen.outage.total_seconds()
        took = f"lasted {format_seconds(seconds)}"
        drill.metric(f"{name}: outage that readers saw", seconds, "s")
    drill.metric(f"{name}: reads failed", seen.failed)
    drill.event(
        f"{name} read",
        f"{seen.served} reads served, {seen.missing} of which found nothing, {seen.failed} failed; "
        f"{len(seen.misread)} keys with another value; the outage that readers saw {took}",
    )


def _readers_view(reader: Reader) -> ReadersView:
    return ReadersView(
        served=reader.served,
        failed=reader.failed,
        missing=reader.missing,
        misread=list(reader.misread),
        outage=_span(reader.outages.longest()),
    )


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
