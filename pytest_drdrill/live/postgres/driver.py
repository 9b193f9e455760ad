"""Talking to a server through psycopg, which is imported when it is first needed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pytest_drdrill.live.errors import ComponentMissing
from pytest_drdrill.live.postgres.errors import PACKAGE_INSTALL

if TYPE_CHECKING:
    from collections.abc import Sequence

_PATIENCE = 10
"""Seconds within which a server has to accept a connection, which a paused one never does."""


def psycopg() -> Any:
    """The driver.

    Raises:
        ComponentMissing: it is not installed, or finds no libpq.
    """
    try:
        return import_module("psycopg")
    except ImportError as error:
        raise ComponentMissing("the Python package psycopg", PACKAGE_INSTALL) from error


def connected(dsn: str) -> Any:
    """A connection that commits each statement at once; for ``with``."""
    return psycopg().connect(dsn, autocommit=True, connect_timeout=_PATIENCE)


def rows_of(dsn: str, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run one statement on a connection of its own, committed at once; the rows it gave.

    Raises:
        ComponentMissing: the driver is not installed.
        psycopg.Error: the server refused it, or can't be reached; it points at whoever asked.
    """
    __tracebackhide__ = True
    driver = psycopg()
    try:
        with connected(dsn) as connection:
            cursor = connection.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []
    except driver.Error as error:
        raise error.with_traceback(None) from None
