"""Domain parts wired to the drill that asks for them: its clock, its timeline, its end."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_drdrill.backup import BackupStrategy
from pytest_drdrill.durations import format_duration
from pytest_drdrill.failover.crew import CancelledFromOutsideError
from pytest_drdrill.failover.monitor import Monitor
from pytest_drdrill.faults import FaultInjector
from pytest_drdrill.replication import CrossRegionReplication
from pytest_drdrill.session.runner import RUN
from pytest_drdrill.session.terminated import end_cleanly_on_signals
from pytest_drdrill.session.virtual import active_world

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Iterable
    from pathlib import Path

    import pytest

    from pytest_drdrill.failover import FailoverEvent, Preset
    from pytest_drdrill.measure import Drill
    from pytest_drdrill.replication import Region, ReplicationEvent
    from pytest_drdrill.session.run import DrillRun

_RESOLUTION = timedelta(microseconds=1)

_Strategy = TypeVar("_Strategy", bound=BackupStrategy)


def backup_of(request: pytest.FixtureRequest, kind: type[_Strategy]) -> _Strategy:
    """A backup strategy on the drill's clock; what it does is on the drill's timeline."""
    run = _running(request)
    if run is None:
        return kind()
    drill = run.drill

    def told(event: str, detail: str) -> None:
        drill.event(event, detail)
        if active_world() is not None:
            drill.rto.did_real_work(event)

    return kind(clock=drill.clock, on_event=told)


_Monitor = TypeVar("_Monitor", bound=Monitor)


def monitors_of(
    request: pytest.FixtureRequest, kind: Callable[..., _Monitor]
) -> Callable[..., _Monitor]:
    """A factory of managers or clusters on the drill's clock; its timeline shows what they did.

    In virtual time they check in memory, and their chance is that of the world. With a ``preset``
    they check as a tool does; what is set beside it comes before what the preset says.
    """
    run = _running(request)

    def make(*args: Any, preset: Preset | None = None, **settings: Any) -> _Monitor:
        if preset is not None:
            settings = _options_of(preset, settings) | settings
        world = active_world()
        if world is not None:
            from pytest_drdrill.simulation import SimulatedProber  # only for simulated drills

            parts = {"prober": SimulatedProber(), "clock": world.clock, "seed": world.seed}
            settings = parts | settings
        if run is None:
            return _as_preset(kind(*args, **settings), preset)
        settings.setdefault("clock", run.drill.clock)
        own = settings.pop("on_event", None)

        def told(event: FailoverEvent) -> None:
            _tell(run, monitor, event)
            if own is not None:
                own(event)

        monitor = _as_preset(kind(*args, on_event=told, **settings), preset)
        run.at_body_end.append(lambda: _stop(monitor))
        return monitor

    return make


def replications_of(request: pytest.FixtureRequest) -> Callable[..., CrossRegionReplication]:
    """A factory of replications on the drill's clock; its timeline shows what they did.

    In virtual time they meet their regions through the network of the world, and their chance is
    that of the world.
    """
    run = _running(request)

    def make(regions: Iterable[Region], *args: Any, **settings: Any) -> CrossRegionReplication:
        world = active_world()
        if world is not None:
            parts = {"network": world.network, "clock": world.clock, "seed": world.seed}
            settings = parts | settings
        if run is None:
            return CrossRegionReplication(regions, *args, **settings)
        settings.setdefault("clock", run.drill.clock)
        own = settings.pop("on_event", None)

        def told(event: ReplicationEvent) -> None:
            _tell_of_regions(run, replication, event)
            if own is not None:
                own(event)

        replication = CrossRegionReplication(regions, *args, on_event=told, **settings)
        run.at_body_end.append(lambda: _stop_replication(replication))
        return replication

    return make


def faults_of(request: pytest.FixtureRequest, scratch: Path) -> FaultInjector:
    """Faults on the drill's scratch; each is on its timeline."""
    run = _running(request)
    end_cleanly_on_signals(request.config)
    injector = FaultInjector([scratch], announce=None if run is None else run.drill.event)
    if run is not None:
        # When the body ends, before any fixture does: one that ends a process waits for it, and
        # would for ever while the process is paused.
        run.at_body_end.append(injector.stack.undo_all)
        if run.live is not None:
            run.live.watch(injector.stack)
    return injector


def _running(request: pytest.FixtureRequest) -> DrillRun | None:
    """The drill that asks; None for an ordinary test, which these parts serve as well."""
    run: DrillRun | None = request.node.stash.get(RUN, None)
    return run


def _tell(run: DrillRun, monitor: Monitor, event: FailoverEvent) -> None:
    drill = run.drill
    moved = ""
    if event.old is not None or event.new is not None:
        moved = f"{event.old or 'no endpoint'} to {event.new or 'no endpoint'}"
    parts = (event.endpoint or "", moved, event.reason)
    detail = ": ".join(part for part in parts if part)
    if event.kind == "monitoring_started":
        detail += "; " if detail else ""
        detail += f"should it fail, it is noticed after {_shown(monitor.predicted_detection())}"
        if monitor.watches:
            sooner = _shown(monitor.predicted_detection(by_watch=True))
            detail += f", or {sooner} where that breaks its connection"
    # Of a spare that was down all along, nobody notices the outage.
    noticed = (
        event.kind == "endpoint_unhealthy"
        and drill.rto.in_outage
        and (monitor.gets_traffic(event.endpoint or "") or not monitor.has_traffic)
    )
    if noticed:
        detail += _beside_prediction(drill, monitor, event)
    name = event.kind.replace("_", " ")
    drill.timeline.record(name, detail, at=event.monotonic)
    if run.world is not None:
        run.world.trace.add(event.monotonic, "failover manager", name, detail)
    if noticed:
        drill.rto.detected()


