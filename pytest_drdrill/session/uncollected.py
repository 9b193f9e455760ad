"""Files that gave no tests, noted before it is known whether there are drills at all."""

from __future__ import annotations

import re

import pytest

from pytest_drdrill.session.markers import MARKERS
from pytest_drdrill.text import storable

_UNCOLLECTED: pytest.StashKey[dict[str, None]] = pytest.StashKey()
_DRILL = rf"\bmark\s*\.\s*(?:{'|'.join(MARKERS)})\b"


def note_uncollected(collector: pytest.Collector, report: pytest.CollectReport) -> None:
    """Keep what could not be collected: drills in it could not be verified.

    A file that was skipped as a whole, since something that it needs is missing, counts where its
    text marks drills.
    """
    if report.failed or _holds_drills(collector):
        collector.config.stash.setdefault(_UNCOLLECTED, {})[storable(report.nodeid)] = None


def uncollected(config: pytest.Config) -> list[str]:
    """The ids of what could not be collected in this process, in order."""
    found = config.stash.get(_UNCOLLECTED, None)
    return list(found or ())


def _holds_drills(collector: pytest.Collector) -> bool:
    if not isinstance(collector, pytest.File):
        return False
    try:
        return re.search(_DRILL, collector.path.read_text("utf-8", "replace")) is not None
    except OSError:
        return False
