"""Domain parts wired to the drill that asks for them: its clock, its timeline, its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pytest_drdrill.backup import BackupStrategy
from pytest_drdrill.durations import format_duration
from pytest_drdrill.failover import FailoverManager
from pytest_drdrill.faults import FaultInjector
from pytest_drdrill.replication import CrossRegionReplication
from pytest_drdrill.session.runner import RUN
from pytest_drdrill.session.virtual import active_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import pytest

    from pytest_drdrill.failover import FailoverEvent, ServiceEndpoint
    from pytest_drdrill.replication import Region, ReplicationEvent
    from pytest_drdrill.session.run import DrillRun

_Strategy = TypeVar("_Strategy", bound=BackupStrategy)


def backup_of(request: pytest.FixtureRequest, kind: type[_Strategy]) -> _Strategy:
    """A backup strategy on the drill's clock; what it does is on the drill's timeline."""
    run = _running(request)
    return kind() if run is None else kind(clock=run.drill.clock, on_event=run.drill.event)


def managers_of(request: pytest.FixtureRequest) -> Callable[..., FailoverManager]:
    """A factory of failover managers on the drill's clock; its timeline shows what they did.

    In virtual time they check in memory, and their chance is that of the world.
    """
    run = _running(request)

    def make(endpoints: Iterable[ServiceEndpoint], *args: Any, **settings: Any) -> FailoverManager:
        world = active_world()
        if world is not None:
            from pytest_drdrill.simulation import SimulatedProber  # only for simulated drills

            parts = {"prober": SimulatedProber(), "clock": world.clock, "seed": world.seed}
            settings = parts | settings
        if run is None:
            return FailoverManager(endpoints, *args, **settings)
        settings.setdefault("clock", run.drill.clock)
        own = settings.pop("on_event", None)

        def told(event: FailoverEvent) -> None:
            _tell(run, manager, event)
            if own is not None:
                own(event)

        manager = FailoverManager(endpoints, *args, on_event=told, **settings)
        run.at_body_end.append(lambda: _stop(manager))
        return manager

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


def _tell(run: DrillRun, manager: FailoverManager, event: FailoverEvent) -> None:
    drill = run.drill
    moved = ""
    if event.old is not None or event.new is not None:
        moved = f"{event.old or 'no endpoint'} to {event.new or 'no endpoint'}"
    parts = (event.endpoint or "", moved, event.reason)
    detail = ": ".join(part for part in parts if part)
    if event.kind == "monitoring_started":
        least, most = (format_duration(span) for span in manager.predicted_detection())
        detail += f"; should it fail, it is noticed after {least} to {most}"
    name = event.kind.replace("_", " ")
    drill.timeline.record(name, detail, at=event.monotonic)
    if run.world is not None:
        run.world.trace.add(event.monotonic, "failover manager", name, detail)
    if event.kind == "endpoint_unhealthy" and drill.rto.in_outage:
        active = manager.get_active_endpoint()
        # Of a spare that was down all along, nobody notices the outage.
        if active is None or active.name == event.endpoint:
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


def _stop(manager: FailoverManager) -> None:
    """Stop a manager that the body left running, in the loop it runs in.

    Raises:
        MonitoringFailed: it had broken, so nothing that it said since can be relied on.
    """
    loop = manager.loop
    if loop is not None and not (loop.is_closed() or loop.is_running()):
        loop.run_until_complete(manager.stop_monitoring())
