"""The evidence record put together: every number that a rendering shows is computed here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_drdrill.evidence import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import timedelta

    from pytest_drdrill.evidence.types import (
        CoverageRow,
        Disaster,
        DrillRecord,
        EvidenceRecord,
        Mode,
        ObjectiveRow,
        RepeatRow,
        RPORecord,
        RTORecord,
        RunRecord,
        SpreadRecord,
        TierRecord,
        Verdict,
    )
    from pytest_drdrill.objectives import RecoveryMetrics

P95_FROM = 20
"""Measurements below which a 95th percentile would be the maximum under another name."""
_WORST_FIRST: tuple[Verdict, ...] = ("failed", "not_verified", "known_broken", "passed")


def assemble(
    run: RunRecord, drills: Sequence[DrillRecord], tiers: Mapping[str, RecoveryMetrics]
) -> EvidenceRecord:
    """The whole record of a session from its drills.

    Args:
        run: the session.
        drills: every drill's record, in the order to show them.
        tiers: every known tier, strictest first.
    """
    return {
        "schema": SCHEMA,
        "run": run,
        "tiers": _tiers(drills, tiers),
        "repeats": _repeats(drills),
        "drills": list(drills),
        "plan": None,
        "coverage": _coverage(drills),
    }


def badness(drill: DrillRecord) -> int:
    """The rank of a drill's verdict, the worst first."""
    return _WORST_FIRST.index(drill["verdict"])


def percentile_95(values: Sequence[float]) -> float | None:
    """The 95th percentile by nearest rank (Hyndman and Fan 1996, definition 1).

    None below ``P95_FROM`` values.
    """
    if len(values) < P95_FROM:
        return None
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def _tiers(drills: Sequence[DrillRecord], tiers: Mapping[str, RecoveryMetrics]) -> list[TierRecord]:
    groups: dict[tuple[str | None, str], list[DrillRecord]] = {}
    for drill in drills:
        groups.setdefault((drill["tier"], drill["mode"]), []).append(drill)
    order = {name: index for index, name in enumerate(tiers)}
    modes = ("live", "local", "simulated")
    ranked = sorted(
        groups, key=lambda key: (order.get(key[0] or "", len(order)), modes.index(key[1]))
    )
    return [_tier(tier, groups[tier, mode], tiers) for tier, mode in ranked]


def _tier(
    name: str | None, drills: list[DrillRecord], tiers: Mapping[str, RecoveryMetrics]
) -> TierRecord:
    metrics = tiers.get(name) if name is not None else None
    verdicts = list(_worst_verdicts(drills).values())
    budget = None
    if metrics is not None and metrics.availability_target is not None:
        budget = metrics.calculate_downtime_budget()
    return {
        "tier": name,
        "mode": drills[0]["mode"],
        "drills": len(verdicts),
        "passed": verdicts.count("passed"),
        "failed": verdicts.count("failed"),
        "not_verified": verdicts.count("not_verified"),
        "known_broken": verdicts.count("known_broken"),
        "rto": _objective(
            metrics.rto if metrics else None,
            [drill["rto"] for drill in drills],
            unbounded=sum(_unrecovered(drill) for drill in drills),
        ),
        "rpo": _objective(
            metrics.rpo if metrics else None,
            [drill["rpo"] for drill in drills],
            unbounded=sum(drill["rpo"]["unbounded"] for drill in drills),
        ),
        "mttr_s": _seconds(metrics.mttr if metrics else None),
        "mtbf_s": _seconds(metrics.mtbf if metrics else None),
        "availability_target": metrics.availability_target if metrics else None,
        "expected_availability": metrics.expected_availability if metrics else None,
        "mttr_for_target_s": _seconds(metrics.mttr_for_target if metrics else None),
        "downtime_budget_s": _seconds(budget),
        "rto_exceeds_budget": None if budget is None or metrics is None else metrics.rto > budget,
    }


