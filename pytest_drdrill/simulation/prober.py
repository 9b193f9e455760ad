"""How a manager checks simulated endpoints: the twin of the HTTP prober, in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pytest_drdrill.failover import ProbeResult
from pytest_drdrill.failover.checks import no_answer_within
from pytest_drdrill.simulation.clock import VirtualClock
from pytest_drdrill.simulation.endpoint import SimulatedEndpoint
from pytest_drdrill.simulation.prospect import AT_ONCE
from pytest_drdrill.simulation.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.failover import ServiceEndpoint
    from pytest_drdrill.simulation.lull import Lull
    from pytest_drdrill.simulation.network import Named
    from pytest_drdrill.simulation.prospect import Prospect

_HEALTHY = ProbeResult(healthy=True)


class SimulatedProber:
    """Asks simulated endpoints for their health; a ``Prober``, and a ``Watcher``.

    One that answers is healthy. Of one that is refused or cut off the ``OSError`` says why, and the
    manager gives up on a silent one, as over HTTP.

    It foresees what a check will find, so that a manager makes none that can find nothing new. A
    prober that is derived from it, or an endpoint that answers in its own way, is always asked;
    whoever replaces their methods from outside does so before the monitoring starts.

    Args:
        source: where it stands, a place or its name; None: in none.
    """

    __slots__ = ("_source",)

    def __init__(self, source: Named = None) -> None:
        self._source = source

    async def open(self) -> None:
        """Needs nothing."""

    async def probe(self, endpoint: ServiceEndpoint) -> ProbeResult:
        """Ask one endpoint, once.

        Raises:
            OSError: it can't be asked.
            ValueError: the prober stands in no place of this world.
            RealIOError: it is no simulated endpoint.
        """
        asked = _simulated(endpoint, "a check of")
        if self._source is None:  # as a test may have given it a request of its own, without one
            await asked.request()
        else:
            await asked.request(source=self._source)
        return _HEALTHY

    async def hold(self, endpoint: ServiceEndpoint, held: Callable[[], None]) -> str:
        """Hold a connection to one endpoint until it breaks.

        Raises:
            OSError: it can't be made.
            RealIOError: it is no simulated endpoint.
        """
        await _simulated(endpoint, "a connection to").hold(held, source=self._source)
        return "the connection broke"

    async def close(self) -> None:
        """Holds nothing."""

    def foresee(self, endpoint: ServiceEndpoint, clock: Clock) -> SimulatedForesight | None:
        """What checks of an endpoint will find; None where only making them can tell.

        Args:
            endpoint: the endpoint.
            clock: by which it is checked.
        """
        if (
            type(self) is not SimulatedProber
            or SimulatedProber.probe is not _PROBE
            or type(endpoint) is not SimulatedEndpoint
            or SimulatedEndpoint.request is not _REQUEST
            or type(clock) is not VirtualClock
            or clock is not endpoint.world.clock
            or clock.loop is not asyncio.get_running_loop()
        ):
            return None
        return SimulatedForesight(endpoint, self._source)


_PROBE, _REQUEST = SimulatedProber.probe, SimulatedEndpoint.request


class SimulatedForesight:
    """What checks of one simulated endpoint will find; a ``Foresight``.

    Args:
        endpoint: the endpoint.
        source: where the prober stands.
    """

    __slots__ = ("_endpoint", "_loop", "_refused", "_source")

    def __init__(self, endpoint: SimulatedEndpoint, source: Named) -> None:
        self._endpoint = endpoint
        self._source = source
        self._loop = endpoint.world.loop
        self._refused = _HEALTHY

    def answer(self) -> ProbeResult | None:
        """What a check that begins now finds, where it does so at once."""
        prospect = self._prospect()
        if prospect is AT_ONCE:
            return _HEALTHY
        if prospect is None or not prospect.refusal:
            return None
        if self._refused.reason != prospect.refusal:
            self._refused = ProbeResult(healthy=False, reason=prospect.refusal)
        return self._refused

    def lull(self, found: ProbeResult, wait: float, interval: float, timeout: float) -> Lull | None:
        """Begin to pass over the checks that would find the same again."""
        endpoint, loop = self._endpoint, self._loop
        if endpoint.world.every_check:
            return None
        outcome, takes = self.answer(), 0
        if outcome is None:
            outcome, takes = self._late_answer(timeout)
        if outcome != found:
            return None
        every, until = round(interval * 1e6), endpoint.alike_until()
        lull = loop.lulls.begin(loop.after(wait), every, takes, until)
        if lull is not None:
            endpoint.end_when_told(lull)
        return lull

    def _late_answer(self, timeout: float) -> tuple[ProbeResult | None, int]:
        """What a check that takes time finds, if that is known, and the microseconds it takes."""
        prospect, limit = self._prospect(), round(timeout * 1e6)
        # Where both come at one instant, the order of timers decides.
        if prospect is None or prospect.takes == limit:
            return None, 0
        if prospect.takes is None or prospect.takes > limit:
            return no_answer_within(timeout), limit
        return _HEALTHY, prospect.takes

    def _prospect(self) -> Prospect | None:
        # A test may have given it a request of its own, and nobody knows what that does.
        return None if "request" in vars(self._endpoint) else self._endpoint.prospect(self._source)


def _simulated(endpoint: ServiceEndpoint, what: str) -> SimulatedEndpoint:
    if not isinstance(endpoint, SimulatedEndpoint):
        raise refusal(f"{what} {endpoint.name!r}, which is no simulated endpoint,")
    return endpoint
