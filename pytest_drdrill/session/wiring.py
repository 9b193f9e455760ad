"""Domain parts wired to the drill that asks for them: its clock, its timeline, its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pytest_drdrill.backup import BackupStrategy
from pytest_drdrill.durations import format_duration
from pytest_drdrill.failover import FailoverManager
from pytest_drdrill.faults import FaultInjector
from pytest_drdrill.session.runner import RUN
from pytest_drdrill.session.virtual import active_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import pytest

    from pytest_drdrill.failover import FailoverEvent, ServiceEndpoint
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


def _stop(manager: FailoverManager) -> None:
    """Stop a manager that the body left running, in the loop it runs in.

    Raises:
        MonitoringFailed: it had broken, so nothing that it said since can be relied on.
    """
    loop = manager.loop
    if loop is not None and not (loop.is_closed() or loop.is_running()):
        loop.run_until_complete(manager.stop_monitoring())
