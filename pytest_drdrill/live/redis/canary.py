"""The canary's client of Redis: each write a key of its own, followed through a failover."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Protocol, Self

from pytest_drdrill.live.redis.errors import RedisWriteError
from pytest_drdrill.live.redis.lookup import hang_up, reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from pytest_drdrill.live.host_port import HostPort

PREFIX = "drdrill:"
_CHUNK = 1_000
_READS_TRIED = 3


class Lookup(Protocol):
    """Finds the primary.

    Attributes:
        targets: where it looks, as ``host:port`` each.
    """

    targets: list[str]

    async def connect(self) -> tuple[HostPort, Any]:
        """A connection to the primary, and where that is."""
        ...


class RedisCanary:
    """What ``redis_canary`` makes: ``canary(client)`` writes through it, and closes it.

    A write is one ``SET`` of a key that was not there, and is sent once. What ended before it was
    sent, or with an error of the server, is refused; one whose answer was lost is indeterminate, as
    is one that too few replicas have confirmed. After each of them the primary is looked up anew.

    All keys begin with ``drdrill:`` and a token that no other run has, so none of somebody else's
    is ever written, read or removed. They expire by themselves, should the drill be killed.

    Args:
        lookup: finds the primary.
        wait: how many replicas have to confirm a write.
        wait_ms: for how long they are waited for.
        expires_ms: the life of a key.
        is_scratch: whether the servers are removed with the drill, so that keys can be left there.

    Attributes:
        targets: where it connects, or asks where to, as ``host:port`` each.
        prefix: of its keys.
    """

    def __init__(
        self, lookup: Lookup, *, wait: int, wait_ms: int, expires_ms: int, is_scratch: bool
    ) -> None:
        self.targets = tuple(lookup.targets)
        self.prefix = f"{PREFIX}{secrets.token_hex(8)}:"
        self._lookup = lookup
        self._wait = ("WAIT", str(wait), str(wait_ms)) if wait else None
        self._confirmations = wait
        self._expiry = ("NX", "PX", str(expires_ms))
        self._is_scratch = is_scratch
        self._sent: dict[str, None] = {}
        self._idle: list[tuple[HostPort, Any]] = []

    async def write(self, key: str, value: str) -> None:
        """Write, and have it confirmed.

        Raises:
            RedisWriteError: it was refused, or it is not known what became of it.
        """
        __tracebackhide__ = True
        commands: list[tuple[str, ...]] = [("SET", self.prefix + key, value, *self._expiry)]
        if self._wait is not None:
            commands.append(self._wait)  # on this connection: it speaks of the writes of its own
        address, connection = await self._take()
        self._sent[key] = None
        written, is_done = None, False
        try:
            await connection.send_packed_command(connection.pack_commands(commands))
            written, is_done = await connection.read_response(), True
            confirmed = 0 if self._wait is None else await connection.read_response()
        except BaseException as error:  # noqa: BLE001 - raised again, as what it says of the write
            await self._drop(connection)
            raise _outcome(error, address, is_done=is_done) from None
        self._idle.append((address, connection))
        if written is None:
            raise RedisWriteError(f"{address} has the key {key!r} already, and not from here")
        if confirmed < self._confirmations:
            raise RedisWriteError(
                f"WAIT: {confirmed} of {self._confirmations} replicas of {address} confirmed it",
                leaves_open=True,
            )

    async def read(self, key: str) -> str | None:
        """The value of a key, or None where there is none.

        Raises:
            RedisWriteError: there was no answer.
        """
        __tracebackhide__ = True
        found: bytes | None = await self._ask("GET", self.prefix + key)
        return None if found is None else found.decode("utf-8", "replace")

    async def read_all(self) -> dict[str, str]:
        """All that was written and is there, by its key.

        Raises:
            RedisWriteError: there was no answer.
        """
        __tracebackhide__ = True
        found: dict[str, str] = {}
        for keys in _chunks(list(self._sent)):
            values = await self._ask_again("MGET", *(self.prefix + key for key in keys))
            pairs = zip(keys, values, strict=True)
            found |= {k: v.decode("utf-8", "replace") for k, v in pairs if v is not None}
        return found

    async def close(self) -> None:
        """Remove its keys, unless the servers are scratch, and end its connections.

        Raises:
            RedisWriteError: they can't be removed; they will expire.
        """
        __tracebackhide__ = True
        try:
            if not self._is_scratch:
                await self._remove_keys()
        finally:
            while self._idle:
                await hang_up(self._idle.pop()[1])

    async def _remove_keys(self) -> None:
        try:
            for keys in _chunks(list(self._sent)):
                await self._ask_again("UNLINK", *(self.prefix + key for key in keys))
                for key in keys:
                    del self._sent[key]
        except RedisWriteError as error:
            raise RedisWriteError(
                f"keys that begin with {self.prefix} could not be removed, and will expire: {error}"
            ) from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.close()
        except RedisWriteError:
            if error is None:  # else that is what there is to say
                raise

    def __repr__(self) -> str:
        return f"<redis_canary of {', '.join(self.targets)}>"

    # -- connections ----------------------------------------------------------------------------

    async def _take(self) -> tuple[HostPort, Any]:
        """One that nobody uses; several writes under way have one each."""
        return self._idle.pop() if self._idle else await self._lookup.connect()

    async def _drop(self, connection: Any) -> None:
        """After any trouble, also those that are idle: they may lead to who is no primary now."""
        await hang_up(connection)
        while self._idle:
            await hang_up(self._idle.pop()[1])

    async def _ask(self, *command: str) -> Any:
        __tracebackhide__ = True
        address, connection = await self._take()
        try:
            await connection.send_command(*command)
            answer = await connection.read_response()
        except BaseException as error:  # noqa: BLE001 - raised again
            await self._drop(connection)
            raise _outcome(error, address) from None
        self._idle.append((address, connection))
        return answer

    async def _ask_again(self, *command: str) -> Any:
        """Of what does no harm a second time: an idle connection may lead to who is gone."""
        __tracebackhide__ = True
        for left in reversed(range(_READS_TRIED)):
            try:
                return await self._ask(*command)
            except RedisWriteError:
                if not left:
                    raise
        raise AssertionError("unreachable")


def _outcome(error: BaseException, address: HostPort, *, is_done: bool = False) -> BaseException:
    """What is raised in the place of an error that came after the command was sent.

    Args:
        error: the error.
        address: whose answer was awaited.
        is_done: whether the write itself was answered, and only its confirmation was not: where its
            primary is demoted meanwhile, ``WAIT`` is what has the error.
    """
    from redis import exceptions  # by now

    why = reason(error)
    if why is None:
        return error
    answers = (
        exceptions.ResponseError,
        exceptions.BusyLoadingError,
        exceptions.AuthenticationError,
    )
    if isinstance(error, answers) and not is_done:
        return RedisWriteError(f"{address} refused: {why}")
    return RedisWriteError(f"{address}: the answer was lost: {why}", leaves_open=True)


def _chunks(keys: Sequence[str]) -> list[Sequence[str]]:
    return [keys[at : at + _CHUNK] for at in range(0, len(keys), _CHUNK)]
