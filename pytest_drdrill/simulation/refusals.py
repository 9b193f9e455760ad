"""What a virtual loop refuses: all that would wait for the real world."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from pytest_drdrill.simulation.errors import RealIOError

if TYPE_CHECKING:
    from collections.abc import Callable

_SOCKET = "a socket"
_CONNECTION = "a network connection"
_SERVER = "a server"
_PROCESS = "a process"
_PIPE = "a pipe"

REFUSED = {
    "create_connection": _CONNECTION,
    "create_unix_connection": _CONNECTION,
    "create_datagram_endpoint": _CONNECTION,
    "connect_accepted_socket": _CONNECTION,
    "start_tls": _CONNECTION,
    "sendfile": _CONNECTION,
    "create_server": _SERVER,
    "create_unix_server": _SERVER,
    "getaddrinfo": "a DNS look-up",
    "getnameinfo": "a DNS look-up",
    "subprocess_exec": _PROCESS,
    "subprocess_shell": _PROCESS,
    "connect_read_pipe": _PIPE,
    "connect_write_pipe": _PIPE,
    "add_reader": _SOCKET,
    "add_writer": _SOCKET,
    "sock_recv": _SOCKET,
    "sock_recv_into": _SOCKET,
    "sock_recvfrom": _SOCKET,
    "sock_recvfrom_into": _SOCKET,
    "sock_sendall": _SOCKET,
    "sock_sendto": _SOCKET,
    "sock_sendfile": _SOCKET,
    "sock_connect": _SOCKET,
    "sock_accept": _SOCKET,
    "add_signal_handler": "a signal handler",
}
"""Methods of an event loop, and what each of them asks for."""


def refusal(what: str) -> RealIOError:
    """The error that says what was asked for, and where such a drill belongs."""
    return RealIOError(
        f"{what} was asked for in virtual time, where nothing real can take part: use simulated "
        "parts, or make this a local or live drill, which runs in real time"
    )


def refused(name: str, what: str) -> Callable[..., NoReturn]:
    """A method that refuses: raises, and has the loop remember that it did."""

    def refuse(self: object, *_: object, **__: object) -> NoReturn:
        error = refusal(what)
        self.escaped = getattr(self, "escaped", None) or error  # type: ignore[attr-defined]
        raise error

    refuse.__name__ = name
    refuse.__doc__ = f"Refused: {what} is real, and this loop is not."
    return refuse
