"""A primary and its secondary, of which one at a time gets the traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from pytest_drdrill.failover.manager import FailoverManager, ManagerOptions
from pytest_drdrill.failover.routing import RoutingTable

if TYPE_CHECKING:
    from pytest_drdrill.failover.endpoint import ServiceEndpoint
    from pytest_drdrill.failover.protocols import TrafficSwitch


class ActivePassiveCluster(FailoverManager):
    """A primary that gets the traffic, and a secondary that takes over when it fails.

    A ``FailoverManager`` of the two, with all of its settings, callbacks and events. It sends the
    traffic through a switch: the endpoint that takes over is activated there and the other one
    deactivated, after the other one was fenced and the new one promoted where there is a fencer and
    a promoter. A start activates the active one and deactivates the other, whatever was so before.

    Args:
        primary: gets the traffic while it is healthy.
        secondary: gets it otherwise.
        switch: sends the traffic; by default a ``RoutingTable``, which clients of this process ask.
        settings: those of ``FailoverManager``.

    Raises:
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: the secondary's priority puts it before the primary, or what ``FailoverManager``
            refuses.
    """

    def __init__(
        self,
        primary: ServiceEndpoint,
        secondary: ServiceEndpoint,
        *,
        switch: TrafficSwitch | None = None,
        **settings: Unpack[ManagerOptions],
    ) -> None:
        self._switch = RoutingTable() if switch is None else switch
        super().__init__([primary, secondary], switch=self._switch, **settings)
        if self.endpoints[0] is not primary:
            raise ValueError(
                f"the priority of {secondary.name!r} puts it before {primary.name!r}; the primary "
                "comes first"
            )

    @property
    def primary(self) -> ServiceEndpoint:
        """The endpoint that gets the traffic while it is healthy."""
        return self.endpoints[0]

    @property
    def secondary(self) -> ServiceEndpoint:
        """The other one."""
        return self.endpoints[1]

    @property
    def switch(self) -> TrafficSwitch:
        """What sends the traffic."""
        return self._switch

    def route(self) -> ServiceEndpoint | None:
        """The endpoint for the next request, as a client that asks the manager sees it.

        With the default switch that is whom it chooses; with another one, the active endpoint.
        """
        if isinstance(self._switch, RoutingTable):
            return self._switch.choose()
        return self.get_active_endpoint()
