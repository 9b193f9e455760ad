"""The markers that make a test a drill. Every pytest run loads this: it imports nothing heavy."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

MARKERS = {
    "dr_tier": "dr_tier(name): the service tier of this drill; brings its RTO and RPO",
    "rto": (
        "rto(limit, *, hold=None): recovery time objective, "
        '"15m", "1h30m", "500ms", "PT15M" or a timedelta; hold: how long it must stay recovered'
    ),
    "rpo": (
        "rpo(limit): recovery point objective, in the same forms; "
        '"0s": no acknowledged write may be lost'
    ),
    "dr_service": "dr_service(name): the service that is drilled",
    "disaster": ("disaster(kind): natural, technical, human_error, security or infrastructure"),
    "runbook": "runbook(path): the runbook that the drill follows",
    "dr_live": (
        "dr_live(*, max_outage=None): touches systems that exist without the drill; runs only with "
        "--dr-live; max_outage: when a watchdog ends it and undoes its faults; the ini key "
        "dr_max_outage by default"
    ),
    "dr_live_target": (
        "dr_live_target(address, *, breaks, undone_by): a system that a live drill breaks, how, "
        'and how that is undone; "host:port", a URL or DSN, a folder, or "$NAME" of the '
        "environment; repeatable"
    ),
    "dr_cadence": 'dr_cadence(every): how often this drill must pass, such as "90d"',
}
"""Every marker that makes a test a drill, with its help."""


def is_async(obj: object) -> bool:
    """Whether a test function is asynchronous, as it stands, as a static method, or in @given."""
    function = getattr(obj, "__func__", obj)
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    return inspect.iscoroutinefunction(inner)


def needs_a_loop(obj: object) -> bool:
    """Whether a test function may need an event loop that we choose, or one for each example."""
    return is_async(obj) or hasattr(obj, "hypothesis")


def is_drill(node: pytest.Item | pytest.Collector) -> bool:
    """Whether a test carries any of the markers, on itself, its class or its module."""
    return any(mark.name in MARKERS for mark in node.iter_markers())


def closest_marks(node: pytest.Item | pytest.Collector | None) -> dict[str, pytest.Mark]:
    """Our markers on an item, its class and its module: of each the closest one.

    On one node the last counts: a class lists what it inherits first, and an item what its function
    carries before what a single parameter or a conftest.py adds.
    """
    marks: dict[str, pytest.Mark] = {}
    while node is not None:
        own = node.own_markers
        for mark in reversed(own) if own else ():
            if mark.name in MARKERS:
                marks.setdefault(mark.name, mark)
        node = node.parent
    return marks


def any_drill(items: Iterable[pytest.Item]) -> bool:
    """Whether there is a drill among these items; each of their parents is looked at once."""
    checked: set[object] = set()
    for item in items:
        node: pytest.Item | pytest.Collector | None = item
        while node is not None and node not in checked:
            for mark in node.own_markers:
                if mark.name in MARKERS:
                    return True
            if node is not item:
                checked.add(node)
            node = node.parent
    return False
