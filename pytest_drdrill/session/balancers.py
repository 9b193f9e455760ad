"""Load balancers for drills: on their timeline, ended with them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from pytest_drdrill.live import HAProxyServer
from pytest_drdrill.measure import DrillUsageError
from pytest_drdrill.session.runner import RUN
from pytest_drdrill.session.virtual import active_world

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    import pytest

    from pytest_drdrill.failover import ServiceEndpoint


@contextmanager
def haproxies_of(
    request: pytest.FixtureRequest,
) -> Generator[Callable[..., HAProxyServer], None, None]:
    """A factory of HAProxies; what happens to them is on the drill's timeline.

    They end after the body: whoever switches their traffic is stopped by then.
    """
    run = request.node.stash.get(RUN, None)
    with ExitStack() as stack:

        def make(endpoints: Iterable[ServiceEndpoint], **settings: Any) -> HAProxyServer:
            if active_world() is not None:
                raise DrillUsageError(
                    "haproxy(...) runs a real HAProxy, which knows nothing of virtual time: leave "
                    "out the simulated fixtures"
                )
            if run is not None:
                settings.setdefault("on_event", run.drill.event)
            return stack.enter_context(HAProxyServer(endpoints, **settings))

        yield make
