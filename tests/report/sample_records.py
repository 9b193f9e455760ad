"""Evidence records for the tests of the renderings, built in code."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOMENT = "2026-03-01T02:00:00Z"


def outage(actual_s: float | None = 4.31, **changes: Any) -> dict[str, Any]:
    return {
        "name": "",
        "at_s": 0.5,
        "detected_s": None,
        "actual_s": actual_s,
        "resolution_s": None,
        "held_s": None,
        "down_seen": None,
        "expect_downtime": True,
        "target_s": 900.0,
        "met": None if actual_s is None else actual_s <= 900,
    } | changes


def spread(median_s: Any, p95_s: Any, worst_s: Any, measured: int, unbounded: int = 0) -> dict:
    return {
        "median_s": median_s,
        "p95_s": p95_s,
        "worst_s": worst_s,
        "measured": measured,
        "unbounded": unbounded,
    }


def rto(actual_s: float | None = 4.31, target_s: float | None = 900.0, **changes: Any) -> dict:
    met = None if target_s is None or actual_s is None else actual_s <= target_s
    return {
        "target_s": target_s,
        "actual_s": actual_s,
        "assumed": [],
        "resolution_s": None,
        "met": met,
        "not_applicable": None,
        "outages": [] if actual_s is None else [outage(actual_s, target_s=target_s, met=met)],
    } | changes


def rpo(actual_s: float | None = 0.0, target_s: float | None = 300.0, **changes: Any) -> dict:
    met = None if target_s is None or actual_s is None else actual_s <= target_s
    return {
        "target_s": target_s,
        "actual_s": actual_s,
        "basis": None if actual_s is None else "backup",
        "acknowledged": 0,
        "lost": 0,
        "holes": 0,
        "indeterminate": 0,
        "lost_keys": [],
        "unbounded": False,
        "met": met,
        "not_applicable": None,
    } | changes


def event(at_s: float, name: str, detail: str = "") -> dict[str, Any]:
    return {"at_s": at_s, "event": name, "detail": detail}


def drill(nodeid: str = "tests/dr/test_orders.py::test_restore", **changes: Any) -> dict[str, Any]:
    return {
        "nodeid": nodeid,
        "service": "orders",
        "tier": "critical",
        "disaster": "security",
        "kinds": ["backup_restore", "rto", "rpo"],
        "mode": "simulated",
        "runbook": None,
        "cadence_s": None,
        "repeat": None,
        "started": MOMENT,
        "finished": "2026-03-01T02:00:05Z",
        "duration_s": 5.0,
        "verdict": "passed",
        "reason": None,
        "error": None,
        "attempts": [],
        "live": None,
        "rto": rto(),
        "rpo": rpo(),
        "timeline": [event(0.5, "disaster", "files encrypted"), event(4.81, "recovered")],
        "steps": [],
        "metrics": [],
        "notes": [],
        "findings": [],
        "participants": [],
    } | changes


def row(target_s: float | None, worst_s: float | None, **changes: Any) -> dict[str, Any]:
    return {
        "target_s": target_s,
        "worst_s": worst_s,
        "p95_s": None,
        "measured": int(worst_s is not None),
        "unbounded": 0,
        "missed_s": None,
        "missed_target_s": None,
        "met": None if target_s is None or worst_s is None else worst_s <= target_s,
    } | changes


def tier(name: str | None = "critical", mode: str = "simulated", **changes: Any) -> dict[str, Any]:
    promised = name is not None
    return {
        "tier": name,
        "mode": mode,
        "drills": 1,
        "passed": 1,
        "failed": 0,
        "not_verified": 0,
        "known_broken": 0,
        "rto": row(900.0 if promised else None, 4.31),
        "rpo": row(300.0 if promised else None, 0.0),
        "mttr_s": 3600.0 if promised else None,
        "mtbf_s": 2592000.0 if promised else None,
        "availability_target": 99.99 if promised else None,
        "expected_availability": 99.86130374479889 if promised else None,
        "mttr_for_target_s": 259.2259225922592 if promised else None,
        "downtime_budget_s": 259.2 if promised else None,
        "rto_exceeds_budget": True if promised else None,
    } | changes


def record(drills: list | None = None, tiers: list | None = None, **changes: Any) -> dict[str, Any]:
    drills = [drill()] if drills is None else drills
    return {
        "schema": "drdrill/1",
        "run": run(len(drills)),
        "tiers": [tier()] if tiers is None else tiers,
        "repeats": [],
        "drills": drills,
        "plan": None,
        "coverage": [],
    } | changes


def run(selected: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": "0c6f0d8e",
        "started": MOMENT,
        "finished": "2026-03-01T02:00:07.125Z",
        "duration_s": 7.125,
        "seed": 42,
        "repeat": 1,
        "selection": selection(selected=selected),
        "not_collected": [],
        "versions": {"python": "3.11.7", "pytest": "9.2.0"},
        "host": {"system": "Linux"},
        "git": {
            "commit": "9fceb02d0ae598e95dc970b74767f19372d61af8",
            "branch": "main",
            "dirty": False,
        },
        "ci": {"provider": "github", "url": "https://ci.example/run/1"},
    } | changes


def selection(**changes: Any) -> dict[str, Any]:
    return {
        "tiers": ["critical"],
        "kinds": [],
        "services": [],
        "selected": 1,
        "deselected": 12,
    } | changes


def all_green() -> dict[str, Any]:
    return record()


def breach() -> dict[str, Any]:
    slow = drill(
        "tests/dr/test_orders.py::test_failover",
        verdict="failed",
        error="RTOExceeded: the outage took 17m2s, longer than the objective of 15m\nmore\nlines",
        rto=rto(1022.0),
        rpo=rpo(0.0, basis="ledger", acknowledged=120),
        timeline=[
            event(0.5, "disaster", "primary killed"),
            event(1.7, "detected"),
            event(1022.5, "recovered"),
        ],
    )
    bad = row(900.0, 1022.0)
    return record([drill(), slow], [tier(drills=2, failed=1, rto=bad)])


def never_recovered() -> dict[str, Any]:
    open_outage = outage(None, name="primary lost", met=False, down_seen=True)
    gone = drill(
        verdict="failed",
        error="AssertionError: the outage was never closed",
        rto=rto(None, outages=[open_outage], met=False),
    )
    return record([gone], [tier(passed=0, failed=1, rto=row(900.0, None, unbounded=1, met=False))])


def unbounded_loss() -> dict[str, Any]:
    lost = rpo(
        None,
        basis="ledger",
        acknowledged=3,
        lost=3,
        holes=1,
        indeterminate=2,
        lost_keys=["w1", "w2", "w3"],
        unbounded=True,
        met=False,
    )
    gone = drill(verdict="failed", error="RPOExceeded: nothing survived", rpo=lost)
    return record([gone], [tier(passed=0, failed=1, rpo=row(300.0, None, unbounded=1, met=False))])


def not_verified() -> dict[str, Any]:
    skipped = drill(
        "tests/dr/test_live.py::test_promote",
        mode="live",
        verdict="not_verified",
        reason="precondition did not hold: sync standby attached",
        rto=rto(None),
        rpo=rpo(None),
        started=None,
        finished=None,
        duration_s=None,
        timeline=[],
    )
    live = tier(mode="live", passed=0, not_verified=1, rto=row(900.0, None), rpo=row(300.0, None))
    return record([skipped], [live])


def known_broken() -> dict[str, Any]:
    broken = drill(verdict="known_broken", reason="ticket 311: restore is slow", rto=rto(1022.0))
    return record([broken], [tier(passed=0, known_broken=1, rto=row(900.0, 1022.0))])


def not_applicable() -> dict[str, Any]:
    reason = "the web tier holds no data"
    drills = [
        drill(f"tests/dr/test_web.py::test_{name}", rpo=rpo(None, not_applicable=reason))
        for name in ("standby", "failback")
    ]
    return record(drills, [tier(drills=2, passed=2, rpo=row(300.0, None))])


def repeats() -> dict[str, Any]:
    base = "tests/dr/test_orders.py::test_restore"
    drills = [
        drill(
            f"{base}[{index}-3]",
            repeat={"base": base, "index": index, "of": 3},
            verdict="failed" if index > 1 else "passed",
            error=f"RTOExceeded in run {index}" if index > 1 else None,
            rto=rto(800.0 + 100 * index),
        )
        for index in (1, 2, 3)
    ]
    repeat = {
        "base": base,
        "runs": 3,
        "verdict": "failed",
        "rto": spread(1000.0, None, 1100.0, measured=3),
        "rpo": spread(0.0, 0.0, 0.0, measured=3),
    }
    row_3 = tier(drills=3, passed=1, failed=2, rto=row(900.0, 1100.0, measured=3))
    return record(drills, [row_3], repeats=[repeat], run=run(1, repeat=3))


def nothing() -> dict[str, Any]:
    unselected = selection(tiers=[], selected=0, deselected=0)
    return record([], [], run=run(0, seed=None, git=None, ci=None, selection=unselected))


def nothing_selected() -> dict[str, Any]:
    return record([], [], run=run(0, seed=None, selection=selection(selected=0)))


def without_tier() -> dict[str, Any]:
    plain = drill(tier=None, service=None, rto=rto(target_s=None), rpo=rpo(None, None))
    return record([plain], [tier(None, rpo=row(None, None))])


def live(**changes: Any) -> dict[str, Any]:
    return {
        "targets": [
            {
                "address": "db.staging:5432",
                "breaks": "kills the primary",
                "undone_by": "systemd restarts it, as a replica",
            }
        ],
        "max_outage_s": 300.0,
        "aborted_after_s": None,
    } | changes


def live_and_local() -> dict[str, Any]:
    drills = [
        drill("tests/dr/test_pg.py::test_live", mode="live", live=live()),
        drill("tests/dr/test_files.py::test_local", mode="local", rpo=rpo(0.3, basis="staged")),
    ]
    return record(drills, [tier(mode="local"), tier(mode="live")])


def rich() -> dict[str, Any]:
    """A value in every field: a failed drill, one not verified, one known to be broken."""
    full = drill(
        "tests/dr/test_rich.py::test_all",
        verdict="failed",
        live=live(aborted_after_s=300.2),
        error="RTOExceeded: too slow",
        runbook="docs/runbooks/orders.md",
        cadence_s=7776000.0,
        repeat={"base": "tests/dr/test_rich.py::test_all", "index": 2, "of": 25},
        attempts=[{"verdict": "failed", "rto_s": 1030.0, "rpo_s": None, "error": "RTOExceeded"}],
        rto=rto(
            1022.0,
            assumed=[{"what": "decision", "seconds": 600.0}],
            resolution_s=0.5,
            outages=[
                outage(422.0, name="failover", detected_s=1.2, held_s=30.0, down_seen=False),
                outage(None, name="failback", met=False),
            ],
        ),
        rpo=rpo(
            1.5,
            basis="ledger",
            acknowledged=120,
            lost=3,
            holes=1,
            indeterminate=2,
            lost_keys=["w7", "w8", "w9"],
        ),
        steps=[
            {"name": "page", "owner": None, "at_s": 0.0, "duration_s": 1.0, "outcome": "done"},
            {"name": "promote", "owner": "dba", "at_s": 1, "duration_s": None, "outcome": "failed"},
        ],
        metrics=[{"name": "rows", "value": 120000, "unit": "rows"}],
        notes=["the second replica was cold"],
        findings=[
            {"text": "the runbook names the wrong host", "owner": "dba", "due": "2026-04-01"},
            {"text": "no alert", "owner": None, "due": None},
        ],
        participants=[{"name": "Ann", "role": "operator"}],
    )
    waived = drill(
        "tests/dr/test_rich.py::test_waived",
        rto=rto(None, not_applicable="a batch job"),
        rpo=rpo(None, not_applicable="it holds no data"),
    )
    repeat = {
        "base": "tests/dr/test_rich.py::test_all",
        "runs": 25,
        "verdict": "failed",
        "rto": spread(800.0, 1000.0, 1022.0, measured=25),
        "rpo": spread(0.5, 1.0, 1.5, measured=25),
    }
    coverage = {
        "service": "orders",
        "disaster": "security",
        "mode": "local",
        "drills": 4,
        "passed": 1,
        "failed": 1,
        "not_verified": 1,
        "known_broken": 1,
    }
    drills = [full, waived, not_verified()["drills"][0], known_broken()["drills"][0]]
    chosen = selection(tiers=["critical"], kinds=["failover"], services=["orders"], selected=4)
    tiers = [
        tier(drills=3, failed=1, known_broken=1, rto=row(900.0, 1022.0, p95_s=1000.0, measured=21)),
        tier("standard", "live", passed=0, not_verified=1, rto=row(900.0, None)),
    ]
    return record(
        drills,
        tiers,
        repeats=[repeat],
        coverage=[coverage],
        run=run(4, selection=chosen, repeat=25, not_collected=["tests/dr/test_broken.py"]),
    )


SAMPLES: dict[str, Callable[[], dict[str, Any]]] = {
    make.__name__: make
    for make in (
        all_green,
        breach,
        never_recovered,
        unbounded_loss,
        not_verified,
        known_broken,
        not_applicable,
        repeats,
        nothing,
        nothing_selected,
        without_tier,
        live_and_local,
        rich,
    )
}

_NOT_FREE = {
    "disaster",
    "kinds",
    *("schema", "mode", "verdict", "basis", "outcome", "started", "finished", "plan"),
}
"""Strings that the record's format fixes; all the others may hold anything."""


def free_texts(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Paths of all strings of a record that may hold anything."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in items:
        if key in _NOT_FREE:
            continue
        if isinstance(child, str):
            yield (*path, key)
        elif isinstance(child, dict | list):
            yield from free_texts(child, (*path, key))


def with_texts(value: dict[str, Any], text: str, only: tuple | None = None) -> dict[str, Any]:
    """A copy of a record with a text in every free string, or in the one at a path."""
    changed = copy.deepcopy(value)
    for path in [only] if only is not None else list(free_texts(value)):
        parent: Any = changed
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = text
    return changed
