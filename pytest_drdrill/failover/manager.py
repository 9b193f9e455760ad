"""The failover manager: watches endpoints, decides which one is active, and tells who asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.failover import settings
from pytest_drdrill.failover.monitor import Monitor, WatchOptions
from pytest_drdrill.failover.protocols import Fencer, Promoter, TrafficSwitch
from pytest_drdrill.failover.switching import Switching
from pytest_drdrill.failover.takeover import Takeover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import timedelta

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.failover.announcer import FailoverCallback
    from pytest_drdrill.failover.damping import FlapDamping
    from pytest_drdrill.failover.decision import Failback
    from pytest_drdrill.failover.endpoint import ServiceEndpoint
    from pytest_drdrill.failover.events import FailoverEvent
    from pytest_drdrill.failover.prober import Prober


class FailoverManager(Monitor):
    """Watches the endpoints of a service and keeps one of them active.

    Every endpoint is checked at a fixed rate, from start to start, all of them concurrently; a
    check is bounded by its endpoint's timeout, or by the interval where that is shorter. An
    endpoint goes down after ``failure_threshold`` failed checks in a row and comes back after
    ``recovery_threshold`` successful ones, so one bad check never moves traffic and one good check
    never moves it back. An endpoint that has not been checked yet is unknown; its first success
    makes it healthy.

    The preferred endpoint (of the lowest priority, among equals the first) is the active one from
    the start, unchecked, as HAProxy takes its servers to be up and Keepalived its master to be
    one: the manager takes over traffic that flows already. It stays active until it is unhealthy.
    Then the preferred one of the healthy becomes active; with no healthy endpoint the active one
    is None, announced once, until one is healthy again. After a restart of the monitoring the
    active endpoint is the one that it was.

    Another endpoint becomes active only after all that this takes has succeeded, in this order:
    each endpoint that may still accept work is fenced, with proof; the new one is promoted; the
    traffic is switched. If a step fails or takes too long, that is a ``failover_failed`` event, the
    old one stays named as active, and it is tried again an interval later, or sooner where the
    health of an endpoint changes. What was done by then is remembered: another attempt goes on from
    there, and where the old one is well (a failback has failed, or it recovered meanwhile), all of
    it is undone by the same steps towards the old one, the new one fenced first. Without a fencer,
    a promoter or a switch, the step is left out; without any, clients ask who is active.

    ``async with manager`` starts and stops the monitoring. All methods and callbacks run in the
    event loop in which it was started, and a manager meets time only through its clock and that
    loop, so it does the same in virtual time as in real time.

    Args:
        endpoints: the endpoints, at least one, each with its own name.
        failure_threshold: failed checks in a row that it takes to go down.
        check_interval: time from the start of a check to the start of the endpoint's next one.
        recovery_threshold: successful checks in a row that it takes to come back.
        failback: what happens when an endpoint that is preferred over the active one is back:
            ``"automatic"``, traffic goes back at once; ``"delayed"``, after it has stayed healthy
            for ``failback_delay`` without one failed check; ``"manual"``, only ``failback()``
            moves it. One that failed is tried again after an interval, then after twice as long
            and so on, up to 64 intervals, since each attempt may interrupt the service.
        failback_delay: that time; needed by ``"delayed"``, refused otherwise.
        fast_interval: the interval while an endpoint is in transition, that is after a failed check
            of one that is not down or a good check of one that is; by default the same.
        watch: whether a connection to each endpoint is held open beside the checks, which notices
            between them that a process died. Its loss has a check made at once, which decides; the
            others follow as after any failed check, so a ``fast_interval`` belongs to it. It is
            made once a check was good, and anew when it was lost. An endpoint that ends idle
            connections costs one more check in an interval at most, and none once it is known after
            which time it does; one that takes none, or ends each at once, is not watched, which is
            an ``endpoint_unwatched`` event. Only an end that is told breaks a connection: that of a
            process that hangs, of a host without power, or behind a network that is parted stands,
            and there the checks alone notice, as without it. Each takes a descriptor here and a
            place there, so do not watch what serves one connection at a time.
        flap_damping: how often an endpoint may go down before it is not trusted for a while; by
            default as often as it likes. ``failback()`` goes to it all the same.
        fencer: keeps the endpoint that led from accepting work; by default nobody does.
        promoter: makes the new one accept work; needs a fencer beside it.
        switch: sends the traffic. It is told where that goes at every start, too.
        step_timeout: how long each fencing, promotion and call of the switch may take.
        jitter: the most by which an endpoint's checks are shifted in time, so that many endpoints
            are not checked at one moment; at most the interval. It is drawn once per endpoint
            and shifts the phase of its checks only, never their rate.
        seed: makes the jitter the same every time.
        prober: how endpoints are checked; ``HttpProber`` by default. It belongs to this manager.
        clock: the clock to live by; the real one by default.
        on_event: called with each ``FailoverEvent`` as it happens. It must not raise.

    Raises:
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: no endpoint, a name used twice, a threshold below one, a promoter without a
            fencer, or a duration that is none, is zero, or does not fit the others.
    """

    def __init__(  # noqa: PLR0913 - settings with defaults, by keyword from the fourth on
        self,
        endpoints: Iterable[ServiceEndpoint],
        failure_threshold: int = 3,
        check_interval: str | timedelta = "30s",
        *,
        recovery_threshold: int = 2,
        failback: Failback = "automatic",
        failback_delay: str | timedelta | None = None,
        fast_interval: str | timedelta | None = None,
        watch: bool = False,
        flap_damping: FlapDamping | None = None,
        fencer: Fencer | None = None,
        promoter: Promoter | None = None,
        switch: TrafficSwitch | None = None,
        step_timeout: str | timedelta = "30s",
        jitter: str | timedelta = "0s",
        seed: int | str = 0,
        prober: Prober | None = None,
        clock: Clock | None = None,
        on_event: Callable[[FailoverEvent], None] | None = None,
    ) -> None:
        super().__init__(
            endpoints,
            failure_threshold=failure_threshold,
            check_interval=check_interval,
            recovery_threshold=recovery_threshold,
            fast_interval=fast_interval,
            watch=watch,
            flap_damping=flap_damping,
            jitter=jitter,
            seed=seed,
            prober=prober,
            clock=clock,
            on_event=on_event,
        )
        settings.part("fencer", fencer, Fencer, "fence(endpoint)")
        settings.part("promoter", promoter, Promoter, "promote(endpoint)")
        settings.part("switch", switch, TrafficSwitch, "activate(endpoint), deactivate(endpoint)")
        if promoter is not None and fencer is None:
            raise ValueError(
                "a promoter needs a fencer: with the old endpoint unfenced, two would accept work"
            )
        self._takeover = Takeover(
            self.endpoints,
            fencer=fencer,
            promoter=promoter,
            switch=switch,
            step_timeout=settings.duration("step_timeout", step_timeout).total_seconds(),
            clock=self._clock,
            record=self._record,
        )
        self._switching = Switching(
            watched=self._watched,
            failback_after=settings.failback_after(failback, failback_delay),
            retry_after=self._interval.total_seconds(),
            clock=self._clock,
            record=self._record,
            takeover=self._takeover,
            announce=self._announcer.announce,
        )
        self._conductor = self._switching

    def get_active_endpoint(self) -> ServiceEndpoint | None:
        """The endpoint that traffic goes to, the object that was given; None for no endpoint."""
        return self._switching.endpoint(self._switching.active)

    def add_failover_callback(self, callback: FailoverCallback) -> None:
        """Have a function called with ``(old, new)`` whenever another endpoint becomes active.

        Both are endpoints, or None for no endpoint. A callback observes: it is called, and awaited
        if it is asynchronous, after the change and in the order in which callbacks were added, one
        change after the other. It delays neither checks nor the next change. One that raises is
        recorded as a ``callback_failed`` event and does not stop the others. Callbacks still
        running at a stop have one check interval to end, then they are cancelled and recorded.

        Raises:
            TypeError: it can't be called.
        """
        if not callable(callback):
            raise TypeError(f"a failover callback must be callable with (old, new): {callback!r}")
        self._announcer.add(callback)

    async def wait_until_active(
        self,
        endpoint: ServiceEndpoint | str,
        timeout: str | timedelta | None = None,  # noqa: ASYNC109 - a duration as people write it
    ) -> None:
        """Wait until an endpoint is the active one; returns at once if it is already.

        Args:
            endpoint: the endpoint, or its name.
            timeout: how long to wait at most; by default as long as the monitoring goes on.

        Raises:
            FailoverTimeoutError: it did not become active in time.
            MonitoringFailed: the monitor broke, so it never will.
            NotMonitoringError: nothing is watched, or it was stopped meanwhile.
            ValueError: the endpoint is none of this manager's, or the timeout is no duration.
        """
        place = self._place(endpoint)
        limit = None if timeout is None else settings.duration("timeout", timeout, zero=True)
        if self._switching.active == place:
            return
        self._check_monitoring("wait for an endpoint to become active")
        await self._switching.wait_for(place, limit)

    async def failback(self) -> None:
        """Move traffic back to the preferred healthy endpoint now, whatever the policy.

        Does nothing when the most preferred endpoint is the active one.

        Raises:
            FailoverFailed: no endpoint preferred over the active one is healthy, or the switch did
                not succeed.
            MonitoringFailed: the monitor broke.
            NotMonitoringError: nothing is watched, or it was stopped meanwhile.
        """
        self._check_monitoring("fail back")
        await self._switching.fail_back()

    @property
    def _decides_first(self) -> bool:
        return self._takeover.moves_traffic

    def _name_of_active(self) -> str | None:
        return self._switching.name(self._switching.active)

    def _gets_traffic(self, place: int) -> bool:
        return self._switching.active == place


class ManagerOptions(WatchOptions, total=False):
    """The settings of ``FailoverManager``, for whoever passes them on."""

    failback: Failback
    failback_delay: str | timedelta | None
    fencer: Fencer | None
    promoter: Promoter | None
    step_timeout: str | timedelta
