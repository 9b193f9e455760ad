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
    from pytest_drdrill.live import (
        AllowList,
        FaultProxy,
        HAProxyServer,
        LiveTarget,
        PostgresArchive,
        PostgresNode,
        ScratchNetwork,
    )
    from pytest_drdrill.live.dumps import RestoredDump
    from pytest_drdrill.live.redis import RedisSentinels, RedisServer
    from pytest_drdrill.measure import Canary, Drill, RPOTimer, RTOTimer
    from pytest_drdrill.objectives import Objectives
    from pytest_drdrill.replication import CrossRegionReplication
    from pytest_drdrill.simulation import (
        SimulatedBackups,
        SimulatedEndpoint,
        SimulatedRegions,
        SimulatedWorld,
    )


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
def simulated_world(request: pytest.FixtureRequest) -> SimulatedWorld:
    """The simulated world: its hosts, disks and network; who asks for it runs in virtual time."""
    from pytest_drdrill.session.virtual import world_of

    return world_of(request)


@pytest.fixture
def simulated_endpoints(request: pytest.FixtureRequest) -> Callable[..., list[SimulatedEndpoint]]:
    """Makes simulated endpoints by their names; who asks for it runs in virtual time."""
    from pytest_drdrill.session.virtual import world_of

    return world_of(request).endpoints


@pytest.fixture
def failover_manager(request: pytest.FixtureRequest) -> Callable[..., FailoverManager]:
    """Makes failover managers, for ``async with``; ``preset=`` sets one up as a tool is."""
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
def haproxy(request: pytest.FixtureRequest) -> Generator[Callable[..., HAProxyServer], None, None]:
    """Makes HAProxies in front of a drill's own servers; ended with the drill."""
    from pytest_drdrill.session.balancers import haproxies_of

    with haproxies_of(request) as make:
        yield make


@pytest.fixture
def simulated_regions(request: pytest.FixtureRequest) -> Callable[..., SimulatedRegions]:
    """Makes simulated regions by their names; who asks for it runs in virtual time."""
    from pytest_drdrill.session.virtual import world_of

    return world_of(request).regions


@pytest.fixture
def simulated_backups(request: pytest.FixtureRequest) -> Callable[..., SimulatedBackups]:
    """Makes what makes simulated backups, for a schedule; who asks for it runs in virtual time."""
    from pytest_drdrill.session.virtual import world_of

    return world_of(request).backups


@pytest.fixture
def live_target(request: pytest.FixtureRequest) -> Callable[..., LiveTarget]:
    """Gives a system that this live drill declares: ``host``, ``port``, ``dsn``, ``strike``."""
    from pytest_drdrill.session.live_parts import targets_of

    return targets_of(request)


@pytest.fixture
def live_targets(request: pytest.FixtureRequest) -> AllowList:
    """The systems that this test may touch: ``check(host, port)`` refuses all others."""
    from pytest_drdrill.session.live_parts import allowed_of

    return allowed_of(request)


@pytest.fixture
def replication(request: pytest.FixtureRequest) -> Callable[..., CrossRegionReplication]:
    """Makes replications between regions, for ``async with``; stopped with the drill."""
    from pytest_drdrill.session.wiring import replications_of

    return replications_of(request)


@pytest.fixture
def redis_primary(
    request: pytest.FixtureRequest,
) -> Generator[Callable[..., RedisServer], None, None]:
    """Makes scratch servers of Redis that run: ``kill``, ``pause``, ``start``; gone at the end."""
    from pytest_drdrill.session.redis_parts import primaries_of

    with primaries_of(request) as make:
        yield make


@pytest.fixture
def redis_replica(
    request: pytest.FixtureRequest,
) -> Generator[Callable[..., RedisServer], None, None]:
    """Makes replicas of a scratch server of Redis, in step with it; gone at the end."""
    from pytest_drdrill.session.redis_parts import replicas_of

    with replicas_of(request) as make:
        yield make


@pytest.fixture
def redis_sentinels(
    request: pytest.FixtureRequest,
) -> Generator[Callable[..., RedisSentinels], None, None]:
    """Makes Sentinels that watch a scratch server of Redis, and agree; gone at the end."""
    from pytest_drdrill.session.redis_parts import sentinels_of

    with sentinels_of(request) as make:
        yield make


@pytest.fixture
def postgres_restore(
    request: pytest.FixtureRequest,
) -> Generator[Callable[..., RestoredDump], None, None]:
    """Restores PostgreSQL dumps into scratch servers: ``postgres_restore(latest_backup(...))``."""
    from pytest_drdrill.session.restores import restores_of

    with restores_of(request) as restore:
        yield restore


@pytest.fixture
def faults(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[FaultInjector, None, None]:
    """Breaks things now, on scratch below pytest's temporary folder; undone at the drill's end."""
    from pytest_drdrill.session.wiring import faults_of

    injector = faults_of(request, tmp_path_factory.getbasetemp())
    yield injector
    injector.stack.undo_all()


@pytest.fixture
def fault_proxy(
    request: pytest.FixtureRequest,
) -> Generator[Callable[..., FaultProxy], None, None]:
    """Makes TCP proxies that break the network to a server: ``fault_proxy("127.0.0.1:5432")``."""
    from pytest_drdrill.session.proxies import proxies_of

    with proxies_of(request) as make:
        yield make


@pytest.fixture
def scratch_network(
    request: pytest.FixtureRequest,
) -> Generator[Callable[..., ScratchNetwork], None, None]:
    """Makes private networks of hosts on this machine, to be partitioned below TCP; needs root."""
    from pytest_drdrill.session.networks import networks_of

    with networks_of(request) as make:
        yield make


@pytest.fixture
def postgres_primary(request: pytest.FixtureRequest) -> Generator[PostgresNode, None, None]:
    """A real PostgreSQL of the test's own, empty and running; gone with the test."""
    from pytest_drdrill.session.postgres_parts import primary_of

    with primary_of(request) as primary:
        yield primary


@pytest.fixture
def postgres_standby(
    postgres_primary: PostgresNode,
) -> Generator[Callable[..., PostgresNode], None, None]:
    """Makes standbys of ``postgres_primary``, streaming from it; gone with the test."""
    from pytest_drdrill.session.postgres_parts import standbys_of

    with standbys_of(postgres_primary) as make:
        yield make


@pytest.fixture
def postgres_archive(
    postgres_primary: PostgresNode,
) -> Generator[PostgresArchive, None, None]:
    """The archive of ``postgres_primary``: a base backup, and all that it writes from then on."""
    from pytest_drdrill.session.postgres_parts import archive_of

    with archive_of(postgres_primary) as archive:
        yield archive
