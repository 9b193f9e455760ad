"""What a drill writes down as it goes, in the plain values of which the evidence is made."""

from __future__ import annotations

from typing import Literal, TypedDict

from pytest_drdrill.text import storable

Basis = Literal["ledger", "backup", "staged"]
"""What a loss was measured from."""


class EventRecord(TypedDict):
    """One line of a drill's timeline; ``at_s`` counts from the drill's start."""

    at_s: float
    event: str
    detail: str


class StepRecord(TypedDict):
    """One named step of a drill and who owns it."""

    name: str
    owner: str | None
    at_s: float
    duration_s: float | None  # None: never ended
    outcome: Literal["done", "failed", "unfinished"]


class MetricRecord(TypedDict):
    """A figure that the drill itself took."""

    name: str
    value: float
    unit: str


class FindingRecord(TypedDict):
    """Something to mend that the drill brought to light."""

    text: str
    owner: str | None
    due: str | None


class ParticipantRecord(TypedDict):
    """Who took part."""

    name: str
    role: str


def required_reason(reason: str) -> str:
    """A reason that says something, as every report will show it."""
    __tracebackhide__ = True
    if not isinstance(reason, str) or not reason.strip():
        raise ValueError('not_applicable() takes a reason, e.g. "the service is stateless"')
    return storable(reason)
