"""How a standby is cloned from its primary, told whom to follow, and seen to do so."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.live.postgres.conninfo import conninfo, setting_lines
from pytest_drdrill.live.postgres.driver import connected, psycopg
from pytest_drdrill.live.postgres.errors import PostgresError
from pytest_drdrill.live.postgres.template import USER, give

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_drdrill.live.postgres.node import PostgresNode
    from pytest_drdrill.live.postgres.server import PostgresServer

_PATIENCE = 60.0
_POLL = 0.01


def clone(node: PostgresNode, of: PostgresNode) -> None:
    """A base backup of a running primary as a node's data, and whom it follows.

    Raises:
        PostgresError: the primary does not run, or can't be cloned.
    """
    if not of.is_running or of.is_paused:
        raise PostgresError(f"{of.name} does not run, so {node.name} can't be cloned from it")
    shutil.copyfile(of.passfile, node.passfile)
    node.passfile.chmod(0o600)
    give(node.passfile, node.account)
    source = conninfo(host="127.0.0.1", port=str(of.port), user=USER)
    arguments = ["-d", source, "-D", str(node.data), "-X", "stream", "-c", "fast", "--no-sync"]
    node.run_tool("pg_basebackup", arguments)
    follow(node, of)


def follow(node: PostgresNode, of: PostgresNode) -> None:
    """Write down whom a node follows that does not run, and have a slot made for it there."""
    host, port = node.link or ("127.0.0.1", of.port)
    node.upstream = of
    lines: dict[str, object] = {
        "primary_conninfo": conninfo(
            host=host,
            port=str(port),
            user=USER,
            passfile=str(node.passfile),
            application_name=node.name,
        ),
        "primary_slot_name": make_slot(node, of) if node.slot else "",
        # Else it waits, once promoted, for the standbys of its primary.
        "synchronous_standby_names": "",
        # A new primary is found again at once, and not after five seconds.
        "wal_retrieve_retry_interval": "200ms",
    }
    path = node.data / "postgresql.auto.conf"
    with path.open("a", encoding="utf-8") as file:
        file.write(setting_lines(lines, {}))
    signal = node.data / "standby.signal"
    signal.touch(mode=0o600)
    give(signal, node.account)


def make_slot(node: PostgresNode, of: PostgresNode) -> str:
    """A replication slot for a node, from now on, if there is none; its name."""
    of.query(
        "select pg_create_physical_replication_slot(%s, true) where not exists "
        "(select from pg_replication_slots where slot_name = %s)",
        *(node.name, node.name),
    )
    return node.name


def wait_until_streaming(
    node: PostgresNode, of: PostgresNode, *, timeout: float = _PATIENCE
) -> None:
    """Wait until a primary streams to a node.

    Raises:
        PostgresError: it did not in time, or the node ended.
    """
    sql = "select true from pg_stat_replication where application_name = %s and state = 'streaming'"

    def streams(connection: Any) -> bool:
        return connection.execute(sql, (node.name,)).fetchone() is not None

    if not _wait(of, streams, timeout, lambda: not node.is_running):
        raise PostgresError(
            f"{node.name} did not stream from {of.name} within {format_seconds(timeout)}; the end "
            f"of its log:\n{node.log_tail()}"
        )


def synchronize(of: PostgresNode, names: Sequence[str]) -> None:
    """Have the commits of a primary wait for standbys, all of them, and see that they do.

    Raises:
        PostgresError: they did not in time.
    """
    quoted = ", ".join(f'"{name}"' for name in dict.fromkeys(names))
    change_settings(of, synchronous_standby_names=f"{len(set(names))} ({quoted})")
    sql = (
        "select count(*) from pg_stat_replication where application_name = any(%s)"
        " and sync_state = 'sync'"
    )

    def waits(connection: Any) -> bool:
        return bool(connection.execute(sql, (list(names),)).fetchone()[0] == len(set(names)))

    if not _wait(of, waits, _PATIENCE):
        raise PostgresError(
            f"{of.name} does not replicate synchronously to {quoted} after "
            f"{format_seconds(_PATIENCE)}"
        )


def names_in(text: str) -> list[str]:
    """The standbys in a value of ``synchronous_standby_names`` that ``synchronize`` wrote."""
    inner = text.partition("(")[2].rpartition(")")[0]
    return [each.strip().strip('"') for each in inner.split(",") if each.strip()]


def wait_caught_up(node: PostgresNode, timeout: float) -> None:
    """Wait until a node has applied all that its primary has written by now.

    Raises:
        PostgresError: it had not in time, or follows nobody.
    """
    of = node.upstream
    if of is None:
        raise PostgresError(f"{node.name} follows nobody, so there is nothing to catch up with")
    written = of.query("select pg_current_wal_flush_lsn()")[0][0]

    def has_it(connection: Any) -> bool:
        found = connection.execute("select pg_last_wal_replay_lsn() >= %s::pg_lsn", (written,))
        return bool(found.fetchone()[0])

    if not _wait(node, has_it, timeout):
        raise PostgresError(
            f"{node.name} had not applied what {of.name} had written within "
            f"{format_seconds(timeout)}; it is {node.lag().bytes:,} bytes behind"
        )


def change_settings(server: PostgresServer, **settings: object) -> None:
    """ALTER SYSTEM, and a reload; returns once that is in effect.

    Raises:
        psycopg.Error: the server refused one.
        PostgresError: it is not in effect in time.
    """
    sql = psycopg().sql
    loaded = "select pg_conf_load_time()"
    before = server.query(loaded)
    with connected(server.dsn) as connection:
        for name, value in settings.items():
            text = ("on" if value else "off") if isinstance(value, bool) else str(value)
            statement = sql.SQL("alter system set {} = {}")
            connection.execute(statement.format(sql.Identifier(name), sql.Literal(text)))
        connection.execute("select pg_reload_conf()")
        deadline = time.monotonic() + _PATIENCE
        while server.query(loaded) == before:  # each time of a process that has just begun
            if time.monotonic() > deadline:
                raise PostgresError(
                    f"{server.name} has not reloaded its settings; the end of its log:\n"
                    f"{server.log_tail()}"
                )
            time.sleep(_POLL)
        if "synchronous_standby_names" in settings:
            # Whether commits wait is told to all by the checkpointer, which reloads before this.
            connection.execute("checkpoint")


def _wait(
    node: PostgresNode,
    check: Callable[[Any], bool],
    timeout: float,
    in_vain: Callable[[], bool] = lambda: False,
) -> bool:
    """Ask a server until a check holds, on one connection."""
    deadline = time.monotonic() + timeout
    with connected(node.dsn) as connection:
        while not check(connection):
            if time.monotonic() > deadline or in_vain():
                return False
            time.sleep(_POLL)
    return True
