"""What a drill asks for by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pytest_drdrill.backup import (
        BackupStrategy,
        DifferentialBackupStrategy,
        FullBackupStrategy,
        IncrementalBackupStrategy,
    )
    from pytest_drdrill.failover import (
        ActiveActiveCluster,
        ActivePassiveCluster,
        FailoverManager,
    )
    from pytest_drdrill.faults import FaultInjector
    from pytest_drdrill.measure import Canary, Drill, RPOTimer, RTOTimer
    from pytest_drdrill.objectives import Objectives
    from pytest_drdrill.replication import CrossRegionReplication
    from pytest_drdrill.simulation import SimulatedEndpoint, SimulatedRegions, SimulatedWorld


def _drill(request: pytest.FixtureRequest, fixture: str) -> Drill:
    from pytest_drdrill.session.start import run_of

    return run_of(request, fixture).drill


@pytest.fixture
def drill(request: pytest.FixtureRequest) -> Drill:
    """This drill: events, steps, preconditions, metrics, notes; all of it lands in the evidence."""
    return _drill(request, "drill")


@pytest.fixture
def rto_timer(request: pytest.FixtureRequest) -> RTOTimer:
    """Measures recovery time: ``with rto_timer.outage(): ...``, ``until``, ``wait_until``."""
    return _drill(request, "rto_timer").rto


@pytest.fixture
def rpo_timer(request: pytest.FixtureRequest) -> RPOTimer:
    """Measures lost work: a write ledger, or ``recovered_to(recovery_point)``."""
    return _drill(request, "rpo_timer").rpo


@pytest.fixture
def canary(request: pytest.FixtureRequest) -> Callable[..., Canary]:
    """Makes clients that write through the disaster, measure the outage and find what was lost."""
    from pytest_drdrill.session.canaries import canaries_of

    return canaries_of(request)


@pytest.fixture
def dr_objectives(request: pytest.FixtureRequest) -> Objectives:
    """The effective objectives of this drill: its tier's, narrowed by its own markers."""
    return _drill(request, "dr_objectives").objectives


@pytest.fixture
def _dr_repeat(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def full_backup(request: pytest.FixtureRequest) -> FullBackupStrategy:
    """Full backups of folders: ``create_backup``, ``verify_backup``, ``restore_backup``."""
    from pytest_drdrill.backup import FullBackupStrategy
    from pytest_drdrill.session.wiring import backup_of

    return backup_of(request, FullBackupStrategy)


@pytest.fixture
def incremental_backup(request: pytest.FixtureRequest) -> IncrementalBackupStrategy:
    """Backups of what changed since the last one; the first one is full."""
    from pytest_drdrill.backup import IncrementalBackupStrategy
    from pytest_drdrill.session.wiring import backup_of

    return backup_of(request, IncrementalBackupStrategy)


@pytest.fixture
def differential_backup(request: pytest.FixtureRequest) -> DifferentialBackupStrategy:
    """Backups of what changed since the last full one; the first one is full."""
    from pytest_drdrill.backup import DifferentialBackupStrategy
    from pytest_drdrill.session.wiring import backup_of

    return backup_of(request, DifferentialBackupStrategy)


@pytest.fixture(params=["full", "incremental", "differential"])
def backup_strategy(request: pytest.FixtureRequest) -> BackupStrategy:
    """Runs the drill once with each strategy."""
    return request.getfixturevalue(f"{request.param}_backup")  # type: ignore[no-any-return]


@pytest.fixture
def _dr_simulation(request: pytest.FixtureRequest) -> Generator[SimulatedWorld, None, None]:
    from pytest_drdrill.session.virtual import simulated_world

    with simulated_world(request) as world:
        yield world


@pytest.fixture
def simulated_endpoints(_dr_simulation: SimulatedWorld) -> Callable[..., list[SimulatedEndpoint]]:
    """Makes simulated endpoints by their names; who asks for it runs in virtual time."""
    return _dr_simulation.endpoints


@pytest.fixture
def failover_manager(request: pytest.FixtureRequest) -> Callable[..., FailoverManager]:
    """Makes failover managers, for ``async with``; stopped with the drill at the latest."""
    from pytest_drdrill.failover import FailoverManager
    from pytest_drdrill.session.wiring import monitors_of

    return monitors_of(request, FailoverManager)


@pytest.fixture
def active_passive_cluster(request: pytest.FixtureRequest) -> Callable[..., ActivePassiveCluster]:
    """Makes clusters of a primary and a secondary, for ``async with``; stopped with the drill."""
    from pytest_drdrill.failover import ActivePassiveCluster
    from pytest_drdrill.session.wiring import monitors_of

    return monitors_of(request, ActivePassiveCluster)


@pytest.fixture
def active_active_cluster(request: pytest.FixtureRequest) -> Callable[..., ActiveActiveCluster]:
    """Makes clusters whose healthy endpoints share the traffic; stopped with the drill."""
    from pytest_drdrill.failover import ActiveActiveCluster
    from pytest_drdrill.session.wiring import monitors_of

    return monitors_of(request, ActiveActiveCluster)


@pytest.fixture
def simulated_regions(_dr_simulation: SimulatedWorld) -> Callable[..., SimulatedRegions]:
    """Makes simulated regions by their names; who asks for it runs in virtual time."""
    return _dr_simulation.regions


@pytest.fixture
def replication(request: pytest.FixtureRequest) -> Callable[..., CrossRegionReplication]:
    """Makes replications between regions, for ``async with``; stopped with the drill."""
    from pytest_drdrill.session.wiring import replications_of

    return replications_of(request)


@pytest.fixture
def faults(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[FaultInjector, None, None]:
    """Breaks things now, on scratch below pytest's temporary folder; undone at the drill's end."""
    from pytest_drdrill.session.wiring import faults_of

    injector = faults_of(request, tmp_path_factory.getbasetemp())
    yield injector
    injector.stack.undo_all()
