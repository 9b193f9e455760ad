"""One drill's measurements as plain evidence."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from pytest_drdrill.measure.judge import (
    assumed_time,
    blind,
    fault_missed,
    hold_missing,
    outage_target,
)
from pytest_drdrill.text import NAME_LIMIT, storable

if TYPE_CHECKING:
    from datetime import timedelta

    from pytest_drdrill.evidence.types import Measured, OutageRecord, RPORecord, RTORecord
    from pytest_drdrill.measure.drill import Drill
    from pytest_drdrill.measure.outage import Outage
    from pytest_drdrill.objectives import Objectives

LOST_KEYS_KEPT = 100
"""How many lost keys the record names; it always counts them all."""


def measured(drill: Drill) -> Measured:
    """What a drill has measured and noted up to now."""
    return {
        "rto": _rto(drill),
        "rpo": _rpo(drill),
        "timeline": drill.timeline.events(),
        "steps": list(drill.steps),
        "metrics": list(drill.metrics),
        "notes": list(drill.notes),
        "findings": list(drill.findings),
        "participants": list(drill.participants),
    }


def nothing_measured(objectives: Objectives) -> Measured:
    """The measurements of a drill that never got to measure; shared, so never to be changed."""
    return _nothing(_seconds(objectives.rto), _seconds(objectives.rpo))


def called_off(found: Measured) -> Measured:
    """The measurements of a drill that was called off as not verified: they claim nothing.

    It neither kept a promise nor broke one: an outage that was open then did not fail to recover,
    and writes that were not read back are not lost. The timeline still tells what it did.
    """
    rto, rpo = found["rto"], found["rpo"]
    ended = [outage for outage in rto["outages"] if outage["actual_s"] is not None]
    claimed: RTORecord = {**rto, "outages": ended, "actual_s": None, "met": None}
    claimed["resolution_s"] = None
    lost: RPORecord = {**rpo, "actual_s": None, "basis": None, "met": None, "unbounded": False}
    lost |= {"lost": 0, "holes": 0, "lost_keys": []}
    return {**found, "rto": claimed, "rpo": lost}


@lru_cache
def _nothing(rto_s: float | None, rpo_s: float | None) -> Measured:
    rpo: RPORecord = {
        "target_s": rpo_s,
        "actual_s": None,
        "basis": None,
        "acknowledged": 0,
        "lost": 0,
        "holes": 0,
        "indeterminate": 0,
        "lost_keys": [],
        "unbounded": False,
        "met": None,
        "not_applicable": None,
    }
    return {
        "rto": _no_outage(rto_s, None),
        "rpo": rpo,
        "timeline": [],
        "steps": [],
        "metrics": [],
        "notes": [],
        "findings": [],
        "participants": [],
    }


def _no_outage(target_s: float | None, not_applicable: str | None) -> RTORecord:
    return {
        "target_s": target_s,
        "actual_s": None,
        "assumed": [],
        "resolution_s": None,
        "met": None,
        "not_applicable": not_applicable,
        "outages": [],
    }


def _rto(drill: Drill) -> RTORecord:
    timer, objectives = drill.rto, drill.objectives
    if not timer.outages and not timer.assumed:
        return _no_outage(_seconds(objectives.rto), timer.reason_not_applicable)
    assumed = assumed_time(timer)
    outages = [_outage(drill, outage, assumed) for outage in timer.outages]
    # An outage with an objective of its own, as a failback, is no measurement of the drill's.
    own = [
        (outage, record)
        for outage, record in zip(timer.outages, outages, strict=True)
        if outage.target is None
    ]
    recovered = [record for _, record in own if record["actual_s"] is not None]
    worst = max(recovered, key=lambda record: record["actual_s"] or 0.0, default=None)
    actual = None
    unsure = any(_unsure(outage, objectives) for outage, _ in own)
    if worst is not None and len(recovered) == len(own) and not unsure:
        actual = round((worst["actual_s"] or 0.0) + assumed.total_seconds(), 6)
    judged = [record["met"] for record in outages]
    if False in judged:
        met: bool | None = False
    else:
        met = True if own and None not in judged else None
    return {
        "target_s": _seconds(objectives.rto),
        "actual_s": actual,
        "assumed": [
            {"what": what, "seconds": span.total_seconds()} for what, span in timer.assumed
        ],
        "resolution_s": worst["resolution_s"] if worst and actual is not None else None,
        "met": met,
        "not_applicable": timer.reason_not_applicable,
        "outages": outages,
    }


def _unsure(outage: Outage, objectives: Objectives) -> bool:
    """Whether what was measured of an outage shows nothing."""
    unheld = outage.target is None and hold_missing(outage, objectives)
    is_real = bool(outage.real_work)
    return fault_missed(outage) or unheld or is_real or blind(outage, objectives)


def _outage(drill: Drill, outage: Outage, assumed: timedelta) -> OutageRecord:
    objectives = drill.objectives
    target, actual = outage_target(outage, objectives), outage.actual
    met: bool | None = None
    if target is not None:
        if actual is None or actual + assumed > target:
            met = False
        elif not _unsure(outage, objectives):
            met = True
    detected = None
    if outage.detected_at is not None:
        detected = round(outage.detected_at - outage.disaster.at, 6)
    return {
        "name": outage.name,
        "at_s": drill.timeline.since_start(outage.disaster.at),
        "detected_s": detected,
        "actual_s": _seconds(actual),
        "resolution_s": None if outage.resolution is None else round(outage.resolution, 6),
        "held_s": None if outage.held is None else round(outage.held, 6),
        "down_seen": outage.down_seen,
        "expect_downtime": outage.expect_downtime,
        "target_s": _seconds(target),
        "met": met,
    }


def _rpo(drill: Drill) -> RPORecord:
    timer, target = drill.rpo, drill.objectives.rpo
    loss, found = timer.measured(), timer.ledger_loss()
    lost = timer.lost
    met = None
    if loss is not None and target is not None:
        met = loss.actual is not None and loss.actual <= target
        met = met and not (not target and (lost or timer.weaknesses))
    return {
        "target_s": _seconds(target),
        "actual_s": _seconds(loss.actual) if loss else None,
        "basis": loss.basis if loss else None,
        "acknowledged": timer.ledger.count,
        "lost": len(lost),
        "holes": len(timer.holes),
        "indeterminate": len(found.indeterminate) if found else 0,
        "lost_keys": [storable(key, NAME_LIMIT) for key in lost[:LOST_KEYS_KEPT]],
        "unbounded": loss is not None and loss.actual is None,
        "met": met,
        "not_applicable": timer.reason_not_applicable,
    }


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
