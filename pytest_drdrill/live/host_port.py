"""A host and a port, as people write those of a server."""

from __future__ import annotations

import re
import socket
from typing import NamedTuple

from pytest_drdrill.redact import quoted
from pytest_drdrill.text import shown

HIGHEST_PORT = 65_535
_DIGITS = len(str(HIGHEST_PORT))
_HOST = re.compile(r"[^\s/@\[\]]{1,253}")
ACCEPTED = '"127.0.0.1:5432", "db.example:5432" or "[::1]:5432"'
"""The accepted forms, as every message about a bad address names them."""


class HostPort(NamedTuple):
    """Where a server listens.

    Attributes:
        host: a name or an IP address.
        port: its port.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_host_port(host: str, port: int | None = None) -> HostPort:
    """A host and a port from these two, or from one text that holds both.

    Args:
        host: a name or an IP address; without a port, ``host:port``.
        port: 1 to 65535.

    Raises:
        TypeError: a host that is no text, or a port that is no whole number.
        ValueError: no address, or a port out of range.
    """
    if not isinstance(host, str):
        raise TypeError(f"{shown(host)} is no host; write {ACCEPTED}")
    if port is None:
        text = host.strip()
        host, _, digits = text.rpartition(":")
        if not (host and digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS):
            raise ValueError(f"{quoted(text)} is no address; write {ACCEPTED}")
        port = int(digits)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{quoted(text)} is no address; write {ACCEPTED}")
    if not _HOST.fullmatch(host) or (":" in host and not _is_ipv6(host)):
        raise ValueError(f"{quoted(host)} is no host; write {ACCEPTED}")
    return HostPort(host, read_port(port))


def _is_ipv6(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except OSError:
        return False
    return True


def read_port(port: int, *, lowest: int = 1) -> int:
    """A port, checked.

    Raises:
        TypeError: no whole number.
        ValueError: out of range.
    """
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"a port is a whole number, not {shown(port)}")
    if not lowest <= port <= HIGHEST_PORT:
        raise ValueError(f"a port is between {lowest} and {HIGHEST_PORT}, not {shown(port)}")
    return port
