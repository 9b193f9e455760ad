"""What could not be collected, noted before it is known whether there are drills at all."""

from __future__ import annotations

import pytest

from pytest_drdrill.text import storable

UNCOLLECTED: pytest.StashKey[dict[str, None]] = pytest.StashKey()
"""Where a session keeps the ids, in order."""


def note_uncollected(config: pytest.Config, report: object) -> None:
    """Keep what could not be collected: drills in it could not be verified."""
    if isinstance(report, pytest.CollectReport) and report.failed:
        config.stash.setdefault(UNCOLLECTED, {})[storable(report.nodeid)] = None
