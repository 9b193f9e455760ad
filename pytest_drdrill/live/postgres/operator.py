"""What operators do by mistake, and what has to be known to undo it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_drdrill.live.postgres.driver import connected, psycopg
from pytest_drdrill.live.postgres.errors import PostgresError
from pytest_drdrill.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pytest_drdrill.live.postgres.server import PostgresServer


class Mistake(NamedTuple):
    """A statement that should not have been run.

    Attributes:
        what: the statement.
        xid: the id of its transaction: ``archive.restore_to(mistake.xid)`` ends just before it.
        before: a moment before it, by the server's clock.
        rows: how many it changed, or -1 where it does not say.
    """

    what: str
    xid: int
    before: datetime
    rows: int


def drop_table(server: PostgresServer, table: str) -> Mistake:
    """Drop a table of the search path, or of the schema that its name begins with."""
    sql = psycopg().sql
    return run_mistake(server, sql.SQL("drop table {}").format(sql.Identifier(*table.split("."))))


def run_mistake(server: PostgresServer, statement: Any, values: Sequence[Any] = ()) -> Mistake:
    """Run a statement in a transaction of its own, on the timeline."""
    with connected(server.dsn) as connection:
        before = connection.execute("select clock_timestamp()").fetchone()[0]
        with connection.transaction():
            cursor = connection.execute(statement, values or None)
            rows = cursor.rowcount
            # As the log and the WAL show it: its last 32 bits, which a recovery target takes.
            told = connection.execute(
                "select pg_current_xact_id_if_assigned()::text::bigint % 4294967296"
            ).fetchone()
        text = statement if isinstance(statement, str) else statement.as_string(connection)
    if told is None or told[0] is None:
        raise PostgresError(f"{one_line(text, 80)!r} changed nothing: there is no mistake to undo")
    changed = f", {rows:,} rows" if rows >= 0 else ""
    server.tell("fault", f"an operator ran on {server.name}: {one_line(text, 200)}{changed}")
    return Mistake(text, int(told[0]), before, rows)
