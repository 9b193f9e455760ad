"""A drill's figures as properties of its JUnit test case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.report import words
from pytest_drdrill.report.safe import visible

if TYPE_CHECKING:
    from pytest_drdrill.evidence.types import DrillRecord


def properties(drill: DrillRecord) -> list[tuple[str, str]]:
    """Names and values of the properties ``dr_tier``, ``dr_rto_s`` and so on.

    Times are in seconds. A property without a value is left out: a time that was not measured, a
    target that was not promised.
    """
    rto, rpo = drill["rto"], drill["rpo"]
    values = [
        ("dr_tier", _text(drill["tier"])),
        ("dr_service", _text(drill["service"])),
        ("dr_disaster", _text(drill["disaster"])),
        ("dr_kinds", _text(", ".join(drill["kinds"]) or None)),
        ("dr_mode", drill["mode"]),
        ("dr_verdict", drill["verdict"]),
        ("dr_reason", _text(drill["reason"])),
        ("dr_rto_s", _seconds(rto["actual_s"])),
        ("dr_rto_assumed_s", _seconds(sum(part["seconds"] for part in rto["assumed"]) or None)),
        ("dr_rto_target_s", _seconds(rto["target_s"])),
        ("dr_rto_met", _flag(rto["met"])),
        ("dr_rto_not_recovered", "true" if words.not_recovered(rto) else None),
        ("dr_rto_not_applicable", _text(rto["not_applicable"])),
        ("dr_rpo_s", _seconds(rpo["actual_s"])),
        ("dr_rpo_target_s", _seconds(rpo["target_s"])),
        ("dr_rpo_met", _flag(rpo["met"])),
        ("dr_rpo_basis", rpo["basis"]),
        ("dr_rpo_unbounded", "true" if rpo["unbounded"] else None),
        ("dr_rpo_not_applicable", _text(rpo["not_applicable"])),
    ]
    return [(name, value) for name, value in values if value is not None]


def _text(value: str | None) -> str | None:
    return None if value is None else visible(value, words.TEXT)


def _flag(value: bool | None) -> str | None:
    return None if value is None else "true" if value else "false"


def _seconds(value: float | None) -> str | None:
    """Seconds to the microsecond, never in the notation that some readers of JUnit can't take."""
    if value is None:
        return None
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return text or "0"
