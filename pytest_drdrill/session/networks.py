"""Scratch networks wired to the drill that asks for them: its undo stack, its timeline, its end."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from pytest_drdrill.session.runner import RUN
from pytest_drdrill.session.virtual import active_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from pytest_drdrill.live import ScratchNetwork
    from pytest_drdrill.session.run import DrillRun


@contextmanager
def networks_of(request: pytest.FixtureRequest) -> Iterator[Callable[..., ScratchNetwork]]:
    """A factory of networks; each is gone with its fixture, once those that run servers in it end.

    Their faults are on the undo stack of the ``faults`` fixture, among all others.
    """
    run: DrillRun | None = request.node.stash.get(RUN, None)  # None for an ordinary test
    stack = getattr(request.getfixturevalue("faults"), "stack", None)  # of an override, none maybe

    def make(*hosts: str) -> ScratchNetwork:
        if active_world() is not None or (run is not None and run.world is not None):
            from pytest_drdrill.simulation.refusals import refusal  # loaded by now

            raise refusal("a scratch network")
        from pytest_drdrill.live import ScratchNetwork  # only for who asks for one

        announce = None if run is None else run.drill.event
        return made.enter_context(ScratchNetwork(*hosts, stack=stack, announce=announce))

    with ExitStack() as made:
        yield make
