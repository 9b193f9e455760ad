"""A conversation with HAProxy's runtime API, over its stats socket.

A command that nobody has read yet lies in the socket, and is carried out whenever HAProxy comes to
read it, long after its sender is gone. So a change is sent only on a connection that has just
answered, and its answer is waited for even when the caller is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.live.haproxy.answers import ServerState, check_done, read_info, read_states
from pytest_drdrill.live.haproxy.errors import HAProxyError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

PROMPT = b"\n> "
"""What ends each answer of a conversation, and begins in no line of one."""
LATEST_ANSWER_S = 1.0
"""How long a change that was sent is waited for, once its caller is cancelled."""
_LIMIT = 2**24
_TCP = re.compile(r"(?P<host>\[[^\[\]/]+\]|[^\[\]/:]+):(?P<port>\d{1,5})")
_FORM = "a path such as '/run/haproxy/admin.sock', or 'host:port'"


class Address(NamedTuple):
    """Where a stats socket is.

    Attributes:
        path: of a unix socket, or empty.
        host: of a TCP one.
        port: of a TCP one.
    """

    path: str
    host: str = ""
    port: int = 0

    @classmethod
    def of(cls, given: object) -> Address:
        """The address that somebody wrote.

        Raises:
            TypeError: neither text nor a path.
            ValueError: neither a path nor a host with a port.
        """
        if isinstance(given, os.PathLike):
            given = os.fspath(given)
        elif isinstance(given, str) and (found := _TCP.fullmatch(given)):
            return cls("", found["host"].strip("[]"), int(found["port"]))
        elif isinstance(given, str) and "/" not in given:
            raise ValueError(f"{given!r} is no stats socket; write {_FORM}")
        if not isinstance(given, str):
            raise TypeError(f"a stats socket is {_FORM}, not {given!r}")
        return cls(given)

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Conversation:
    """One connection to a stats socket, in its interactive mode: a command, an answer, and so on.

    Args:
        where: the socket, for messages.
        reader: of the connection.
        writer: of the connection.
    """

    def __init__(
        self, where: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.where = where
        self._reader = reader
        self._writer = writer

    async def ask(self, command: str) -> str:
        """What HAProxy answers to a command that changes nothing."""
        self._writer.write(command.encode("ascii") + b"\n")
        try:
            answer = await self._reader.readuntil(PROMPT)
        except asyncio.IncompleteReadError as error:
            raise HAProxyError(
                f"HAProxy at {self.where} ended the connection without an answer"
            ) from error
        return answer.removesuffix(PROMPT).decode("utf-8", "replace")

    async def states(self, backend: str) -> dict[str, ServerState]:
        """The servers of a backend."""
        answer = await self.ask(f"show servers state {backend}")
        try:
            return read_states(answer, backend)
        except HAProxyError as error:
            known = (await self.ask("show backend")).splitlines()
            names = ", ".join(each for each in known if each and not each.startswith("#"))
            beside = f", only {names}" if "no backend" in str(error) and names else ""
            raise HAProxyError(f"{error}{beside} (asked at {self.where})") from None

    async def info(self) -> dict[str, str]:
        """What HAProxy says of itself."""
        return read_info(await self.ask("show info"))

    async def change(self, command: str) -> None:
        """Have HAProxy change something; it must have answered on this connection just before.

        A caller that is cancelled meanwhile gets its cancellation once the answer is there, or
        after ``LATEST_ANSWER_S``: what it asked for does not take effect after that.

        Raises:
            HAProxyError: it was refused.
        """
        asked = asyncio.ensure_future(self.ask(command))
        try:
            answer = await asyncio.shield(asked)
        except asyncio.CancelledError:
            await asyncio.wait([asked], timeout=LATEST_ANSWER_S)
            raise
        finally:
            if not asked.cancel() and not asked.cancelled():
                asked.exception()  # told, or of no interest any more
        check_done(answer, command, self.where)


@asynccontextmanager
async def conversation(address: Address, timeout_s: float) -> AsyncGenerator[Conversation, None]:
    """A conversation, all of which has so many seconds.

    Raises:
        HAProxyError: it can't be held, or took too long.
    """
    writer: asyncio.StreamWriter | None = None
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            reader, writer = await _connect(address)
            talk = Conversation(str(address), reader, writer)
            await talk.ask("prompt")
            yield talk
    except OSError as error:
        if limit.expired():
            why = f"gave no answer within {format_seconds(timeout_s)}"
            raise HAProxyError(f"HAProxy at {address} {why}") from None
        raise HAProxyError(_why(address, error)) from error
    finally:
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _connect(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.path:
        return await asyncio.open_unix_connection(address.path, limit=_LIMIT)
    return await asyncio.open_connection(address.host, address.port, limit=_LIMIT)


def _why(address: Address, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return (
            f"there is no stats socket {address}: HAProxy does not run, or its config lacks "
            f"`stats socket {address} level admin`"
        )
    if isinstance(error, ConnectionRefusedError):
        return f"nobody listens on the stats socket {address}: HAProxy does not run"
    if isinstance(error, PermissionError):
        return (
            f"this user may not use the stats socket {address}: `user`, `group` and `mode` of its "
            "`stats socket` line say who may"
        )
    return f"HAProxy can't be asked at {address}: {error.strerror or error}"
