"""The markers that make a test a drill. Every pytest run loads this: it imports nothing."""

from __future__ import annotations

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
    "dr_live": "dr_live: touches systems that exist without the drill; runs only with --dr-live",
    "dr_cadence": 'dr_cadence(every): how often this drill must pass, such as "90d"',
}
"""Every marker that makes a test a drill, with its help."""


def is_drill(node: pytest.Item | pytest.Collector) -> bool:
    """Whether a test carries any of the markers, on itself, its class or its module."""
    return any(mark.name in MARKERS for mark in node.iter_markers())


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
