"""Addresses of live systems as people write them: read, and shown without their secrets."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import NamedTuple
from urllib.parse import urlsplit

from pytest_drdrill.live.host_port import HIGHEST_PORT, HostPort
from pytest_drdrill.redact import quoted
from pytest_drdrill.text import shown

ACCEPTED = (
    '"host", "host:port", "[::1]:5432", a URL or DSN such as "postgresql://host/db", '
    "or the absolute path of a folder"
)
"""The accepted forms of a target, as every message about a bad one names them."""
_PORTS = {
    "amqp": 5672,
    "http": 80,
    "https": 443,
    "mysql": 3306,
    "postgres": 5432,
    "postgresql": 5432,
    "redis": 6379,
    "rediss": 6379,
}
_HOST = re.compile(r"(?!-)[a-z0-9_.-]{1,253}(?<!-)")
_LIBPQ_PAIR = re.compile(r"(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|\S*)")


class TargetAddress(NamedTuple):
    """One system: a host, with the port of one service on it or all of them; or a folder.

    Attributes:
        host: a name in lower case, or a literal address; empty for a folder.
        port: None for the whole host.
        path: of a folder, with symbolic links resolved; empty for a host.
    """

    host: str
    port: int | None = None
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return self.path
        return self.host if self.port is None else str(HostPort(self.host, self.port))

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine, reached by no network, where scratch servers listen."""
        literal = literal_address(self.host)
        return self.host == "localhost" or (literal is not None and literal.is_loopback)


def read_addresses(text: str) -> tuple[TargetAddress, ...]:
    """The systems that a text names; a DSN may name several.

    Raises:
        ValueError: one sentence, which never holds a password.
    """
    stripped = text.strip()
    if stripped.startswith("/"):
        return (TargetAddress("", None, os.path.realpath(stripped)),)
    if "://" in stripped:
        return _of_url(stripped)
    if "=" in stripped:
        return _of_libpq(stripped)
    if not stripped or "@" in stripped:
        raise ValueError(f"{quoted(stripped)} is no address; write {ACCEPTED}")
    return (_of_host(stripped, None),)


def literal_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """A literal IP address; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _of_url(text: str) -> tuple[TargetAddress, ...]:
    scheme = text.partition("://")[0].lower().partition("+")[0]
    try:
        parts = urlsplit(text)
    except ValueError:  # whose own words quote the text
        raise ValueError(f"{quoted(text)} is no URL; write {ACCEPTED}") from None
    if scheme == "file":
        return read_addresses(parts.path)
    hosts = parts.netloc.rpartition("@")[2]
    if not hosts:
        raise ValueError(f"{quoted(text)} names no host; write {ACCEPTED}")
    return tuple(_of_host(host, _PORTS.get(scheme)) for host in hosts.split(","))


def _of_libpq(text: str) -> tuple[TargetAddress, ...]:
    """``host=a,b port=5432 password=…``, as libpq takes it."""
    pairs = {key.lower(): value.strip("'") for key, value in _LIBPQ_PAIR.findall(text)}
    hosts = (pairs.get("hostaddr") or pairs.get("host") or "").split(",")
    ports = (pairs.get("port") or "5432").split(",")
    if not hosts[0] or hosts[0].startswith("/"):
        raise ValueError(f"{quoted(text)} names no host; write {ACCEPTED}")
    if len(ports) == 1:
        ports *= len(hosts)
    if len(ports) != len(hosts):
        raise ValueError(f"{quoted(text)} has {len(hosts)} hosts and {len(ports)} ports")
    return tuple(_with_port(host, port) for host, port in zip(hosts, ports, strict=True))


def _of_host(text: str, port: int | None) -> TargetAddress:
    if literal_address(text) is not None:  # of IPv6 without brackets, too
        return TargetAddress(str(literal_address(text)), port)
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        if literal_address(host) is None or (rest and not rest.startswith(":")):
            raise ValueError(f"{shown(text)} is no address; write {ACCEPTED}")
        return _with_port(host, rest[1:] if rest else None, port)
    host, colon, rest = text.partition(":")
    return _with_port(host, rest) if colon else _with_port(host, None, port)


def _with_port(host: str, text: str | None, port: int | None = None) -> TargetAddress:
    host = host.strip().lower().rstrip(".")
    literal = literal_address(host)
    if literal is not None:
        host = str(literal)
    elif not _HOST.fullmatch(host):
        raise ValueError(f"{shown(host)} is no host; write {ACCEPTED}")
    if text is not None:
        text = text.strip()
        if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) <= HIGHEST_PORT):
            raise ValueError(
                f"{shown(text)} is no port of {host}; write a number up to {HIGHEST_PORT}"
            )
        port = int(text)
    return TargetAddress(host, port)
