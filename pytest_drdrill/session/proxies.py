"""Fault proxies wired to the drill that asks for them: its undo stack, its timeline, its end."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from pytest_drdrill.session.live_parts import allowed_of
from pytest_drdrill.session.runner import RUN
from pytest_drdrill.session.start import settings_of
from pytest_drdrill.session.virtual import active_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from pytest_drdrill.live import FaultProxy
    from pytest_drdrill.session.run import DrillRun


@contextmanager
def proxies_of(request: pytest.FixtureRequest) -> Iterator[Callable[..., FaultProxy]]:
    """A factory of proxies that run; each is stopped when the body ends that asked for it.

    Their faults are on the undo stack of the ``faults`` fixture, among all others.
    """
    run: DrillRun | None = request.node.stash.get(RUN, None)  # None for an ordinary test
    stack = getattr(request.getfixturevalue("faults"), "stack", None)  # of an override, none maybe
    seed = settings_of(request.config).seed
    allowed = allowed_of(request)
    made = ExitStack()

    def make(target_host: str, target_port: int | None = None, *, port: int = 0) -> FaultProxy:
        if active_world() is not None or (run is not None and run.world is not None):
            from pytest_drdrill.simulation.refusals import refusal  # loaded by now

            raise refusal("a TCP proxy")
        from pytest_drdrill.live import FaultProxy  # only for who asks for one
        from pytest_drdrill.live.host_port import read_host_port

        target = read_host_port(target_host, target_port)
        allowed.check(*target)
        proxy = FaultProxy(
            *target,
            port=port,
            seed=seed,
            stack=stack,
            announce=None if run is None else run.drill.event,
        )
        proxy.start()
        made.callback(proxy.stop)
        if run is not None:
            run.at_body_end.append(proxy.stop)
        return proxy

    with made:  # of an ordinary test, and of a drill whose body never began
        yield make
