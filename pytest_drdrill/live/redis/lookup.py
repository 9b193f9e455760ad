"""Finding the primary to write to: where one said that it is, or by asking Sentinels."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pytest_drdrill.live.host_port import HostPort
from pytest_drdrill.live.redis.binaries import redis_package
from pytest_drdrill.live.redis.errors import RedisWriteError
from pytest_drdrill.redact import keep_secret

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE = 0.5
"""Seconds in which a server or a Sentinel has to take a connection and greet."""


class Login:
    """With what one connects; shows none of it.

    Args:
        settings: for redis-py: the user, the password, the database, and of TLS what there is.
        tls: whether to speak TLS.
    """

    def __init__(self, settings: dict[str, Any] | None = None, *, tls: bool = False) -> None:
        self._settings = dict(settings or {})
        keep_secret(self._settings.get("password"))
        self._tls = tls

    def beside(self, settings: dict[str, Any], *, tls: bool) -> Login:
        """The same, and what a URL says, which comes first."""
        return Login(self._settings | settings, tls=self._tls or tls)

    def __repr__(self) -> str:
        return "<a login>"

    async def connect(self, address: HostPort) -> Any:
        """Connect, and log in.

        Raises:
            RedisWriteError: it can't be done; nothing was written, so it leaves nothing open.
        """
        __tracebackhide__ = True
        from redis.asyncio.connection import Connection, SSLConnection  # by now

        kind = SSLConnection if self._tls else Connection
        # Who gives up is the canary; and a write is sent once, or nobody knows what it did.
        own = {"socket_timeout": None, "socket_connect_timeout": None, "protocol": 2}
        made: Any = kind(host=address.host, port=address.port, **(self._settings | own))
        try:
            async with asyncio.timeout(PATIENCE):
                await made.connect()
        except BaseException as error:
            await hang_up(made)
            why = reason(error)
            if why is None:
                raise
            # Without its cause, whose frames have the password among their arguments.
            raise RedisWriteError(f"{address} can't be reached: {why}") from None
        return made


class FixedAddress:
    """A server, or a name that leads to one, such as that of a proxy.

    Args:
        address: where it is.
        login: with what one connects.
    """

    def __init__(self, address: HostPort, login: Login) -> None:
        self.targets = [str(address)]
        self._address = address
        self._login = login

    async def connect(self) -> tuple[HostPort, Any]:
        """A connection to it, and where that leads.

        Raises:
            RedisWriteError: it can't be reached.
        """
        __tracebackhide__ = True
        return self._address, await self._login.connect(self._address)


class SentinelLookup:
    """The primary of a service, as Sentinels name it.

    All of them are asked at once, since after a failover some know of it before others do; who is
    named last time's server is tried last. A server counts if it takes itself for a primary.

    Args:
        sentinels: where they are.
        service: the name of the primary there.
        login: to the servers.
        sentinel_login: to the Sentinels.
    """

    def __init__(
        self, sentinels: Sequence[HostPort], service: str, login: Login, sentinel_login: Login
    ) -> None:
        self.targets = [str(each) for each in sentinels]
        self._sentinels = sentinels
        self._service = service
        self._login = login
        self._sentinel_login = sentinel_login
        self._last: HostPort | None = None

    async def connect(self) -> tuple[HostPort, Any]:
        """A connection to the primary, and where that is.

        Raises:
            RedisWriteError: no Sentinel names one that can be reached.
        """
        __tracebackhide__ = True
        answers = await asyncio.gather(
            *(self._ask(each) for each in self._sentinels), return_exceptions=True
        )
        for each in answers:
            if isinstance(each, BaseException) and not isinstance(each, RedisWriteError):
                raise each
        named = dict.fromkeys(each for each in answers if isinstance(each, HostPort))
        problems = [str(each) for each in answers if isinstance(each, RedisWriteError)]
        for address in sorted(named, key=lambda each: each == self._last):
            try:
                connection = await self._connect(address)
            except RedisWriteError as error:
                problems.append(str(error))
            else:
                self._last = address
                return address, connection
        whose = f"the primary of {self._service!r} can't be found"
        raise RedisWriteError(f"{whose}: {'; '.join(dict.fromkeys(problems)) or 'none is named'}")

    async def _ask(self, sentinel: HostPort) -> HostPort | None:
        connection = await self._sentinel_login.connect(sentinel)
        answer = await ask(
            connection, sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service
        )
        await hang_up(connection)
        return HostPort(answer[0].decode(), int(answer[1])) if answer else None

    async def _connect(self, address: HostPort) -> Any:
        connection = await self._login.connect(address)
        role = await ask(connection, address, "ROLE")
        if role[0] != b"master":
            await hang_up(connection)
            raise RedisWriteError(f"{address} is no primary, whatever a Sentinel says")
        return connection


async def ask(connection: Any, address: HostPort, *command: str) -> Any:
    """Send one command, whose answer has to come soon; where it does not, the connection is ended.

    Raises:
        RedisWriteError: there was no answer, or an error.
    """
    __tracebackhide__ = True
    try:
        async with asyncio.timeout(PATIENCE):
            await connection.send_command(*command)
            return await connection.read_response()
    except BaseException as error:
        await hang_up(connection)
        why = reason(error)
        if why is None:
            raise
        raise RedisWriteError(f"{address} did not answer {command[0]}: {why}") from None


async def hang_up(connection: Any) -> None:
    """End a connection at once; whatever it was about to answer is nobody's."""
    await connection.disconnect(nowait=True)


def reason(error: BaseException) -> str | None:
    """Why something did not work, in words; None for what is no matter of Redis."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, redis_package().RedisError | OSError):
        return str(error) or type(error).__name__
    return None
