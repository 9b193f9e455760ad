"""The port that clients of a proxy connect to: open, refusing, or silent as behind a partition."""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING, Literal, TypeAlias

from pytest_drdrill.faults import FaultError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

State: TypeAlias = Literal["open", "refusing", "silent"]

HOST = "127.0.0.1"
"""Where proxies listen: nobody but this machine reaches them."""
_BACKLOG = 4096
SHORTAGE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors that say that this machine or process lacks what a connection takes."""
_PATIENCE_S = 0.05
_MOST_FILLERS = 64
_QUEUE = struct.Struct("24xII")
"""Where Linux says, of a socket that listens, how many wait to be accepted, and how many may."""


class Door:
    """A port, kept for as long as the door exists, whatever its state.

    Refusing, nothing listens, so that the system itself answers with a refusal. Silent, the queue
    of connections to be accepted is full: Linux then drops what asks for one more, which its client
    tries again and again, as behind a partition, until it gives up or the door opens. On other
    systems, connections to a silent door are made, and nothing is heard of them.

    Args:
        port: to listen on; 0: any that is free.

    Raises:
        FaultError: it is taken, or not for this user.
    """

    def __init__(self, port: int) -> None:
        self._state: State | None = None
        self._reserved = _bound(port)  # never listens, so that it is always there to come back to
        self.port: int = self._reserved.getsockname()[1]
        self._listener: socket.socket | None = None
        self._fillers: list[socket.socket] = []

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        on_client: Callable[[socket.socket], None],
        on_shortage: Callable[[OSError], None],
    ) -> None:
        """Where it works, and who is told of each client, and of running out of descriptors."""
        self._loop = loop
        self._on_client = on_client
        self._on_shortage = on_shortage

    def become(self, state: State) -> None:
        """Change the state.

        Raises:
            FaultError: somebody else listens on the port by now.
        """
        if state == self._state:
            return
        if state == "refusing":
            self._leave()
        else:
            listener = self._listener = self._listener or _listening(self.port)
            if state == "silent":
                self._loop.remove_reader(listener)
                self._fill(listener)
            else:
                listener.listen(_BACKLOG)
                self._accept()  # while the fillers still are what they are known by
                self._empty()
                self._loop.add_reader(listener, self._accept)
        self._state = state

    def close(self) -> None:
        """Give the port up."""
        self._leave()
        self._reserved.close()

    def _leave(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        self._empty()

    def _accept(self) -> None:
        listener = self._listener
        ours = {filler.getsockname() for filler in self._fillers}
        for _ in range(_BACKLOG):
            if listener is None:
                return
            try:
                client, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in SHORTAGE:
                    self._on_shortage(error)
                    self._loop.remove_reader(listener)
                    self._loop.call_later(_PATIENCE_S, self._try_again)
                    return
                continue  # it gave up meanwhile
            client.setblocking(False)
            if address in ours:
                client.close()
            else:
                self._on_client(client)

    def _try_again(self) -> None:
        if self._state == "open" and self._listener is not None:
            self._loop.add_reader(self._listener, self._accept)

    def _fill(self, listener: socket.socket) -> None:
        listener.listen(1)
        while len(self._fillers) < _MOST_FILLERS and not _is_full(listener):
            filler = socket.socket()
            self._fillers.append(filler)
            filler.setblocking(False)
            filler.connect_ex((HOST, self.port))

    def _empty(self) -> None:
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()


def _is_full(listener: socket.socket) -> bool:
    if not hasattr(socket, "TCP_INFO"):
        return True  # as full as it gets
    waiting, limit = _QUEUE.unpack(
        listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _QUEUE.size)
    )
    return bool(waiting > limit)


def _listening(port: int) -> socket.socket:
    listener = _bound(port)
    try:
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _taken(port, error) from None
    listener.setblocking(False)
    return listener


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((HOST, port))
    except OSError as error:
        sock.close()
        raise _taken(port, error) from None
    return sock


def _taken(port: int, error: OSError) -> FaultError:
    if error.errno == errno.EADDRINUSE:
        return FaultError(
            f"port {port} of {HOST} is taken, so the proxy can't listen there; leave out port= for "
            "one that is free"
        )
    return FaultError(f"the proxy can't listen on port {port} of {HOST}: {error.strerror}")
