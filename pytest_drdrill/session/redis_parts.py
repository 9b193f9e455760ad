"""Scratch servers of Redis wired to the drill that asks for them: its timeline, its end."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_drdrill.session.runner import RUN
from pytest_drdrill.session.virtual import active_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from pytest_drdrill.live.redis import RedisSentinels, RedisServer
    from pytest_drdrill.session.run import DrillRun

_Part = TypeVar("_Part", "RedisServer", "RedisSentinels")


@contextmanager
def primaries_of(request: pytest.FixtureRequest) -> Iterator[Callable[..., RedisServer]]:
    """A factory of servers that run; their faults are on the drill's timeline."""

    def make(name: str = "redis-primary", **settings: Any) -> RedisServer:
        from pytest_drdrill.live.redis import RedisServer  # only for who asks for one

        made: RedisServer = started(RedisServer, name, **settings)
        return made

    with _started(request) as started:
        yield make


@contextmanager
def replicas_of(request: pytest.FixtureRequest) -> Iterator[Callable[..., RedisServer]]:
    """A factory of replicas that are in step with their primary."""

    def make(primary: RedisServer, name: str = "redis-replica", **settings: Any) -> RedisServer:
        from pytest_drdrill.live.redis import RedisServer  # likewise

        made: RedisServer = started(RedisServer, name, replica_of=primary, **settings)
        made.wait_until_in_step()
        return made

    with _started(request) as started:
        yield make


@contextmanager
def sentinels_of(request: pytest.FixtureRequest) -> Iterator[Callable[..., RedisSentinels]]:
    """A factory of Sentinels that agree on a primary and its replicas."""

    def make(primary: RedisServer, **settings: Any) -> RedisSentinels:
        from pytest_drdrill.live.redis import RedisSentinels  # likewise

        made: RedisSentinels = started(RedisSentinels, primary, **settings)
        return made

    with _started(request) as started:
        yield make


@contextmanager
def _started(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Starts what it is told to make, and ends all of it, the newest first, with its fixture."""
    run: DrillRun | None = request.node.stash.get(RUN, None)  # None for an ordinary test

    def start(kind: Callable[..., _Part], *args: Any, **settings: Any) -> _Part:
        if active_world() is not None or (run is not None and run.world is not None):
            from pytest_drdrill.simulation.refusals import refusal  # loaded by now

            raise refusal("a server of Redis")
        if run is not None:
            settings.setdefault("announce", run.drill.event)
        return stack.enter_context(kind(*args, **settings))

    with ExitStack() as stack:
        yield start
