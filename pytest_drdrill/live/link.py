"""One proxied connection: the client's end, the server's, and the ways between them."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pytest_drdrill.live.way import Way

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_drdrill.live.line import Line

    Lines: TypeAlias = tuple[Line, Line]

Side: TypeAlias = Literal["client", "server"]

WRITE_BUFFER = 256 << 10
"""Bytes that wait for a slow reader; beyond, its sender is no longer read."""
_NO_LINGER = struct.pack("ii", 1, 0)


def break_off(sock: Any) -> None:
    """Have a socket send a reset, and not an orderly end, when it is closed."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)


class _End(asyncio.Protocol):
    """One end of a connection: a socket, the way of what it sends, and of what it gets."""

    out: Way
    into: Way
    transport: asyncio.Transport

    def __init__(self, link: Link) -> None:
        self._link = link
        self.is_made = self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.is_made = True
        transport.set_write_buffer_limits(high=WRITE_BUFFER)

    def data_received(self, data: bytes) -> None:
        self.out.received(data)

    def eof_received(self) -> bool:
        self.out.received_end()
        return True  # the other direction goes on

    def pause_writing(self) -> None:
        self.into.choke(choked=True)

    def resume_writing(self) -> None:
        self.into.choke(choked=False)

    def connection_lost(self, _: Exception | None) -> None:
        self.is_lost = True
        self._link.lost(self)

    def reset(self) -> None:
        if self.is_made and not self.is_lost:
            break_off(self.transport.get_extra_info("socket"))
            self.transport.abort()


class Link:
    """A client's connection through a proxy, and the one to the server that belongs to it.

    Ends and resets are passed on as they come, each in its turn: an end closes one direction, a
    reset both.

    Args:
        name: seeds its chance.
        on_over: called when both ends are closed.
    """

    def __init__(self, name: str, on_over: Callable[[Link], None]) -> None:
        self._name = name
        self._on_over = on_over
        self.client = _End(self)
        self.server = _End(self)
        self._arrived_ends: set[Way] = set()
        self._begun = False
        self._closes = False
        self._forgotten: _End | None = None

    def begin(self, loop: asyncio.AbstractEventLoop, lines: Lines) -> None:
        """Both ends are connected: what they send sets out on its way."""
        ends = ((self.client, self.server), (self.server, self.client))
        for line, (source, target), name in zip(
            lines, ends, ("to_server", "to_client"), strict=True
        ):
            source.out = target.into = Way(
                line,
                loop,
                random.Random(f"{self._name}/{name}"),  # noqa: S311 - chance, not secrecy
                (source.transport, target.transport),
                (self._end_arrived, self.reset),
            )
        self._begun = True
        for end in (self.client, self.server):
            end.out.start()

    def reset(self) -> None:
        """Break it off, at both ends, as far as it has come to be."""
        self._closes = True
        for end in (self.client, self.server):
            end.reset()

    def forget(self, side: Side) -> bool:
        """One end has lost it, and the other doesn't know; whether that was possible.

        What the other one sends goes nowhere, and it hears of nothing.
        """
        end, other = (self.client, self.server) if side == "client" else (self.server, self.client)
        if self._closes or end.is_lost or other.is_lost:
            return False
        self._forgotten = end
        other.into.swallow()
        end.reset()
        return True

    def lost(self, end: _End) -> None:
        """The socket of an end is closed."""
        if not self._begun:
            return
        other = self.server if end is self.client else self.client
        if other.is_lost:
            end.out.close()
            end.into.close()
            self._on_over(self)
            return
        end.into.swallow()
        if not self._closes:
            end.out.received_reset()

    def _end_arrived(self, way: Way) -> None:
        self._arrived_ends.add(way)
        if self._forgotten is not None or len(self._arrived_ends) == len(("client", "server")):
            self._closes = True
            for end in (self.client, self.server):
                end.transport.close()
