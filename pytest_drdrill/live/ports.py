"""TCP ports of the loopback: free ones, for scratch servers to start on."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from pytest_drdrill.live.errors import ServerFailed

if TYPE_CHECKING:
    from collections.abc import Callable

_HOST = "127.0.0.1"
_TRIED = 5


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on, now."""
    with socket.socket() as found:
        found.bind((_HOST, 0))
        port: int = found.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    """Whether somebody accepts connections on a port of the loopback."""
    try:
        socket.create_connection((_HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def start_on_free_port(
    start: Callable[[int], object], *, taken: str, first: int | None = None
) -> None:
    """Start a server on a free port, and on another one where somebody was faster to take it.

    Args:
        start: starts it on the port that it is given.
        taken: what the server logs where its port is taken, in small letters.
        first: the port to try first, found free before.

    Raises:
        ServerFailed: it did not start, and not for its port; or each of several ports was taken.
    """
    port = free_port() if first is None else first
    for _ in range(_TRIED - 1):
        try:
            start(port)
        except ServerFailed as error:
            if taken not in str(error).lower():
                raise
            port = free_port()
        else:
            return
    start(port)
