"""What a drill writes down as it goes, in the plain values of which the evidence is made."""

from __future__ import annotations

from typing import Literal, TypedDict

from pytest_drdrill.text import shown, storable

Basis = Literal["ledger", "backup", "staged", "schedule"]
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


def required_reason(caller: str, reason: str, example: str) -> str:
    """A reason that says something, as every report will show it.

    Args:
        caller: the method that takes it.
        reason: as given.
        example: one that would do.

    Raises:
        TypeError: no text.
        ValueError: an empty one.
    """
    __tracebackhide__ = True
    takes = f'{caller}() takes a reason, e.g. "{example}"'
    if not isinstance(reason, str):
        raise TypeError(f"{takes}, not {shown(reason)}")
    if not reason.strip():
        raise ValueError(f"{takes}, not an empty one")
    return storable(reason)
