"""A drill's record, from its promise and what is known of its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.evidence.measured import nothing_measured
from pytest_drdrill.text import storable

if TYPE_CHECKING:
    from datetime import datetime

    from pytest_drdrill.evidence.types import (
        AttemptRecord,
        DrillRecord,
        LiveRecord,
        Measured,
        RepeatRecord,
        Verdict,
    )
    from pytest_drdrill.session.promise import Promise


def base_record(  # noqa: PLR0913 - what is known of a run, by keyword
    nodeid: str,
    promise: Promise,
    *,
    repeat: RepeatRecord | None,
    verdict: Verdict,
    reason: str | None = None,
    error: str | None = None,
    started: str | None = None,
    finished: str | None = None,
    duration_s: float | None = None,
    found: Measured | None = None,
) -> DrillRecord:
    """A drill's record from its promise and whatever is known of its run."""
    objectives = promise.objectives
    found = found or nothing_measured(objectives)
    return {
        "nodeid": storable(nodeid),
        "service": promise.service,
        "tier": objectives.tier,
        "disaster": promise.disaster,
        "kinds": list(promise.kinds),
        "mode": "live" if promise.live else "simulated" if promise.simulated else "local",
        "runbook": promise.runbook,
        "cadence_s": None if promise.cadence is None else promise.cadence.total_seconds(),
        "repeat": repeat,
        "started": started,
        "finished": finished,
        "duration_s": duration_s,
        "verdict": verdict,
        "reason": reason,
        "error": error,
        "attempts": [],
        "live": _live(promise),
        "rto": found["rto"],
        "rpo": found["rpo"],
        "timeline": found["timeline"],
        "steps": found["steps"],
        "metrics": found["metrics"],
        "notes": found["notes"],
        "findings": found["findings"],
        "participants": found["participants"],
    }


def _live(promise: Promise) -> LiveRecord | None:
    if not promise.live:
        return None
    limit = promise.max_outage
    return {
        "targets": [
            {"address": each.name, "breaks": each.breaks, "undone_by": each.undone_by}
            for each in promise.targets
        ],
        "max_outage_s": None if limit is None else limit.total_seconds(),
        "aborted_after_s": None,
    }


def attempt(record: DrillRecord) -> AttemptRecord:
    """What stays of an attempt that was rerun."""
    return {
        "verdict": record["verdict"],
        "rto_s": record["rto"]["actual_s"],
        "rpo_s": record["rpo"]["actual_s"],
        "error": record["error"] or record["reason"],
    }


def rfc3339(moment: datetime) -> str:
    """A UTC moment as RFC 3339 writes it, to the millisecond."""
    return moment.isoformat(timespec="milliseconds")[: -len("+00:00")] + "Z"
