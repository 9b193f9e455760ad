"""PostgreSQL: scratch servers, their replicas and archives, and clients of any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.late import names_of

if TYPE_CHECKING:
    from pytest_drdrill.live.postgres.archive import BaseBackup, PostgresArchive, RestoredServer
    from pytest_drdrill.live.postgres.binaries import (
        PostgresBinaries,
        find_postgres,
        installed_postgres,
    )
    from pytest_drdrill.live.postgres.client import (
        PostgresCanaryClient,
        PostgresWriteFailed,
        postgres_canary,
    )
    from pytest_drdrill.live.postgres.errors import PostgresError
    from pytest_drdrill.live.postgres.fencing import PostgresFailover
    from pytest_drdrill.live.postgres.node import PostgresLag, PostgresNode
    from pytest_drdrill.live.postgres.operator import Mistake
    from pytest_drdrill.live.postgres.rejoining import Rejoined
    from pytest_drdrill.live.postgres.server import PostgresServer

__getattr__ = names_of(
    __name__,
    {
        "archive": ["BaseBackup", "PostgresArchive", "RestoredServer"],
        "binaries": ["PostgresBinaries", "find_postgres", "installed_postgres"],
        "client": ["PostgresCanaryClient", "PostgresWriteFailed", "postgres_canary"],
        "errors": ["PostgresError"],
        "fencing": ["PostgresFailover"],
        "node": ["PostgresLag", "PostgresNode"],
        "operator": ["Mistake"],
        "rejoining": ["Rejoined"],
        "server": ["PostgresServer"],
    },
)

__all__ = [
    "BaseBackup",
    "Mistake",
    "PostgresArchive",
    "PostgresBinaries",
    "PostgresCanaryClient",
    "PostgresError",
    "PostgresFailover",
    "PostgresLag",
    "PostgresNode",
    "PostgresServer",
    "PostgresWriteFailed",
    "Rejoined",
    "RestoredServer",
    "find_postgres",
    "installed_postgres",
    "postgres_canary",
]
