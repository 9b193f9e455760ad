"""What a canary writes through to PostgreSQL: one row a write, committed at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any

from pytest_drdrill.live.postgres.driver import psycopg
from pytest_drdrill.live.postgres.hosts import Target, targets_of
from pytest_drdrill.text import one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from pytest_drdrill.live.postgres.node import PostgresNode
    from pytest_drdrill.live.postgres.server import PostgresServer

_SYNC_WAIT = "SyncRepWaitForLSN"
"""The function of the server that warns when a wait for a standby was given up: unlike its text, it
is not translated."""
_IN_DOUBT = ("08", "57P01", "57P02", "57P05", "58", "XX")
"""Classes and codes of errors after which a commit may have happened: lost connections, shutdowns
and crashes in the middle, and failures inside the server."""


class PostgresWriteFailed(Exception):  # noqa: N818 - as the other outcomes are named
    """A write or a read of the canary did not succeed.

    Attributes:
        leaves_open: whether it may have been committed all the same: its answer was lost.
    """

    def __init__(self, why: str, *, leaves_open: bool = False) -> None:
        super().__init__(why)
        self.leaves_open = leaves_open


class PostgresCanaryClient:
    """A client of the canary that follows a failover; what ``postgres_canary`` makes."""

    def __init__(self, targets: list[Target], table: str) -> None:
        self.targets = [each.address for each in targets]
        self._targets = targets
        sql = psycopg().sql
        name = sql.Identifier(*table.split("."))
        columns = "(key text primary key, value text not null)"
        self._create = sql.SQL("create table if not exists {} " + columns).format(name).as_string()
        self._insert = sql.SQL("insert into {} values (%s, %s)").format(name).as_string()
        self._select = sql.SQL("select key, value from {}").format(name).as_string()
        self._get = sql.SQL("select value from {} where key = %s").format(name).as_string()
        self._idle: list[Any] = []
        self._has_table = False

    def __repr__(self) -> str:
        return f"<canary client of PostgreSQL at {', '.join(self.targets)}>"

    async def write(self, key: str, value: str) -> None:
        """Insert a row, committed at once.

        Raises:
            PostgresWriteFailed: it was refused, or nobody knows.
        """
        await self._on_one(self._written, key, value)

    async def _written(self, connection: Any, key: str, value: str) -> None:
        if not self._has_table:
            await connection.execute(self._create)
            self._has_table = True
        connection.warnings.clear()
        # Prepared at its first use, so that the server parses and plans it once.
        await connection.execute(self._insert, (key, value), prepare=True)
        if connection.warnings:
            raise PostgresWriteFailed(
                "committed here, and perhaps nowhere else: the wait for the synchronous standby "
                "was given up",
                leaves_open=True,
            )

    async def read(self, key: str) -> str | None:
        """The value of a key, from whoever takes writes; None where there is none.

        Raises:
            PostgresWriteFailed: nobody answered.
        """
        row: tuple[str] | None = await self._on_one(self._got, key)
        return None if row is None else row[0]

    async def _got(self, connection: Any, key: str) -> Any:
        return await (await connection.execute(self._get, (key,), prepare=True)).fetchone()

    async def read_all(self) -> dict[str, str]:
        """All keys and values, from whoever takes writes.

        Raises:
            PostgresWriteFailed: nobody answered.
        """
        return dict(await self._on_one(self._got_all))

    async def _got_all(self, connection: Any) -> Any:
        return await (await connection.execute(self._select)).fetchall()

    async def close(self) -> None:
        """Let go of all connections."""
        for connection in self._idle:
            await connection.close()
        self._idle.clear()

    # -- connections ------------------------------------------------------------------------------

    async def _on_one(self, work: Any, *values: str) -> Any:
        """Do something on a connection, which is kept for the next one where it is still good."""
        sent = bool(self._idle)
        connection = self._idle.pop() if sent else await self._connect()
        try:
            outcome = await _or_cut(work(connection, *values), connection)
        except psycopg().Error as error:
            await connection.close()
            self._forget_broken()
            raise _failure(error) from None
        except BaseException:
            await connection.close()
            raise
        self._idle.append(connection)
        return outcome

    def _forget_broken(self) -> None:
        """The others may lead to a server that is gone, or no longer takes writes, as well."""
        idle, self._idle = self._idle, []
        for each in idle:
            _cut(each)
            # Closes it, too: the file descriptor alone is held by it.
            each.pgconn.finish()

    async def _connect(self) -> Any:
        """A connection to whichever server takes writes; all are asked at once.

        One that is frozen accepts connections and never answers: asked one after the other, as
        libpq does, the others would not be heard within the time that a write has.
        """
        tasks = [asyncio.ensure_future(_open(each)) for each in self._targets]
        failures: list[str] = []
        try:
            for earliest in asyncio.as_completed(tasks):
                try:
                    connection = await earliest
                except psycopg().Error as error:
                    failures.append(_text(error))
                    continue
                _listen(connection)
                return connection
        finally:
            for task in tasks:
                task.cancel()
                task.add_done_callback(_close_late)
        raise PostgresWriteFailed("; ".join(failures))


def postgres_canary(
    *where: str | PostgresNode | PostgresServer, table: str = "drdrill_canary"
) -> PostgresCanaryClient:
    """A client for ``canary(...)`` that writes rows to PostgreSQL and follows a failover.

    Of several servers it uses the one that takes writes. A commit whose answer was lost is
    indeterminate, and so is one whose wait for a synchronous standby was given up. It takes as many
    connections as the canary has writes under way.

    Args:
        where: servers of the drill, or one connection string of libpq, that may name several hosts
            (``"host=a,b port=5432 dbname=orders user=canary"``, or ``"postgresql://..."``).
        table: where it writes, made where it is not there: its user has to own the schema, or the
            table has to be there with the columns ``key``, which is unique, and ``value``, both
            text. The rows stay, as evidence.

    Raises:
        ComponentMissing: psycopg is not installed.
        ValueError: a connection string that can't be read, or nothing at all.
    """
    __tracebackhide__ = True
    return PostgresCanaryClient(targets_of(where), table)


async def _open(target: Target) -> Any:
    connection = await psycopg().AsyncConnection.connect(**target.arguments())
    await connection.set_autocommit(True)
    return connection


def _listen(connection: Any) -> None:
    """Keep its warnings that a commit waited for no standby any more."""
    connection.warnings = []

    def told(notice: Any) -> None:
        if notice.source_function == _SYNC_WAIT:
            connection.warnings.append(notice.message_primary)

    connection.add_notice_handler(told)


def _close_late(task: asyncio.Task[Any]) -> None:
    """A connection that was made in vain, or the reason why there is none, which is no matter."""
    if not task.cancelled() and task.exception() is None:
        connection = task.result()
        if getattr(connection, "warnings", None) is None:
            connection.pgconn.finish()


async def _or_cut(work: Coroutine[Any, Any, Any], connection: Any) -> Any:
    """Await what is done on a connection; where that is cancelled, cut the connection.

    Cancelled itself, the driver asks the server to cancel the statement, and waits for its answer,
    which one that is frozen never gives.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        _cut(connection)
        await _settled(task)
        raise


async def _settled(task: Awaitable[Any]) -> None:
    with contextlib.suppress(Exception):
        await task


def _cut(connection: Any) -> None:
    """Both directions are shut down, so that whoever waits for an answer wakes with an error."""
    with (
        contextlib.suppress(OSError, psycopg().Error),
        socket.socket(fileno=os.dup(connection.pgconn.socket)) as twin,
    ):
        twin.shutdown(socket.SHUT_RDWR)


def _failure(error: Any) -> PostgresWriteFailed:
    code = error.sqlstate
    # Without a code it is no answer of the server's: the connection broke before there was one.
    open_ = code is None and isinstance(error, psycopg().OperationalError)
    return PostgresWriteFailed(
        _text(error), leaves_open=open_ or bool(code and code.startswith(_IN_DOUBT))
    )


def _text(error: Any) -> str:
    code = f" ({error.sqlstate})" if error.sqlstate else ""
    return one_line(str(error).strip().partition("\n")[0], 300) + code
