"""The traffic of an HAProxy backend, switched through the runtime API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.failover import settings
from pytest_drdrill.live.haproxy.answers import check_name
from pytest_drdrill.live.haproxy.errors import HAProxyError
from pytest_drdrill.live.haproxy.runtime import Address, Conversation, conversation

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator
    from datetime import timedelta

    from pytest_drdrill.failover.endpoint import ServiceEndpoint
    from pytest_drdrill.live.haproxy.answers import ServerState

MOST_WEIGHT = 256
"""What HAProxy takes at most."""
_POLL_S = 0.01


class HAProxyTraffic:
    """Switches the servers of one backend; a ``WeightedSwitch``.

    ``activate`` makes a server ready, ``deactivate`` puts it into maintenance: no new request, and
    no check of HAProxy's own. What is so already is not asked for again, and each change is read
    back. A server that is ready but that HAProxy's own checks have down gets no traffic: it is
    waited for. The endpoint that a manager calls healthy may thus still be refused here.

    A change is sent only to an HAProxy that has just answered. One that hangs when it is asked does
    nothing once it goes on; a call that is cancelled while its change is under way ends with the
    answer. HAProxy itself down or hung is a ``HAProxyError``, so the takeover fails, and a manager
    tries again an interval later.

    HAProxy keeps none of this across a reload or a restart, unless its config has
    ``server-state-file`` and ``load-server-state-from-file``, and that file is written before. A
    manager does not notice; ``lost`` does, and ``reapply`` says all of it again.

    Between ``deactivate`` of the old server and ``activate`` of the new one there is none, and
    HAProxy answers a request that comes then with 503, at once, whatever its ``retries``. A line
    ``server waiting 127.0.0.1:1 backup`` in the backend has it wait instead: a connection there is
    refused, and ``option redispatch 1`` gives the request another server ``timeout connect`` later.

    Args:
        socket: the stats socket: a path, or ``"host:port"``; it needs ``level admin``.
        backend: the name of the backend.
        servers: by the endpoint's name, the name of its server; by default they are the same.
        shutdown_sessions: whether ``deactivate`` ends what is under way on the server, which fails
            those requests; by default they go on until they end or ``timeout server`` ends them.
        timeout: how long each call may take.

    Raises:
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: a name that HAProxy does not take, or no duration above zero.
    """

    def __init__(
        self,
        socket: str | os.PathLike[str],
        backend: str,
        servers: Mapping[str, str] | None = None,
        *,
        shutdown_sessions: bool = False,
        timeout: str | timedelta = "5s",
    ) -> None:
        self._address = Address.of(socket)
        self._backend = check_name("the backend", backend)
        if servers is not None and not isinstance(servers, Mapping):
            raise TypeError(f"servers must map names of endpoints to servers, not be {servers!r}")
        self._servers = None
        if servers is not None:
            self._servers = {
                name: check_name(f"the server of {name!r}", server)
                for name, server in servers.items()
            }
        self._shutdown_sessions = shutdown_sessions
        self._timeout = settings.duration("timeout", timeout).total_seconds()
        self._active: dict[str, bool] = {}
        self._weights: dict[str, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = asyncio.Lock()

    # What a manager or a cluster calls.

    async def activate(self, endpoint: ServiceEndpoint) -> None:
        """Send traffic to an endpoint; returns once HAProxy does.

        Raises:
            HAProxyError: it does not.
            ValueError: the endpoint has no server here.
        """
        server = self._server(endpoint)
        self._active[server] = True
        await self._activate(server)

    async def deactivate(self, endpoint: ServiceEndpoint) -> None:
        """Send no traffic to an endpoint any more; returns once HAProxy sends none.

        Raises:
            HAProxyError: it still may.
            ValueError: the endpoint has no server here.
        """
        server = self._server(endpoint)
        self._active[server] = False
        await self._deactivate(server)

    async def set_weight(self, endpoint: ServiceEndpoint, weight: int) -> None:
        """Set the weight of an endpoint, from 0, which drains it, to 256.

        Raises:
            HAProxyError: it could not be set, as with a balance algorithm that knows no weights.
            TypeError: the weight is no whole number.
            ValueError: it is out of range, or the endpoint has no server here.
        """
        server = self._server(endpoint)
        if type(weight) is not int:
            raise TypeError(f"a weight must be a whole number, not {weight!r}")
        if not 0 <= weight <= MOST_WEIGHT:
            raise ValueError(f"HAProxy takes weights from 0 to {MOST_WEIGHT}, not {weight}")
        self._weights[server] = weight
        await self._set_weight(server, weight)

    # What a drill asks.

    async def lost(self) -> list[str]:
        """What was asked for and is not so any more, a sentence each; empty where all is so.

        Raises:
            HAProxyError: HAProxy can't be asked.
        """
        async with self._talk() as talk:
            states = await talk.states(self._backend)
            info = await talk.info()
        age = f"; HAProxy, process {info.get('Pid', '?')}, runs for {info.get('Uptime_sec', '?')} s"
        found = []
        for server, active in self._active.items():
            state = states.get(server)
            if state is None:
                found.append(f"{self._backend}/{server} is gone{age}")
            elif active and not state.is_ready:
                found.append(f"{self._backend}/{server} was activated and is out{age}")
            elif not active and not state.is_out:
                found.append(f"{self._backend}/{server} was deactivated and is ready{age}")
        for server, weight in self._weights.items():
            state = states.get(server)
            if state is not None and state.weight != weight:
                text = f"{self._backend}/{server} was given the weight {weight} and has "
                found.append(f"{text}{state.weight}{age}")
        return found

    async def reapply(self) -> None:
        """Ask again for all that was asked for, as after a reload that lost it.

        Raises:
            HAProxyError: it could not be done.
        """
        for server, weight in self._weights.items():
            await self._set_weight(server, weight)
        # What is to get no traffic first: at no time may two that exclude each other get some.
        for server, active in sorted(self._active.items(), key=lambda each: each[1]):
            await (self._activate(server) if active else self._deactivate(server))

    # Inside.

    def _server(self, endpoint: ServiceEndpoint) -> str:
        name = endpoint.name
        if self._servers is None:
            return check_name("the server", name)
        server = self._servers.get(name)
        if server is None:
            known = ", ".join(repr(each) for each in self._servers)
            raise ValueError(f"the endpoint {name!r} has no server here; those of {known} have")
        return server

    async def _activate(self, server: str) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._timeout
        while True:
            async with self._talk() as talk:
                state = await self._state(talk, server)
                if not state.is_ready:
                    await talk.change(f"set server {self._backend}/{server} state ready")
                    state = await self._state(talk, server)
            if not state.is_ready:
                raise self._failed(server, "is still out, as a server that it tracks may be")
            if state.is_up:
                break
            if loop.time() > end:
                after = format_seconds(self._timeout)
                why = f"is ready, but HAProxy's own checks had it down for {after}"
                raise self._failed(server, why)
            await asyncio.sleep(_POLL_S)  # and others have their turn
        if not state.weight and self._weights.get(server) != 0:
            raise self._failed(server, "has the weight 0 and gets no traffic; it needs another one")

    async def _deactivate(self, server: str) -> None:
        async with self._talk() as talk:
            state = await self._state(talk, server)
            if not state.is_out:
                await talk.change(f"set server {self._backend}/{server} state maint")
                if not (await self._state(talk, server)).is_out:
                    raise self._failed(server, "is not out, though that was acknowledged")
            if self._shutdown_sessions:
                await talk.change(f"shutdown sessions server {self._backend}/{server}")

    async def _set_weight(self, server: str, weight: int) -> None:
        async with self._talk() as talk:
            if (await self._state(talk, server)).weight == weight:
                return
            await talk.change(f"set server {self._backend}/{server} weight {weight}")
            found = (await self._state(talk, server)).weight
            if found != weight:
                raise self._failed(server, f"has the weight {found}, not {weight}")

    @asynccontextmanager
    async def _talk(self) -> AsyncGenerator[Conversation, None]:
        """One conversation at a time: HAProxy takes ten at most, and refuses none beyond these."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._turn = loop, asyncio.Lock()
        async with self._turn, conversation(self._address, self._timeout) as talk:
            yield talk

    async def _state(self, talk: Conversation, server: str) -> ServerState:
        states = await talk.states(self._backend)
        state = states.get(server)
        if state is None:
            known = ", ".join(states) or "none"
            raise HAProxyError(
                f"the backend {self._backend!r} of HAProxy at {self._address} has no server "
                f"{server!r}, only {known}"
            )
        return state

    def _failed(self, server: str, why: str) -> HAProxyError:
        return HAProxyError(f"{self._backend}/{server} of HAProxy at {self._address} {why}")
