"""The monitoring that managers and clusters share: checks, health, events, a start and an end."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self, TypedDict

from pytest_drdrill.clock import Clock, RealClock
from pytest_drdrill.failover import settings
from pytest_drdrill.failover.announcer import Announcer
from pytest_drdrill.failover.changes import told_changes
from pytest_drdrill.failover.checks import WatchedEndpoint, check_forever
from pytest_drdrill.failover.endpoint import HealthStatus, ServiceEndpoint
from pytest_drdrill.failover.errors import FailoverError, MonitoringFailed, NotMonitoringError
from pytest_drdrill.failover.events import EventKind, FailoverEvent
from pytest_drdrill.failover.pause import Pause
from pytest_drdrill.failover.prober import HttpProber, Prober
from pytest_drdrill.failover.run import Conductor, Run, monitoring_failed, shown_failure
from pytest_drdrill.failover.timing import CheckGrid, detection_bounds, phase
from pytest_drdrill.failover.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import timedelta
    from types import TracebackType

    from pytest_drdrill.failover.checks import Observation
    from pytest_drdrill.failover.damping import FlapDamping
    from pytest_drdrill.failover.prober import ProbeResult
    from pytest_drdrill.failover.watching import Watcher


class WatchOptions(TypedDict, total=False):
    """The settings of ``Monitor``, for whoever passes them on."""

    failure_threshold: int
    check_interval: str | timedelta
    recovery_threshold: int
    fast_interval: str | timedelta | None
    watch: bool
    flap_damping: FlapDamping | None
    jitter: str | timedelta
    seed: int | str
    prober: Prober | None
    clock: Clock | None
    on_event: Callable[[FailoverEvent], None] | None


class Monitor(ABC):
    """Watches endpoints, and lets a conductor decide what their health means for the traffic.

    ``FailoverManager`` documents the settings; a subclass sets ``_conductor``.
    """

    _conductor: Conductor

    def __init__(  # noqa: PLR0913 - settings with defaults, by keyword
        self,
        endpoints: Iterable[ServiceEndpoint],
        *,
        failure_threshold: int = 3,
        check_interval: str | timedelta = "30s",
        recovery_threshold: int = 2,
        fast_interval: str | timedelta | None = None,
        watch: bool = False,
        flap_damping: FlapDamping | None = None,
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
        self._fast_interval = settings.fast_interval(fast_interval, self._interval)
        self._jitter = settings.jitter(jitter, self._interval)
        damping = settings.damping(flap_damping)
        self._seed = seed
        self._prober: Prober = HttpProber() if prober is None else prober
        self._watcher = settings.watcher(watch, self._prober)
        self._clock: Clock = RealClock() if clock is None else clock
        self._on_event = on_event
        self._watched = [
            WatchedEndpoint(
                each, min(each.timeout, self._interval).total_seconds(), thresholds, damping
            )
            for each in ordered
        ]
        self._places = {each.name: place for place, each in enumerate(ordered)}
        self._announcer = Announcer(self._callback_failed, self._clock)
        self._events: list[FailoverEvent] = []
        self._run: Run | None = None

    # What is known.

    @property
    def endpoints(self) -> tuple[ServiceEndpoint, ...]:
        """The endpoints, the preferred one first."""
        return tuple(watched.endpoint for watched in self._watched)

    @property
    def events(self) -> tuple[FailoverEvent, ...]:
        """Everything that happened since this was made, in order."""
        return tuple(self._events)

    @property
    def is_monitoring(self) -> bool:
        """Whether checks are running: from a start to its stop, or to a failure of the monitor."""
        return self._run is not None and self._run.is_alive

    @property
    def watches(self) -> bool:
        """Whether it holds a connection to each endpoint, between the checks."""
        return self._watcher is not None

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop it was started in, until it is stopped, broken or not; else None."""
        return None if self._run is None else self._run.loop

    @property
    def failure(self) -> MonitoringFailed | None:
        """What broke it, until it is stopped; None for one that is sound or does not run."""
        if self._run is None or self._run.error is None:
            return None
        return monitoring_failed(self._run.error)

    def get_endpoint_status(self, endpoint: ServiceEndpoint | str) -> HealthStatus:
        """What the checks say of an endpoint; after a stop, what they said last.

        Raises:
            ValueError: the endpoint, or its name, is none of those that are watched.
        """
        return self._watched[self._place(endpoint)].tracker.status

    def gets_traffic(self, endpoint: ServiceEndpoint | str) -> bool:
        """Whether new requests go to an endpoint.

        Raises:
            ValueError: the endpoint, or its name, is none of those that are watched.
        """
        return self._gets_traffic(self._place(endpoint))

    @property
    def has_traffic(self) -> bool:
        """Whether new requests go to any endpoint."""
        return any(map(self._gets_traffic, range(len(self._watched))))

    def predicted_detection(
        self, endpoint: ServiceEndpoint | str | None = None, *, by_watch: bool = False
    ) -> tuple[timedelta, timedelta]:
        """Shortest and longest time from a disaster until its endpoint is seen to be unhealthy.

        With n the failure threshold and c what a failing check takes, from nothing (the connection
        is refused) to the timeout (the endpoint is silent), it is ``(n - 1) x interval + c`` when
        the disaster comes just before a check, and ``n x interval + c`` just after one. So the
        bounds are ``(n - 1) x interval - jitter`` (at least zero) and ``n x interval + timeout +
        jitter``. With a ``fast_interval`` f, at which all checks but the first one follow, or as
        fast as their timeouts let them, they are ``(n - 1) x f - jitter`` and ``interval + (n - 1)
        x max(f, timeout) + timeout + jitter``. A check that was under way counts from its start: it
        may take off what a healthy answer takes. The switch itself is not in it.

        ``watch`` changes only what a held connection can see: where that breaks, the first of the n
        checks comes at once instead of within an interval, and the bounds, those ``by_watch``, are
        ``(n - 1) x f`` and ``(n - 1) x max(f, timeout) + timeout``. An endpoint that hangs, a host
        without power and a network that is parted break no connection, so without ``by_watch`` the
        longest time stays what it is. Where there is no ``fast_interval`` the second check may
        follow the first one, which is beside the fixed rate, at once: then the shortest time is
        less by an interval, but not less than nothing.

        Args:
            endpoint: whose timeout counts; by default the longest of all.
            by_watch: the bounds for a disaster that breaks the held connection of its endpoint.

        Source: derived from checks at a fixed rate; the settings are HAProxy's ``fall`` (n),
        ``inter`` (interval, which it counts from the end of a check) and ``fastinter`` (f), HAProxy
        Configuration Manual, section 5.2.

        Raises:
            ValueError: the endpoint, or its name, is none of those that are watched, or no
                connection is held, since there is no ``watch``.
        """
        if by_watch and self._watcher is None:
            raise ValueError("by_watch has no meaning without watch=True: no connection is held")
        if endpoint is None:
            timeout = max(watched.endpoint.timeout for watched in self._watched)
        else:
            timeout = self._watched[self._place(endpoint)].endpoint.timeout
        return detection_bounds(
            self._failure_threshold,
            self._interval,
            min(timeout, self._interval),
            self._jitter,
            self._fast_interval,
            watch=self._watcher is not None,
            by_watch=by_watch,
        )

    # What a caller can do.

    async def start_monitoring(self) -> None:
        """Start to watch; returns when every endpoint has been checked once.

        The statuses begin as unknown; where traffic goes stays as it was. Decisions begin with the
        first round complete, which takes as long as its slowest check, and the jitter. Where there
        is a traffic switch, it returns when that has been told where traffic is to go, or could not
        be, which is an event and is tried again.

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
            conductor=self._conductor,
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
            self._record("monitoring_started", new=self._name_of_active())
            await self._prober.open()
            run.announcers.start(self._announcer.tell_forever(), "failover callbacks")
            begin, every = self._clock.monotonic(), self._interval.total_seconds()
            fast = None if self._fast_interval is None else self._fast_interval.total_seconds()
            for watched in self._watched:
                name = watched.endpoint.name
                grid = CheckGrid(begin + phase(self._seed, name, self._jitter), every)
                pause = None if self._watcher is None else Pause(self._clock)
                work = check_forever(
                    watched, grid, self._prober, self._clock, self._checked, fast, pause
                )
                run.workers.start(work, f"failover checks of {name}")
                if self._watcher is not None and pause is not None:
                    watched.watch = self._watch_of(watched, self._watcher, pause)
                    run.workers.start(watched.watch.keep_forever(), f"failover watch of {name}")
            await run.first_round
            decisions = self._conductor.decide_forever(run.decided_once)
            run.workers.start(decisions, "failover decisions")
            if self._decides_first:
                await run.first_decision
        except BaseException:
            await self._end(run)
            raise

    async def stop_monitoring(self) -> None:
        """Stop watching: ends every task and closes the prober. Stopping twice is no error.

        Traffic stays where it is.

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

    # What a subclass knows.

    @property
    def _decides_first(self) -> bool:
        """Whether a start waits for the first decision."""
        return False

    def _name_of_active(self) -> str | None:
        """The name of the one endpoint that traffic goes to, where there is such a one."""
        return None

    @abstractmethod
    def _gets_traffic(self, place: int) -> bool:
        """Whether an endpoint gets traffic, as far as is known."""

    # Checks come in.

    def _checked(self, watched: WatchedEndpoint, result: ProbeResult) -> None:
        run = self._run
        assert run is not None
        first = watched.tracker.status is HealthStatus.UNKNOWN and not watched.tracker.failures
        seen = watched.observe(result, self._clock.monotonic())
        if seen.changed:
            self._record_change(watched, seen)
        if seen.matters:
            self._conductor.reconsider()
        if watched.watch is not None:
            watched.watch.checked(result.healthy)
        if first:
            run.checked_once()

    def _watch_of(self, watched: WatchedEndpoint, watcher: Watcher, pause: Pause) -> Watch:
        return Watch(
            watched=watched,
            watcher=watcher,
            clock=self._clock,
            interval=self._interval.total_seconds(),
            call_up=pause.call_up,
            record=self._record,
        )

    def _record_change(self, watched: WatchedEndpoint, seen: Observation) -> None:
        for kind, reason in told_changes(watched, seen, self._clock):
            self._record(kind, endpoint=watched.endpoint.name, reason=reason)

    def _callback_failed(self, reason: str, move: Sequence[object]) -> None:
        old, new = (each.name if isinstance(each, ServiceEndpoint) else None for each in move)
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
            self._record("monitoring_failed", reason=shown_failure(error))
        except Exception as second:  # noqa: BLE001 - it goes along with the first one
            error.add_note(f"on_event raised {second!r} when told of this")

    async def _end(self, run: Run) -> None:
        try:
            await run.end()
        finally:
            if self._run is run:
                self._run = None
                self._record("monitoring_stopped", new=self._name_of_active())

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
