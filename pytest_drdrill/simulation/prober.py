"""How a manager checks simulated endpoints: the twin of the HTTP prober, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.failover import ProbeResult
from pytest_drdrill.simulation.endpoint import SimulatedEndpoint
from pytest_drdrill.simulation.refusals import refusal

if TYPE_CHECKING:
    from pytest_drdrill.failover import ServiceEndpoint

_HEALTHY = ProbeResult(healthy=True)


class SimulatedProber:
    """Asks simulated endpoints for their health; a ``Prober``.

    One that answers is healthy. Of one that is refused or cut off the ``OSError`` says why, and the
    manager gives up on a silent one, as over HTTP.
    """

    __slots__ = ()

    async def open(self) -> None:
        """Needs nothing."""

    async def probe(self, endpoint: ServiceEndpoint) -> ProbeResult:
        """Ask one endpoint, once.

        Raises:
            OSError: it can't be asked.
            RealIOError: it is no simulated endpoint.
        """
        if not isinstance(endpoint, SimulatedEndpoint):
            raise refusal(f"a check of {endpoint.name!r}, which is no simulated endpoint,")
        await endpoint.request()
        return _HEALTHY

    async def close(self) -> None:
        """Holds nothing."""
