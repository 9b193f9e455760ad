"""Adapters to real parts: servers that a drill starts as scratch, and systems that exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.late import names_of

if TYPE_CHECKING:
    from pytest_drdrill.live.errors import ComponentMissing, ServerFailed
    from pytest_drdrill.live.folder_client import folder_canary
    from pytest_drdrill.live.haproxy import HAProxyError, HAProxyServer, HAProxyTraffic
    from pytest_drdrill.live.http_client import http_canary
    from pytest_drdrill.live.network import NetworkHost, ScratchNetwork
    from pytest_drdrill.live.postgres import (
        PostgresArchive,
        PostgresBinaries,
        PostgresCanaryClient,
        PostgresError,
        PostgresFailover,
        PostgresLag,
        PostgresNode,
        PostgresServer,
        find_postgres,
        postgres_canary,
    )
    from pytest_drdrill.live.proxy import FaultProxy
    from pytest_drdrill.live.redis import (
        RedisCanary,
        RedisSentinels,
        RedisServer,
        RedisWriteError,
        redis_canary,
    )
    from pytest_drdrill.live.refused import LiveRefused, TargetHeld, TargetUnset
    from pytest_drdrill.live.server import ScratchServer
    from pytest_drdrill.live.target import LiveTarget
    from pytest_drdrill.live.targets import AllowList

_HOMES = {
    "errors": ("ComponentMissing", "ServerFailed"),
    "folder_client": ("folder_canary",),
    "haproxy": ("HAProxyError", "HAProxyServer", "HAProxyTraffic"),
    "http_client": ("http_canary",),
    "network": ("NetworkHost", "ScratchNetwork"),
    "postgres": (
        "PostgresArchive",
        "PostgresBinaries",
        "PostgresCanaryClient",
        "PostgresError",
        "PostgresFailover",
        "PostgresLag",
        "PostgresNode",
        "PostgresServer",
        "find_postgres",
        "postgres_canary",
    ),
    "proxy": ("FaultProxy",),
    "redis": ("RedisCanary", "RedisSentinels", "RedisServer", "RedisWriteError", "redis_canary"),
    "refused": ("LiveRefused", "TargetHeld", "TargetUnset"),
    "server": ("ScratchServer",),
    "target": ("LiveTarget",),
    "targets": ("AllowList",),
}

__all__ = [
    "AllowList",
    "ComponentMissing",
    "FaultProxy",
    "HAProxyError",
    "HAProxyServer",
    "HAProxyTraffic",
    "LiveRefused",
    "LiveTarget",
    "NetworkHost",
    "PostgresArchive",
    "PostgresBinaries",
    "PostgresCanaryClient",
    "PostgresError",
    "PostgresFailover",
    "PostgresLag",
    "PostgresNode",
    "PostgresServer",
    "RedisCanary",
    "RedisSentinels",
    "RedisServer",
    "RedisWriteError",
    "ScratchNetwork",
    "ScratchServer",
    "ServerFailed",
    "TargetHeld",
    "TargetUnset",
    "find_postgres",
    "folder_canary",
    "http_canary",
    "postgres_canary",
    "redis_canary",
]


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