def _tell_of_regions(
    run: DrillRun, replication: CrossRegionReplication, event: ReplicationEvent
) -> None:
    drill = run.drill
    regions = " and ".join(each for each in (event.region, event.other) if each is not None)
    detail = ": ".join(part for part in (regions, event.reason) if part)
    name = event.kind.replace("_", " ")
    drill.timeline.record(name, detail, at=event.monotonic)
    if run.world is not None:
        run.world.trace.add(event.monotonic, "replication", name, detail)
    if event.kind == "fallback":
        drill.rpo.weakened(f"the replication fell back to a weaker mode: {event.reason}")
    ends = (event.region, event.other)
    # Of two secondaries that miss each other, no client notices anything.
    if event.kind == "connection_lost" and drill.rto.in_outage and replication.primary.name in ends:
        drill.rto.detected()


def _stop_replication(replication: CrossRegionReplication) -> None:
    """Stop a replication that the body left running, in the loop it runs in.

    Raises:
        ReplicationFailed: it had broken, so nothing that it did since can be relied on.
    """
    _end_in(replication.loop, replication.stop_replication, replication.failure)


def _end_in(
    loop: asyncio.AbstractEventLoop | None,
    stop: Callable[[], Coroutine[Any, Any, None]],
    failure: Exception | None,
) -> None:
    """Stop what runs in a loop; where that is gone, as after ``asyncio.run``, nothing runs in it.

    Raises:
        Exception: it had broken, in a loop that is there or not.
    """
    if loop is None:
        return
    if not (loop.is_closed() or loop.is_running()):
        loop.run_until_complete(stop())
    elif failure is not None:
        raise failure


def _beside_prediction(drill: Drill, monitor: Monitor, event: FailoverEvent) -> str:
    """How long the detection took, beside the time that was predicted for it."""
    disaster = drill.timeline.disasters[-1].at
    took = timedelta(seconds=event.monotonic - disaster)
    (endpoint,) = (each for each in monitor.endpoints if each.name == event.endpoint)
    # One that is lost later was broken by what came after the disaster, which it did not tell of.
    by_watch = any(
        each.kind == "connection_lost"
        and each.endpoint == event.endpoint
        and 0 <= each.monotonic - disaster <= endpoint.timeout.total_seconds()
        for each in monitor.events
    )
    least, most = monitor.predicted_detection(event.endpoint, by_watch=by_watch)
    if took < least - _RESOLUTION:
        where = "sooner than predicted:"
    elif took > most + _RESOLUTION:
        where = "later than predicted:"
    else:
        where = "as predicted:"
    bounds = _shown((least, most)) + " by its lost connection" * by_watch
    return f"; {format_duration(took)} after the disaster, {where} {bounds}"


def _options_of(preset: object, beside: dict[str, Any]) -> dict[str, Any]:
    """The settings of a manager or a cluster that checks as a preset's tool does.

    Args:
        preset: the preset.
        beside: what is set beside it. A check_interval is the fast interval too, where the preset
            has but one.

    Raises:
        TypeError: no preset, or a check_interval that is neither text nor a timedelta.
        ValueError: a manager can't check as the tool does, or a check_interval that is no duration
            or shorter than the preset's fast interval.
    """
    from pytest_drdrill.failover import Preset  # only for who asks for one
    from pytest_drdrill.failover.settings import duration

    if not isinstance(preset, Preset):
        raise TypeError(f"preset must be one, such as HAProxyPreset(inter='2s'), not {preset!r}")
    options: dict[str, Any] = dict(preset.options())
    if "check_interval" in beside and "fast_interval" not in beside:
        interval, fast = duration("check_interval", beside["check_interval"]), "fast_interval"
        if options[fast] == options["check_interval"]:
            options[fast] = interval
        elif options[fast] > interval:
            raise ValueError(
                f"the preset of {preset.tool} has a fast interval of "
                f"{format_duration(options[fast])}, above the check_interval of "
                f"{format_duration(interval)} that is set beside it; set fast_interval as well"
            )
    return options


def _as_preset(monitor: _Monitor, preset: Preset | None) -> _Monitor:
    """The same monitor, whose endpoints have the timeouts of the preset's checks.

    Raises:
        ValueError: they have others.
    """
    if preset is not None:
        preset.options(monitor.endpoints)
    return monitor


def _shown(bounds: tuple[timedelta, timedelta]) -> str:
    return " to ".join(format_duration(span) for span in bounds)


def _stop(monitor: Monitor) -> None:
    """Stop a manager or a cluster that the body left running, in the loop it runs in.

    Raises:
        MonitoringFailed: it had broken, so nothing that it said since can be relied on.
    """
    failure = monitor.failure
    if failure is not None and isinstance(failure.__cause__, CancelledFromOutsideError):
        failure = None  # it was sound, and ended as ``asyncio.run`` ends all that it finds
    _end_in(monitor.loop, monitor.stop_monitoring, failure)
