"""What a drill writes down as it goes, in the plain values of which the evidence is made."""

from __future__ import annotations

from typing import Literal, TypedDict

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
