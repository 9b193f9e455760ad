"""Domain parts wired to the drill that asks for them: its clock, its timeline, its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_drdrill.backup import FullBackupStrategy
from pytest_drdrill.durations import format_duration
from pytest_drdrill.failover import FailoverManager
from pytest_drdrill.faults import FaultInjector
from pytest_drdrill.session.runner import RUN

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import pytest

    from pytest_drdrill.backup import BackupJob, RestoreResult, VerifyResult
    from pytest_drdrill.failover import FailoverEvent, ServiceEndpoint
    from pytest_drdrill.measure import Drill
    from pytest_drdrill.session.run import DrillRun


def backup_of(request: pytest.FixtureRequest) -> FullBackupStrategy:
    """Full backups; what they do is on the drill's timeline."""
    run = _running(request)
    return FullBackupStrategy() if run is None else _TimedFullBackup(run.drill)


def managers_of(request: pytest.FixtureRequest) -> Callable[..., FailoverManager]:
    """A factory of failover managers on the drill's clock; its timeline shows what they did."""
    run = _running(request)

    def make(endpoints: Iterable[ServiceEndpoint], *args: Any, **settings: Any) -> FailoverManager:
        if run is None:
            return FailoverManager(endpoints, *args, **settings)
        settings.setdefault("clock", run.drill.clock)
        own = settings.pop("on_event", None)

        def told(event: FailoverEvent) -> None:
            _tell(run.drill, manager, event)
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


class _TimedFullBackup(FullBackupStrategy):
    """Full backups that tell the drill's timeline what they did."""

    def __init__(self, drill: Drill) -> None:
        super().__init__(clock=drill.clock)
        self._drill = drill

    def create_backup(
        self, source: str | os.PathLike[str], destination: str | os.PathLike[str]
    ) -> BackupJob:
        job = super().create_backup(source, destination)
        self._drill.event("backup completed", f"{job.id}: {_size(job)}")
        return job

    def restore_backup(
        self,
        job: BackupJob,
        restore_path: str | os.PathLike[str],
        *,
        replace: bool = False,
        paths: Iterable[str | os.PathLike[str]] | None = None,
    ) -> RestoreResult:
        self._drill.event("restore started", getattr(job, "id", ""))
        result = super().restore_backup(job, restore_path, replace=replace, paths=paths)
        self._drill.event("restore completed", f"{job.id}: verified and swapped in")
        return result

    def verify_backup(self, job: BackupJob) -> VerifyResult:
        result = super().verify_backup(job)
        self._drill.event("backup verified", job.id)
        return result


def _size(job: BackupJob) -> str:
    files = f"{job.file_count:,} file{'s' if job.file_count != 1 else ''}"
    if job.size_bytes < 1_000_000:  # noqa: PLR2004 - a megabyte
        return f"{files}, {job.size_bytes:,} bytes"
    return f"{files}, {job.size_bytes / 1e6:,.1f} MB"


def _tell(drill: Drill, manager: FailoverManager, event: FailoverEvent) -> None:
    moved = ""
    if event.old is not None or event.new is not None:
        moved = f"{event.old or 'no endpoint'} to {event.new or 'no endpoint'}"
    parts = (event.endpoint or "", moved, event.reason)
    detail = ": ".join(part for part in parts if part)
    if event.kind == "monitoring_started":
        least, most = (format_duration(span) for span in manager.predicted_detection())
        detail += f"; should it fail, it is noticed after {least} to {most}"
    drill.timeline.record(event.kind.replace("_", " "), detail, at=event.monotonic)
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