def _objective(
    target: timedelta | None, found: Sequence[RTORecord | RPORecord], *, unbounded: int
) -> ObjectiveRow:
    measured = [each["actual_s"] for each in found if each["actual_s"] is not None]
    target_s = _seconds(target)
    missed = max(_own_missed(found, target_s), default=None)
    return {
        "target_s": target_s,
        "worst_s": max(measured, default=None),
        "p95_s": _bounded(percentile_95([*measured, *[math.inf] * unbounded])),
        "measured": len(measured),
        "unbounded": unbounded,
        "met": _met(found),
        "missed_s": missed and missed[0],
        "missed_target_s": missed and missed[1],
    }


def _met(found: Iterable[RTORecord | RPORecord]) -> bool | None:
    """Whether every drill that promised it showed it; a single miss decides."""
    judged = [
        each["met"]
        for each in found
        if each["met"] is not None
        or (each["target_s"] is not None and each["not_applicable"] is None)
    ]
    if False in judged:
        return False
    return True if judged and None not in judged else None


def _own_missed(
    found: Iterable[RTORecord | RPORecord], tiers_s: float | None
) -> Iterator[tuple[float, float]]:
    """Time and objective of each drill that broke a narrower promise than its tier's."""
    for each in found:
        if each["met"] is False:
            actual_s, target_s = each["actual_s"], each["target_s"]
            if actual_s is None or target_s is None or target_s == tiers_s:
                continue
            if actual_s > target_s:
                yield actual_s, target_s


def _bounded(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value


def _unrecovered(drill: DrillRecord) -> bool:
    """Whether an outage under the drill's own objective, not one of a failback's, never ended."""
    rto = drill["rto"]
    return (
        bool(rto["outages"])
        and rto["actual_s"] is None
        and any(
            outage["actual_s"] is None and outage["target_s"] == rto["target_s"]
            for outage in rto["outages"]
        )
    )


def _base(drill: DrillRecord) -> str:
    return drill["repeat"]["base"] if drill["repeat"] else drill["nodeid"]


def _worst_verdicts(drills: Iterable[DrillRecord]) -> dict[str, Verdict]:
    """One verdict for each drill, the worst of its runs."""
    worst: dict[str, Verdict] = {}
    for drill in drills:
        base, verdict = _base(drill), drill["verdict"]
        known = worst.setdefault(base, verdict)
        if known != verdict:
            worst[base] = min(known, verdict, key=_WORST_FIRST.index)
    return worst


def _repeats(drills: Sequence[DrillRecord]) -> list[RepeatRow]:
    groups: dict[str, list[DrillRecord]] = {}
    for drill in drills:
        if drill["repeat"] is not None:
            groups.setdefault(_base(drill), []).append(drill)
    if not groups:
        return []
    return [
        {
            "base": base,
            "runs": len(runs),
            "verdict": _worst_verdicts(runs)[base],
            "rto": _spread(
                [run["rto"]["actual_s"] for run in runs], unbounded=sum(map(_unrecovered, runs))
            ),
            "rpo": _spread(
                [run["rpo"]["actual_s"] for run in runs],
                unbounded=sum(run["rpo"]["unbounded"] for run in runs),
            ),
        }
        for base, runs in groups.items()
    ]


def _spread(found: Iterable[float | None], *, unbounded: int) -> SpreadRecord:
    import statistics  # only where drills are repeated

    measured = [value for value in found if value is not None]
    runs = [*measured, *[math.inf] * unbounded]
    return {
        "median_s": _bounded(statistics.median(runs)) if runs else None,
        "p95_s": _bounded(percentile_95(runs)),
        "worst_s": max(measured, default=None),
        "measured": len(measured),
        "unbounded": unbounded,
    }


def _coverage(drills: Sequence[DrillRecord]) -> list[CoverageRow]:
    groups: dict[tuple[str | None, Disaster | None, Mode], list[DrillRecord]] = {}
    for drill in drills:
        key = (drill["service"], drill["disaster"], drill["mode"])
        groups.setdefault(key, []).append(drill)
    rows: list[CoverageRow] = []
    for (service, disaster, mode), found in groups.items():
        verdicts = list(_worst_verdicts(found).values())
        rows.append(
            {
                "service": service,
                "disaster": disaster,
                "mode": mode,
                "drills": len(verdicts),
                "passed": verdicts.count("passed"),
                "failed": verdicts.count("failed"),
                "not_verified": verdicts.count("not_verified"),
                "known_broken": verdicts.count("known_broken"),
            }
        )
    return rows


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
