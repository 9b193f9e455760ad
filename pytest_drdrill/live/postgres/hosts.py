"""Where clients connect to: a connection string taken apart into its hosts, its secrets hidden."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pytest_drdrill.live.postgres.driver import psycopg
from pytest_drdrill.live.postgres.server import PostgresServer
from pytest_drdrill.redact import keep_secret
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CONNECT_TIMEOUT = 10
_SERVICE = "PGSERVICE"


_PLACES = ("host", "hostaddr", "port", "password")


class Target:
    """One server, and how to connect to it; shown without what only its clients may know.

    Attributes:
        address: its host and port.
    """

    def __init__(self, parts: dict[str, Any]) -> None:
        host = parts.get("hostaddr") or parts.get("host") or "localhost"  # as libpq has it
        self.address = f"{host}:{parts.get('port') or 5432}"
        self._parts = parts

    def arguments(self) -> dict[str, Any]:
        """What the driver is called with."""
        return {"connect_timeout": _CONNECT_TIMEOUT, **self._parts}

    def __repr__(self) -> str:
        return f"<{self.address}>"


def targets_of(where: Sequence[object]) -> list[Target]:
    """Every server that is named, of which one that takes writes is wanted.

    Raises:
        ValueError: nothing is named, or a connection string can't be read; the message holds
            nothing of it, which may be a secret.
        TypeError: neither a server nor a text.
    """
    __tracebackhide__ = True
    if not where:
        raise ValueError("postgres_canary() takes servers of the drill, or a connection string")
    return [target for each in where for target in _targets(each)]


def _targets(each: object) -> Iterator[Target]:
    __tracebackhide__ = True
    dsn = each.dsn if isinstance(each, PostgresServer) else each
    if not isinstance(dsn, str):
        raise TypeError(
            f"postgres_canary() takes servers of the drill, or a connection string, not "
            f"{shown(each)}"
        )
    driver = psycopg()
    try:
        parts = driver.conninfo.conninfo_to_dict(dsn)
    except driver.Error:
        problem = True
    else:
        problem = False
    if problem:  # raised here, so that no traceback shows what the driver was given
        raise ValueError(
            "the connection string can't be read (it is not shown, since it may hold a password); "
            "write 'host=... port=... dbname=... user=...' or 'postgresql://user@host:port/dbname'"
        )
    parts = _from_environment(driver, parts.get("service")) | parts
    keep_secret(parts.get("password"), parts.get("sslpassword"))
    parts["target_session_attrs"] = "read-write"
    named = {name: str(parts.get(name) or "").split(",") for name in ("host", "hostaddr", "port")}
    count = max(map(len, named.values()))
    if any(len(values) not in (1, count) for values in named.values()):
        raise ValueError("the connection string names another number of ports than of hosts")
    for number in range(count):
        one = {name: values[number % len(values)] for name, values in named.items()}
        yield Target(parts | {name: value or None for name, value in one.items()})


def _from_environment(driver: Any, service: object) -> dict[str, Any]:
    """Where libpq would connect to by itself: who may be drilled is decided by that, too."""
    before = os.environ.get(_SERVICE)
    if service:  # asked for as a variable, since libpq tells of no other what is in its file
        os.environ[_SERVICE] = str(service)
    try:
        options = driver.pq.Conninfo.get_defaults()
    finally:
        if before is not None:
            os.environ[_SERVICE] = before
        elif service:
            del os.environ[_SERVICE]
    found = {each.keyword.decode(): each.val for each in options if each.val}
    return {name: found[name].decode() for name in _PLACES if name in found}
