"""A traffic switch in memory: clients of this process ask it whom to talk to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_drdrill.failover.endpoint import ServiceEndpoint


class RoutingTable:
    """Balances on the side of the client; a ``WeightedSwitch``.

    ``choose`` gives the endpoint for the next request, by smooth weighted round-robin: of weights 2
    and 1, ``a, b, a``, over and over. A cluster without a switch of its own has one of these.

    Source: the method is nginx's (``ngx_http_upstream_round_robin``): each choice adds its weight
    to the credit of every endpoint, and takes the sum of all weights from the one with the most.
    """

    __slots__ = ("_active", "_credits", "_weights")

    def __init__(self) -> None:
        self._active: dict[str, ServiceEndpoint] = {}
        self._weights: dict[str, int] = {}
        self._credits: dict[str, int] = {}

    async def activate(self, endpoint: ServiceEndpoint) -> None:
        """Have an endpoint chosen, by its weight, or by that of 1."""
        self._active[endpoint.name] = endpoint
        self._credits.setdefault(endpoint.name, 0)

    async def deactivate(self, endpoint: ServiceEndpoint) -> None:
        """Have an endpoint not chosen any more."""
        self._active.pop(endpoint.name, None)
        self._credits.pop(endpoint.name, None)

    async def set_weight(self, endpoint: ServiceEndpoint, weight: int) -> None:
        """Set the weight of an endpoint; with 0 it is not chosen."""
        self._weights[endpoint.name] = weight

    @property
    def weights(self) -> dict[str, int]:
        """The weight of each active endpoint, by name."""
        return {name: self._weights.get(name, 1) for name in self._active}

    def choose(self) -> ServiceEndpoint | None:
        """The endpoint for the next request; None where none may have it."""
        weights = {name: weight for name, weight in self.weights.items() if weight}
        if not weights:
            return None
        for name, weight in weights.items():
            self._credits[name] += weight
        chosen = max(weights, key=lambda name: self._credits[name])  # of equals the first
        self._credits[chosen] -= sum(weights.values())
        return self._active[chosen]
