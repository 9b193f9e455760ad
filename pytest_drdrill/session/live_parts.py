"""What a drill asks for that may touch live systems: its targets, and what it may reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_drdrill.live.targets import AllowList, ScratchOnly
from pytest_drdrill.session.runner import RUN
from pytest_drdrill.text import storable

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_drdrill.live.target import LiveTarget
    from pytest_drdrill.session.run import DrillRun


def targets_of(request: pytest.FixtureRequest) -> Callable[..., LiveTarget]:
    """Gives the targets that a live drill declares."""
    run: DrillRun | None = request.node.stash.get(RUN, None)
    live = None if run is None else run.live
    if live is None:
        pytest.fail(
            f"{storable(request.node.nodeid)} asks for the fixture 'live_target' but is no live "
            "drill: mark it dr_live, and declare the target with dr_live_target",
            pytrace=False,
        )

    def live_target(address: str | None = None) -> LiveTarget:
        return live.target(address)

    return live_target


def allowed_of(request: pytest.FixtureRequest) -> AllowList:
    """The systems that a test may touch: of one that is no live drill, its own scratch alone."""
    run: DrillRun | None = request.node.stash.get(RUN, None)
    if run is None or run.live is None:
        return ScratchOnly()
    return run.live.allowed
