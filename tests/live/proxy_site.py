"""A server in the test's own hands, a proxy before it, and what a client sees."""

from __future__ import annotations

import select
import socket
import struct
import time
from contextlib import ExitStack

import pytest

from pytest_drdrill import FaultProxy

PATIENCE_S = 60
"""For what is sure to come; only a broken proxy takes so long."""
SILENCE_S = 0.1
"""For what must not come: too short a time hides a bug, and fails nothing that is right."""


class Site:
    """A listening socket, the proxy to it, and pairs of sockets that are connected through both."""

    def __init__(self, stack, **settings):
        self._stack = stack
        self.listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))
        self.listener.settimeout(PATIENCE_S)
        self.server_port = self.listener.getsockname()[1]
        self.told = []
        self.proxy = FaultProxy(
            "127.0.0.1",
            self.server_port,
            announce=lambda event, what: self.told.append((event, what)),
            **settings,
        )
        stack.enter_context(self.proxy)

    def dial(self):
        """A client's socket, connected to the proxy."""
        client = self._stack.enter_context(socket.create_connection(self.at, PATIENCE_S))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    @property
    def at(self):
        return self.proxy.host, self.proxy.port

    def accept(self):
        """The server's end of the next connection."""
        served = self._stack.enter_context(self.listener.accept()[0])
        served.settimeout(PATIENCE_S)
        served.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return served

    def pair(self):
        """Both ends of a connection through the proxy, which is seen to work."""
        client = self.dial()
        served = self.accept()
        passes(client, served)
        passes(served, client)
        return client, served


@pytest.fixture
def site():
    with ExitStack() as stack:
        yield Site(stack)


def passes(source, target, data=b"ping"):
    """What is sent at one end arrives at the other."""
    source.sendall(data)
    assert received(target, len(data)) == data


def received(sock, size):
    """So many bytes, or fewer where the other end has ended."""
    got = bytearray()
    while len(got) < size and (part := sock.recv(size - len(got))):
        got += part
    return bytes(got)


def is_silent(sock, seconds=SILENCE_S):
    """Nothing comes, neither data nor an end."""
    return not select.select([sock], [], [], seconds)[0]


def is_reset(sock):
    """The next thing that a reader sees is a reset."""
    try:
        sock.recv(1)
    except ConnectionResetError:
        return True
    return False


def is_reset_at_once(address):
    """A new connection is made, and reset: while its client still waits for it, or right after."""
    try:
        with socket.create_connection(address, PATIENCE_S) as client:
            return is_reset(client)
    except ConnectionResetError:
        return True


def reset(sock):
    """Close a socket by a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def is_refused(address):
    """Whether a new connection is refused."""
    with socket.socket() as client:
        client.settimeout(PATIENCE_S)
        try:
            client.connect(address)
        except ConnectionRefusedError:
            return True
    return False


def until(true, patience=PATIENCE_S):
    """Wait for what is sure to come and says nothing of itself."""
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)
