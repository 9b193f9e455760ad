"""A cluster whose healthy endpoints share the traffic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Unpack

from pytest_drdrill.failover import settings as check
from pytest_drdrill.failover.monitor import Monitor, WatchOptions
from pytest_drdrill.failover.protocols import WeightedSwitch
from pytest_drdrill.failover.rotation import Rotation
from pytest_drdrill.failover.routing import RoutingTable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from pytest_drdrill.failover.announcer import RotationCallback
    from pytest_drdrill.failover.endpoint import ServiceEndpoint


class ActiveActiveCluster(Monitor):
    """Keeps the healthy endpoints in rotation, each with its weight.

    The checks, thresholds and events are those of ``FailoverManager``. All endpoints are in
    rotation from the start; one that is unhealthy leaves it, and comes back when it is healthy
    again, or with flap damping when it is trusted again as well. Each change goes through the
    switch; one that fails or takes too long is a ``switch_failed`` event, the endpoint counts as
    being where it was, and an interval later, or when the health of any changes, it is tried again.

    **When too few are healthy**: with fewer than ``minimum_healthy`` the cluster panics. Health
    does not count then, and every endpoint that no operator drains is in rotation, until enough are
    healthy again. By default that is when all look unhealthy at once: more likely than that they
    all died is that the network between them and this monitor did, and taking the last one away
    would make an outage of a false alarm; if they did die, no rotation would have helped. Envoy
    does so below its panic threshold, AWS load balancers below their minimum of healthy targets.

    Args:
        endpoints: the endpoints, at least one, each with its own name.
        switch: sends the traffic; by default a ``RoutingTable``, which clients of this process ask.
        weights: by name, a whole number from 1; 1 for each that is not in it.
        minimum_healthy: the number of healthy endpoints below which health does not count.
        drain_time: how long ``drain`` lets go on what is under way.
        step_timeout: how long each call of the switch may take.
        settings: ``failure_threshold``, ``check_interval``, ``recovery_threshold``,
            ``fast_interval``, ``watch``, ``flap_damping``, ``jitter``, ``seed``, ``prober``,
            ``clock`` and ``on_event``, as of ``FailoverManager``.

    Source: Envoy, "Panic threshold"; AWS Elastic Load Balancing, "Target group health",
    ``unhealthy_state_routing.minimum_healthy_targets.count``, which is 1 by default too.

    Raises:
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: no endpoint, a name used twice, a weight below 1 or of an unknown endpoint, a
            minimum that the endpoints can't reach, or a duration that is none or does not fit.
    """

    def __init__(  # noqa: PLR0913 - settings with defaults, by keyword
        self,
        endpoints: Iterable[ServiceEndpoint],
        *,
        switch: WeightedSwitch | None = None,
        weights: Mapping[str, int] | None = None,
        minimum_healthy: int = 1,
        drain_time: str | timedelta = "30s",
        step_timeout: str | timedelta = "30s",
        **settings: Unpack[WatchOptions],
    ) -> None:
        super().__init__(endpoints, **settings)
        check.part(
            "switch",
            switch,
            WeightedSwitch,
            "activate(endpoint), deactivate(endpoint), set_weight(endpoint, weight)",
        )
        self._switch: WeightedSwitch = RoutingTable() if switch is None else switch
        minimum = check.threshold("minimum_healthy", minimum_healthy, of="endpoints")
        if minimum > len(self._watched):
            raise ValueError(
                f"minimum_healthy of {minimum} can't be reached with {len(self._watched)} endpoints"
            )
        self._rotation = Rotation(
            watched=self._watched,
            weights=self._checked_weights({} if weights is None else weights),
            minimum_healthy=minimum,
            drain_time=check.duration("drain_time", drain_time, zero=True).total_seconds(),
            retry_after=self._interval.total_seconds(),
            step_timeout=check.duration("step_timeout", step_timeout).total_seconds(),
            switch=self._switch,
            clock=self._clock,
            record=self._record,
            announce=self._announcer.announce,
        )
        self._conductor = self._rotation

    def _checked_weights(self, weights: Mapping[str, int]) -> list[int]:
        if not isinstance(weights, Mapping):
            raise TypeError(f"weights must map names to whole numbers, not be {weights!r}")
        for name in weights:
            self._place(name)
        return [
            check.threshold(f"the weight of {each.name!r}", weights.get(each.name, 1), of="shares")
            for each in self.endpoints
        ]

    # What is known.

    @property
    def switch(self) -> WeightedSwitch:
        """What sends the traffic."""
        return self._switch

    @property
    def is_panicking(self) -> bool:
        """Whether too few are healthy for health to count."""
        return self._rotation.panics

    def get_endpoints_in_rotation(self) -> tuple[ServiceEndpoint, ...]:
        """The endpoints that get new requests, the objects that were given."""
        return self._rotation.serving

    def get_weight(self, endpoint: ServiceEndpoint | str) -> int:
        """The weight of an endpoint now; 0 while it drains or is out of rotation.

        Raises:
            ValueError: the endpoint, or its name, is none of this cluster's.
        """
        return self._rotation.weight(self._place(endpoint))

    def route(self) -> ServiceEndpoint | None:
        """The endpoint for the next request; None for no endpoint.

        Raises:
            TypeError: the switch is one of your own, and that one is to be asked.
        """
        if not isinstance(self._switch, RoutingTable):
            raise TypeError("route() asks the default switch; ask your own one for its choice")
        return self._switch.choose()

    # What a caller can do.

    def add_rotation_callback(self, callback: RotationCallback) -> None:
        """Have a function called with ``(old, new)`` at each change of the rotation.

        Both are tuples of endpoints. Otherwise as ``FailoverManager.add_failover_callback``.

        Raises:
            TypeError: it can't be called.
        """
        if not callable(callback):
            raise TypeError(f"a rotation callback must be callable with (old, new): {callback!r}")
        self._announcer.add(callback)

    async def drain(self, endpoint: ServiceEndpoint | str) -> None:
        """Take an endpoint out of rotation, as before maintenance, until ``resume``.

        It gets no new requests from now on, and what is under way has ``drain_time`` to end; then,
        or once it is unhealthy, it is deactivated, and this returns.

        Raises:
            FailoverError: fewer than ``minimum_healthy`` healthy ones would be left, or ``resume``
                called it off.
            MonitoringFailed: the monitor broke.
            NotMonitoringError: nothing is watched, or it was stopped meanwhile.
            ValueError: the endpoint, or its name, is none of this cluster's.
        """
        place = self._place(endpoint)
        self._check_monitoring("drain an endpoint")
        await self._rotation.drain(place)

    def resume(self, endpoint: ServiceEndpoint | str) -> None:
        """End the draining of an endpoint: its health decides again. Of any other: does nothing.

        Raises:
            ValueError: the endpoint, or its name, is none of this cluster's.
        """
        self._rotation.resume(self._place(endpoint))

    async def wait_until_in_rotation(
        self,
        endpoint: ServiceEndpoint | str,
        timeout: str | timedelta | None = None,  # noqa: ASYNC109 - a duration as people write it
    ) -> None:
        """Wait until an endpoint gets new requests; returns at once if it does already.

        Raises:
            FailoverTimeoutError: it did not in time.
            MonitoringFailed: the monitor broke, so it never will.
            NotMonitoringError: nothing is watched, or it was stopped meanwhile.
            ValueError: the endpoint is none of this cluster's, or the timeout is no duration.
        """
        await self._wait(endpoint, timeout, serving=True)

    async def wait_until_out_of_rotation(
        self,
        endpoint: ServiceEndpoint | str,
        timeout: str | timedelta | None = None,  # noqa: ASYNC109 - a duration as people write it
    ) -> None:
        """Wait until an endpoint gets no new requests; returns at once if it gets none already.

        Raises:
            FailoverTimeoutError: it still did, by then.
            MonitoringFailed: the monitor broke, so it never will be.
            NotMonitoringError: nothing is watched, or it was stopped meanwhile.
            ValueError: the endpoint is none of this cluster's, or the timeout is no duration.
        """
        await self._wait(endpoint, timeout, serving=False)

    async def _wait(
        self, endpoint: ServiceEndpoint | str, patience: str | timedelta | None, *, serving: bool
    ) -> None:
        place = self._place(endpoint)
        limit = None if patience is None else check.duration("timeout", patience, zero=True)
        if self._rotation.serves(place) is serving:
            return
        self._check_monitoring("wait for a change of the rotation")
        await self._rotation.wait_for(place, limit, serving=serving)

    @property
    def _decides_first(self) -> bool:
        return True

    def _gets_traffic(self, place: int) -> bool:
        return self._rotation.serves(place)
