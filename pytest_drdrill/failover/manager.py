"""The failover manager: watches endpoints, decides which one is active, and tells who asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from pytest_drdrill.clock import Clock, RealClock
from pytest_drdrill.failover import settings
from pytest_drdrill.failover.announcer import Announcer
from pytest_drdrill.failover.checks import WatchedEndpoint, check_forever
from pytest_drdrill.failover.endpoint import HealthStatus, ServiceEndpoint
from pytest_drdrill.failover.errors import FailoverError, MonitoringFailed, NotMonitoringError
from pytest_drdrill.failover.events import EventKind, FailoverEvent
from pytest_drdrill.failover.prober import HttpProber, Prober
from pytest_drdrill.failover.run import Run, monitoring_failed
from pytest_drdrill.failover.switching import Switching
from pytest_drdrill.failover.timing import CheckGrid, detection_bounds, phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import timedelta
    from types import TracebackType

    from pytest_drdrill.failover.announcer import FailoverCallback, Move
    from pytest_drdrill.failover.decision import Failback
    from pytest_drdrill.failover.prober import ProbeResult


class FailoverManager:
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
            moves it.
        failback_delay: that time; needed by ``"delayed"``, refused otherwise.
        jitter: the most by which an endpoint's checks are shifted in time, so that many endpoints
            are not checked at one moment; at most the interval. It is drawn once per endpoint
            and shifts the phase of its checks only, never their rate.
        seed: makes the jitter the same every time.
        prober: how endpoints are checked; ``HttpProber`` by default. It belongs to this manager.
        clock: the clock to live by; the real one by default.
        on_event: called with each ``FailoverEvent`` as it happens. It must not raise.

    Raises:
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: no endpoint, a name used twice, a threshold below one, or a duration that is
            none, is zero, or does not fit the others.
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
        jitter: str | timedelta = "0s",
        seed: int | str = 0,
        prober: Prober | None = None,
        clock: Clock | None = None,
        on_event: Callable[[FailoverEvent], None] | None = None,
    ) -> None:
        ordered = settings.by_preference(endpoints)
        thresholds = (
            settings.threshold("failure_threshold", failure_threshold),
            settings.threshold("recovery_threshold", recovery_threshold),
        )
        self._failure_threshold = thresholds[0]
        self._interval = settings.duration("check_interval", check_interval)
        self._jitter = settings.jitter(jitter, self._interval)
        self._seed = seed
        self._prober: Prober = HttpProber() if prober is None else prober
        self._clock: Clock = RealClock() if clock is None else clock
        self._on_event = on_event
        self._watched = [
            WatchedEndpoint(each, min(each.timeout, self._interval).total_seconds(), thresholds)
            for each in ordered
        ]
        self._places = {each.name: place for place, each in enumerate(ordered)}
        self._announcer = Announcer(self._callback_failed, self._clock)
        self._switching = Switching(
            watched=self._watched,
            failback_after=settings.failback_after(failback, failback_delay),
            retry_after=self._interval.total_seconds(),
            clock=self._clock,
            record=self._record,
            activate=self._activate,
            announce=self._announcer.announce,
        )
        self._events: list[FailoverEvent] = []
        self._run: Run | None = None

    # What is known.

    @property
    def endpoints(self) -> tuple[ServiceEndpoint, ...]:
        """The endpoints, the preferred one first."""
        return tuple(watched.endpoint for watched in self._watched)

    @property
    def events(self) -> tuple[FailoverEvent, ...]:
        """Everything that happened since the manager was made, in order."""
        return tuple(self._events)

    @property
    def is_monitoring(self) -> bool:
        """Whether checks are running: from a start to its stop, or to a failure of the monitor."""
        return self._run is not None and self._run.is_alive

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop it was started in, until it is stopped, broken or not; else None."""
        return None if self._run is None else self._run.loop

    def get_active_endpoint(self) -> ServiceEndpoint | None:
        """The endpoint that traffic goes to, the object that was given; None for no endpoint."""
        return self._switching.endpoint(self._switching.active)

    def get_endpoint_status(self, endpoint: ServiceEndpoint | str) -> HealthStatus:
        """What the checks say of an endpoint; after a stop, what they said last.

        Raises:
            ValueError: the endpoint, or its name, is none of this manager's.
        """
        return self._watched[self._place(endpoint)].tracker.status

    def predicted_detection(
        self, endpoint: ServiceEndpoint | str | None = None
    ) -> tuple[timedelta, timedelta]:
        """Shortest and longest time from a disaster until its endpoint is seen to be unhealthy.

        With n the failure threshold and c what a failing check takes, from nothing (the connection
        is refused) to the timeout (the endpoint is silent), it is ``(n - 1) x interval + c`` when
        the disaster comes just before a check, and ``n x interval + c`` just after one. So the
        bounds are ``(n - 1) x interval - jitter`` (at least zero) and ``n x interval + timeout +
        jitter``. A check that was under way counts from its start: it may take off what a healthy
        answer takes. The switch itself is not in it.

        Args:
            endpoint: whose timeout counts; by default the longest of all.

        Source: derived from checks at a fixed rate; the settings are HAProxy's ``fall`` (n) and
        ``inter`` (interval, which it counts from the end of a check), HAProxy Configuration
        Manual, section 5.2.

        Raises:
            ValueError: the endpoint, or its name, is none of this manager's.
        """
        if endpoint is None:
            timeout = max(watched.endpoint.timeout for watched in self._watched)
        else:
            timeout = self._watched[self._place(endpoint)].endpoint.timeout
        return detection_bounds(
            self._failure_threshold, self._interval, min(timeout, self._interval), self._jitter
        )

    # What a caller can do.

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

    async def start_monitoring(self) -> None:
        """Start to watch; returns when every endpoint has been checked once.

        The statuses begin as unknown; the active endpoint stays as it was. Decisions begin with
        the first round complete, which takes as long as its slowest check, and the jitter.

        Raises:
            NotMonitoringError: there is no running asyncio event loop.
            FailoverError: it is being watched already.
            MonitoringFailed: the prober broke in the first round.
            Exception: what the prober's ``open`` raised; nothing is left running.
        """
        if self._run is not None:
            raise FailoverError("this manager is monitoring already; stop it before a new start")
        run = Run(
            endpoints=len(self._watched),
            switching=self._switching,
            announcer=self._announcer,
            patience=self._interval.total_seconds(),
            prober=self._prober,
            clock=self._clock,
            on_broken=self._broken,
        )
        self._run = run
        for watched in self._watched:
            watched.forget()
        try:
            self._record("monitoring_started", new=self._switching.name(self._switching.active))
            await self._prober.open()
            run.announcers.start(self._announcer.tell_forever(), "failover callbacks")
            begin, every = self._clock.monotonic(), self._interval.total_seconds()
            for watched in self._watched:
                name = watched.endpoint.name
                grid = CheckGrid(begin + phase(self._seed, name, self._jitter), every)
                work = check_forever(watched, grid, self._prober, self._clock, self._checked)
                run.workers.start(work, f"failover checks of {name}")
            await run.first_round
            run.workers.start(self._switching.decide_forever(), "failover decisions")
        except BaseException:
            await self._end(run)
            raise

    async def stop_monitoring(self) -> None:
        """Stop watching: ends every task and closes the prober. Stopping twice is no error.

        Raises:
            NotMonitoringError: called from another event loop than the one of the start.
            FailoverError: called from a callback, which would wait for itself.
            MonitoringFailed: the monitor had broken; everything is stopped and closed all the same.
        """
        run = self._run
        if run is None:
            return
        run.check_loop("be stopped")
        task = asyncio.current_task()
        if task in run.announcers or task in run.workers:
            raise FailoverError("a callback can't stop the monitoring that waits for its end")
        await self._end(run)
        if run.error is not None:
            raise monitoring_failed(run.error)

    async def __aenter__(self) -> Self:
        """Start the monitoring."""
        await self.start_monitoring()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the monitoring; what the body raised is never hidden by a failure of the monitor."""
        try:
            await self.stop_monitoring()
        except MonitoringFailed as failure:
            if error is None:
                raise
            if not isinstance(error, MonitoringFailed):
                error.add_note(f"besides, {failure}")

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

    # The seam for what moving traffic takes.

    async def _activate(self, old: ServiceEndpoint, new: ServiceEndpoint) -> None:
        """Make an endpoint take over, from the one that last was active, which may still live.

        The manager names ``new`` as active only after this has returned; what it raises is a
        switch that failed, tried again an interval later. Here nothing needs doing: clients ask
        the manager whom to talk to.
        """

    # Checks come in.

    def _checked(self, watched: WatchedEndpoint, result: ProbeResult) -> None:
        run = self._run
        assert run is not None
        first = watched.tracker.status is HealthStatus.UNKNOWN and not watched.tracker.failures
        changed, matters = watched.observe(result, self._clock.monotonic())
        if changed:
            self._record_change(watched)
        if matters:
            self._switching.reconsider()
        if first:
            run.checked_once()

    def _record_change(self, watched: WatchedEndpoint) -> None:
        tracker, name = watched.tracker, watched.endpoint.name
        if tracker.status is HealthStatus.HEALTHY:
            reason = f"{_count(tracker.successes, 'good check')} in a row"
            self._record("endpoint_healthy", endpoint=name, reason=reason)
        else:
            reason = f"{_count(tracker.failures, 'failed check')} in a row: {watched.last_failure}"
            self._record("endpoint_unhealthy", endpoint=name, reason=reason)

    def _callback_failed(self, reason: str, move: Move) -> None:
        old, new = (None if each is None else each.name for each in move)
        self._record("callback_failed", old=old, new=new, reason=reason)

    def _record(
        self,
        kind: EventKind,
        *,
        endpoint: str | None = None,
        old: str | None = None,
        new: str | None = None,
        reason: str = "",
    ) -> None:
        now, monotonic = self._clock.now(), self._clock.monotonic()
        event = FailoverEvent(now, monotonic, kind, endpoint, old, new, reason)
        self._events.append(event)
        if self._on_event is not None:
            self._on_event(event)

    def _broken(self, error: BaseException) -> None:
        try:
            self._record("monitoring_failed", reason=repr(error))
        except Exception as second:  # noqa: BLE001 - it goes along with the first one
            error.add_note(f"on_event raised {second!r} when told of this")

    async def _end(self, run: Run) -> None:
        try:
            await run.end()
        finally:
            if self._run is run:
                self._run = None
                self._record("monitoring_stopped", new=self._switching.name(self._switching.active))

    # Guards.

    def _place(self, endpoint: ServiceEndpoint | str) -> int:
        name = endpoint.name if isinstance(endpoint, ServiceEndpoint) else endpoint
        if name not in self._places:
            known = ", ".join(self._places)
            raise ValueError(f"{name!r} is none of this manager's endpoints: {known}")
        return self._places[name]

    def _check_monitoring(self, purpose: str) -> None:
        run = self._run
        if run is not None and run.error is not None:
            raise monitoring_failed(run.error)
        if run is None or not run.is_alive:
            raise NotMonitoringError(f"only a manager that is monitoring can {purpose}")
        run.check_loop(purpose)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
