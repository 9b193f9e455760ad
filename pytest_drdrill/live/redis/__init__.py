"""Redis and Valkey: scratch servers and Sentinels for drills, and the canary's client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.late import names_of

if TYPE_CHECKING:
    from pytest_drdrill.live.redis.canary import RedisCanary
    from pytest_drdrill.live.redis.errors import RedisWriteError
    from pytest_drdrill.live.redis.sentinels import RedisSentinels
    from pytest_drdrill.live.redis.server import RedisServer
    from pytest_drdrill.live.redis.targets import redis_canary

__getattr__ = names_of(
    __name__,
    {
        "canary": ["RedisCanary"],
        "errors": ["RedisWriteError"],
        "sentinels": ["RedisSentinels"],
        "server": ["RedisServer"],
        "targets": ["redis_canary"],
    },
)

__all__ = ["RedisCanary", "RedisSentinels", "RedisServer", "RedisWriteError", "redis_canary"]
