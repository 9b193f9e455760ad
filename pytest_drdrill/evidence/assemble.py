"""The evidence record put together: every number that a rendering shows is computed here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_drdrill.evidence import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta

    from pytest_drdrill.evidence.types import (
        CoverageRow,
        DrillRecord,
        EvidenceRecord,
        Mode,
        ObjectiveRow,
        RepeatRow,
        RunRecord,
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
            [drill["rto"]["actual_s"] for drill in drills],
            unbounded=sum(_unrecovered(drill) for drill in drills),
            met=[drill["rto"]["met"] for drill in drills],
        ),
        "rpo": _objective(
            metrics.rpo if metrics else None,
            [drill["rpo"]["actual_s"] for drill in drills],
            unbounded=sum(drill["rpo"]["unbounded"] for drill in drills),
            met=[drill["rpo"]["met"] for drill in drills],
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
    target: timedelta | None,
    actual: Iterable[float | None],
    *,
    unbounded: int,
    met: Sequence[bool | None],
) -> ObjectiveRow:
    measured = [value for value in actual if value is not None]
    verdict: bool | None = None
    if False in met:
        verdict = False
    elif True in met:
        verdict = True
    return {
        "target_s": _seconds(target),
        "worst_s": max(measured, default=None),
        "p95_s": percentile_95(measured),
        "measured": len(measured),
        "unbounded": unbounded,
        "met": verdict,
    }


def _unrecovered(drill: DrillRecord) -> bool:
    """Whether an outage under the drill's own objective, not one of a failback's, never ended."""
    rto = drill["rto"]
    return rto["actual_s"] is None and any(
        outage["actual_s"] is None and outage["target_s"] == rto["target_s"]
        for outage in rto["outages"]
    )


def _base(drill: DrillRecord) -> str:
    return drill["repeat"]["base"] if drill["repeat"] else drill["nodeid"]


def _worst_verdicts(drills: Iterable[DrillRecord]) -> dict[str, Verdict]:
    """One verdict for each drill, the worst of its runs."""
    worst: dict[str, Verdict] = {}
    for drill in drills:
        known = worst.get(_base(drill), "passed")
        worst[_base(drill)] = min(known, drill["verdict"], key=_WORST_FIRST.index)
    return worst


def _repeats(drills: Sequence[DrillRecord]) -> list[RepeatRow]:
    groups: dict[str, list[DrillRecord]] = {}
    for drill in drills:
        if drill["repeat"] is not None:
            groups.setdefault(_base(drill), []).append(drill)
    if not groups:
        return []
    import statistics

    rows: list[RepeatRow] = []
    for base, runs in groups.items():
        rto = [run["rto"]["actual_s"] for run in runs if run["rto"]["actual_s"] is not None]
        rpo = [run["rpo"]["actual_s"] for run in runs if run["rpo"]["actual_s"] is not None]
        rows.append(
            {
                "base": base,
                "runs": len(runs),
                "verdict": _worst_verdicts(runs)[base],
                "rto_median_s": statistics.median(rto) if rto else None,
                "rto_p95_s": percentile_95(rto),
                "rto_worst_s": max(rto, default=None),
                "rpo_median_s": statistics.median(rpo) if rpo else None,
                "rpo_p95_s": percentile_95(rpo),
                "rpo_worst_s": max(rpo, default=None),
            }
        )
    return rows


def _coverage(drills: Sequence[DrillRecord]) -> list[CoverageRow]:
    groups: dict[tuple[str | None, str | None, Mode], list[DrillRecord]] = {}
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
