"""A connection that is held open and never used: what tells that its other end is gone."""

from __future__ import annotations

import asyncio
import ssl
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pytest_drdrill.text import one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pytest_drdrill.failover.endpoint import ServiceEndpoint

_PORTS = {"http": 80, "https": 443}


class _Line(asyncio.Protocol):
    """Notices the end, and nothing else: what a server says to an idle client is of no interest."""

    def __init__(self, lost: asyncio.Future[str]) -> None:
        self._lost = lost

    def eof_received(self) -> None:
        self._end("the endpoint closed the connection")

    def connection_lost(self, error: Exception | None) -> None:
        self._end("the connection was lost" if error is None else one_line(str(error) or error))

    def _end(self, how: str) -> None:
        if not self._lost.done():
            self._lost.set_result(how)


async def hold_connection(
    endpoint: ServiceEndpoint,
    held: Callable[[], None],
    look_up: Callable[[str], Awaitable[Sequence[str]]],
) -> str:
    """Connect to an endpoint, over TLS where its address says so, and wait until that is lost.

    Args:
        endpoint: to which.
        held: called once the connection stands.
        look_up: gives the addresses of a host, which are tried in turn.

    Returns:
        How it was lost.

    Raises:
        OSError: it can't be made.
    """
    host = urlsplit(endpoint.url).hostname or ""  # an endpoint's address has one
    try:
        addresses = await look_up(host)
    except UnicodeError:
        raise OSError("its host name can't be encoded for a look-up") from None
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    transport = await _connect(endpoint, host, addresses, lost)
    try:
        held()
        return await lost
    finally:
        transport.abort()


async def _connect(
    endpoint: ServiceEndpoint, host: str, addresses: Sequence[str], lost: asyncio.Future[str]
) -> asyncio.Transport:
    """Connect to the first address that takes a connection.

    Raises:
        OSError: none does; it is the last one's.
    """
    parts = urlsplit(endpoint.url)
    tls = parts.scheme == "https"
    problem = OSError(f"{host} has no address")
    for address in addresses:
        try:
            transport, _ = await asyncio.get_running_loop().create_connection(
                lambda: _Line(lost),
                address,
                parts.port or _PORTS[parts.scheme],
                ssl=_context() if tls else None,
                server_hostname=host if tls else None,  # whose certificate it must be
            )
        except OSError as error:
            problem = error
        else:
            return transport
    raise problem


@cache
def _context() -> ssl.SSLContext:
    """Verifies certificates, as the checks do."""
    return ssl.create_default_context()
