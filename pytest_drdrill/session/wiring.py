"""Domain parts wired to the drill that asks for them: its clock, its timeline, its end."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_drdrill.backup import BackupStrategy
from pytest_drdrill.durations import format_duration
from pytest_drdrill.failover.monitor import Monitor
from pytest_drdrill.faults import FaultInjector
from pytest_drdrill.replication import CrossRegionReplication
from pytest_drdrill.session.runner import RUN
from pytest_drdrill.session.virtual import active_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import pytest

    from pytest_drdrill.failover import FailoverEvent
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

    In virtual time they check in memory, and their chance is that of the world.
    """
    run = _running(request)

    def make(*args: Any, **settings: Any) -> _Monitor:
        world = active_world()
        if world is not None:
            from pytest_drdrill.simulation import SimulatedProber  # only for simulated drills

            parts = {"prober": SimulatedProber(), "clock": world.clock, "seed": world.seed}
            settings = parts | settings
        if run is None:
            return kind(*args, **settings)
        settings.setdefault("clock", run.drill.clock)
        own = settings.pop("on_event", None)

        def told(event: FailoverEvent) -> None:
            _tell(run, monitor, event)
            if own is not None:
                own(event)

        monitor = kind(*args, on_event=told, **settings)
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
    injector = FaultInjector([scratch], announce=None if run is None else run.drill.event)
    if run is not None:
        # When the body ends, before any fixture does: one that ends a process waits for it, and
        # would for ever while the process is paused.
        run.at_body_end.append(injector.stack.undo_all)
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
        least, most = (format_duration(span) for span in monitor.predicted_detection())
        detail += "; " if detail else ""
        detail += f"should it fail, it is noticed after {least} to {most}"
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
    loop = replication.loop
    if loop is not None and not (loop.is_closed() or loop.is_running()):
        loop.run_until_complete(replication.stop_replication())


def _beside_prediction(drill: Drill, monitor: Monitor, event: FailoverEvent) -> str:
    """How long the detection took, beside the time that was predicted for it."""
    took = timedelta(seconds=event.monotonic - drill.timeline.disasters[-1].at)
    least, most = monitor.predicted_detection(event.endpoint)
    if took < least - _RESOLUTION:
        where = "sooner than predicted:"
    elif took > most + _RESOLUTION:
        where = "later than predicted:"
    else:
        where = "as predicted:"
    bounds = f"{format_duration(least)} to {format_duration(most)}"
    return f"; {format_duration(took)} after the disaster, {where} {bounds}"


def _stop(monitor: Monitor) -> None:
    """Stop a manager or a cluster that the body left running, in the loop it runs in.

    Raises:
        MonitoringFailed: it had broken, so nothing that it said since can be relied on.
    """
    loop = monitor.loop
    if loop is not None and not (loop.is_closed() or loop.is_running()):
        loop.run_until_complete(monitor.stop_monitoring())
