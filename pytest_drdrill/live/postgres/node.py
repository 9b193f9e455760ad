"""A PostgreSQL that leads, follows, is promoted, and rejoins."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from pytest_drdrill.durations import format_seconds, parse_duration
from pytest_drdrill.faults.injector import Fault
from pytest_drdrill.live.postgres import following
from pytest_drdrill.live.postgres.conninfo import alone
from pytest_drdrill.live.postgres.driver import connected
from pytest_drdrill.live.postgres.errors import PostgresError
from pytest_drdrill.live.postgres.operator import Mistake, drop_table, run_mistake
from pytest_drdrill.live.postgres.rejoining import Rejoined, rejoin
from pytest_drdrill.live.postgres.server import PostgresServer
from pytest_drdrill.live.postgres.template import USER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

    from pytest_drdrill.failover import FencingProof
    from pytest_drdrill.live.postgres.binaries import PostgresBinaries
    from pytest_drdrill.live.proxy import FaultProxy

_POLL = 0.005


class PostgresLag(NamedTuple):
    """How far a standby is behind its primary.

    Attributes:
        bytes: of WAL that the primary has written and the standby has not applied.
        unreceived: those of them that the standby has not flushed to its disk either: what is lost
            when the primary is. None where the primary can't be asked: then ``bytes`` counts what
            has been received alone.
        seconds: since the last transaction that was applied was committed; 0 where none is missing.
    """

    bytes: int
    unreceived: int | None
    seconds: float


class PostgresNode(PostgresServer):
    """A scratch PostgreSQL in a replication; see ``PostgresServer`` for all that is not.

    It does not wait for the disk (``fsync`` is off): killed processes lose nothing that the kernel
    has, and what takes seconds of a shared disk is none of a drill's. Where the disk is part of
    what is measured, ``settings={"fsync": True}``.

    Args:
        name: likewise.
        binaries: likewise; of a standby, its primary's.
        settings: likewise.
        tell: likewise.
        clone_of: whose clone it is: a base backup of that one, and not an empty cluster.
        link: host and port to reach that one at; default: where it is.
        slot: whether it has a replication slot there, which keeps what it has not received.

    Attributes:
        upstream: whom it follows, or None.
        superseded_by: who was promoted in its place, or None. It is not to be written to any more.
    """

    def __init__(  # noqa: PLR0913 - each has a meaning of its own
        self,
        name: str = "primary",
        *,
        binaries: PostgresBinaries | None = None,
        settings: Mapping[str, object] | None = None,
        tell: Callable[[str, str], object] | None = None,
        clone_of: PostgresNode | None = None,
        link: tuple[str, int] | None = None,
        slot: bool = True,
    ) -> None:
        self.upstream = clone_of
        self.superseded_by: PostgresNode | None = None
        self.link = link
        self.slot = slot
        if clone_of is not None:
            binaries = clone_of.binaries
        else:
            settings = {"fsync": False, **(settings or {})}
        super().__init__(name, binaries=binaries, settings=settings, tell=tell)

    def _make_data(self) -> None:
        if self.upstream is None:
            super()._make_data()
        else:
            following.clone(self, self.upstream)

    # -- roles ----------------------------------------------------------------------------------

    def start(self, *, timeout: float = 60.0, even_superseded: bool = False) -> Self:
        """Start it; see ``PostgresServer.start``.

        Args:
            timeout: seconds to wait at most.
            even_superseded: whether one that was superseded may come back, as it is.

        Raises:
            PostgresError: it is superseded: it would come back as a second primary.
        """
        if not even_superseded:
            self._refuse_start()
        super().start(timeout=timeout)
        return self

    def restart(self, *, timeout: float = 60.0) -> timedelta:
        """Shut it down in order and start it again; see ``PostgresServer.restart``.

        Raises:
            PostgresError: it is superseded, so it is not even stopped.
        """
        self._refuse_start()
        return super().restart(timeout=timeout)

    def _refuse_start(self) -> None:
        if self.superseded_by is not None:
            raise PostgresError(
                f"{self.name} was superseded by {self.superseded_by.name}: started again, there "
                f"would be two primaries; call {self.name}.rejoin({self.superseded_by.name})"
            )

    def pause(self) -> Fault:
        """SIGSTOP to all its processes; see ``PostgresServer.pause``.

        Returns:
            The fault, for ``with``: its end resumes the server, or kills one that was superseded
            meanwhile, which must not come back writable.
        """
        fault = super().pause()
        return Fault(fault.what, self._unpause)

    def _unpause(self) -> None:
        if self.superseded_by is None:
            self.resume()
        elif self.is_paused:
            super().kill()

    def resume(self, *, even_superseded: bool = False) -> None:
        """SIGCONT to all its processes.

        Args:
            even_superseded: whether one that was superseded is to come back as a second primary
                that takes writes, which is how a split brain is shown.

        Raises:
            PostgresError: it is superseded, and that was not asked for.
        """
        if self.is_paused and self.superseded_by is not None and not even_superseded:
            raise PostgresError(
                f"{self.name} was superseded by {self.superseded_by.name}: resumed, it takes "
                "writes as well; fence it, or write resume(even_superseded=True) to see that"
            )
        super().resume()

    def is_primary(self) -> bool:
        """Whether it takes writes, which a standby does not; asked, not remembered.

        Raises:
            psycopg.Error: it can't be asked.
        """
        return not self.query("select pg_is_in_recovery()")[0][0]

    def has_sync_standby(self) -> bool:
        """Whether a commit waits, now, for a standby that follows: for ``drill.require``.

        Raises:
            psycopg.Error: it can't be asked.
        """
        sql = (
            "select current_setting('synchronous_commit') not in ('off', 'local') and exists ("
            "select from pg_stat_replication where state = 'streaming'"
            " and sync_state in ('sync', 'quorum'))"
        )
        return bool(self.query(sql)[0][0])

    def set(self, **settings: Any) -> None:
        """Change settings that need no restart, as an operator does: ALTER SYSTEM, and a reload.

        Raises:
            psycopg.Error: the server refused one.
        """
        following.change_settings(self, **settings)

    def promote(self, *, timeout: str | timedelta = "60s") -> None:
        """Make it the primary, and return once it takes writes; one that is, stays so.

        Its old primary is superseded from then on, and not stopped: who may still write to it has
        to be fenced before, or there are two.

        Args:
            timeout: how long that may take.

        Raises:
            PostgresError: it did not become a primary in time.
            psycopg.Error: it can't be asked.
        """
        seconds = parse_duration(timeout).total_seconds()
        deadline = time.monotonic() + seconds
        with connected(self.dsn) as connection:
            if not connection.execute("select pg_is_in_recovery()").fetchone()[0]:
                return
            self.supersedes_upstream()
            # Not waited for by the server, which looks only ten times a second.
            connection.execute("select pg_promote(false)")
            while connection.execute("select pg_is_in_recovery()").fetchone()[0]:
                if time.monotonic() > deadline:
                    raise PostgresError(
                        f"{self.name} was no primary within {format_seconds(seconds)}; the end "
                        f"of its log:\n{self.log_tail()}"
                    )
                time.sleep(_POLL)
        self.tell("promoted", self.name)

    def supersedes_upstream(self) -> None:
        """From now on its upstream is superseded: said before the promotion may take effect."""
        old, self.upstream = self.upstream, None
        if old is None:
            return
        old.superseded_by = self
        if old.is_running:
            state = "is paused" if old.is_paused else "still takes writes"
            self.tell(
                "two primaries",
                f"{self.name} is promoted while {old.name} {state}, and nobody has fenced it",
            )

    def fence(self, by: Literal["kill", "demote"] = "kill") -> FencingProof:
        """Keep it from taking writes, and prove that; see ``PostgresFailover``.

        Raises:
            PostgresError: it still takes writes.
        """
        from pytest_drdrill.live.postgres.fencing import fence  # which needs asyncio

        return fence(self, by)

    def rejoin(self, of: PostgresNode, *, synchronous: bool = False) -> Rejoined:
        """Have it follow a new primary, rewound to where the two parted, else cloned anew.

        Where it still runs, it is stopped; what was committed on it alone is discarded.

        Args:
            of: the new primary.
            synchronous: whether the commits of that one wait for it from then on.

        Raises:
            PostgresError: the other one is no primary, or it does not follow in the end.
        """
        done = rejoin(self, of)
        if synchronous:
            following.synchronize(of, [*of.synchronous, self.name])
        return done

    # -- replication ------------------------------------------------------------------------------

    @property
    def synchronous(self) -> list[str]:
        """Names of the standbys that its commits wait for."""
        return following.names_in(self.query("show synchronous_standby_names")[0][0])

    def add_standby(
        self,
        name: str = "standby",
        *,
        synchronous: bool = False,
        slot: bool = True,
        settings: Mapping[str, object] | None = None,
        through: FaultProxy | None = None,
    ) -> PostgresNode:
        """A standby of it, cloned and streaming; its own ``close`` ends it.

        Args:
            name: of the standby.
            synchronous: whether commits wait until it has flushed them; with several such
                standbys, for all of them.
            slot: whether the primary keeps what the standby has not received yet.
            settings: of the standby, beside those that it has of its primary.
            through: a proxy in front of the primary, by which the standby reaches it: what breaks
                the proxy breaks the replication, and no client.

        Raises:
            PostgresError: it can't be cloned, or does not stream.
        """
        link = None if through is None else (through.host, through.port)
        standby = PostgresNode(
            name, settings=settings, tell=self._told, clone_of=self, link=link, slot=slot
        )
        try:
            standby.start()
            following.wait_until_streaming(standby, self)
            if synchronous:
                following.synchronize(self, [*self.synchronous, name])
        except BaseException:
            standby.close()
            raise
        return standby

    def lag(self) -> PostgresLag:
        """How far it is behind its primary; nothing, where it is none's standby.

        Raises:
            psycopg.Error: it can't be asked.
        """
        written = None
        if self.upstream is not None and self.upstream.is_running and not self.upstream.is_paused:
            written = self.upstream.query("select pg_current_wal_flush_lsn()")[0][0]
        sql = (
            "with seen as (select pg_is_in_recovery() as follows, pg_last_wal_receive_lsn() as "
            "received, pg_last_wal_replay_lsn() as replayed, %s::pg_lsn as written) "
            "select case when not follows then 0 else greatest(0, pg_wal_lsn_diff("
            "coalesce(written, received, replayed), replayed)) end::bigint, "
            "case when not follows then 0 when written is null then null else greatest(0, "
            "pg_wal_lsn_diff(written, greatest(received, replayed))) end::bigint, "
            "extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())::float8 "
            "from seen"
        )
        behind, unreceived, seconds = self.query(sql, written)[0]
        return PostgresLag(behind, unreceived, max(0.0, seconds or 0.0) if behind else 0.0)

    def wait_caught_up(self, *, timeout: str | timedelta = "60s") -> None:
        """Wait until it has applied all that its primary had written when this was called.

        Raises:
            PostgresError: it had not in time.
        """
        following.wait_caught_up(self, parse_duration(timeout).total_seconds())

    # -- the operator's mistakes -------------------------------------------------------------------

    def drop_table(self, table: str) -> Mistake:
        """A mistake: drop a table, committed at once.

        Raises:
            psycopg.Error: the server refused it, as where there is no such table.
        """
        return drop_table(self, table)

    def mistake(self, sql: str, *values: Any) -> Mistake:
        """A mistake: any statement, committed at once, such as a DELETE without its WHERE.

        Raises:
            psycopg.Error: the server refused it.
            PostgresError: it changed nothing, so there is nothing to recover from.
        """
        return run_mistake(self, sql, values)

    def dsn_with(self, *others: PostgresNode) -> str:
        """A connection string of several servers, whose clients go to the one that takes writes."""
        nodes = (self, *others)
        return alone(
            host=",".join("127.0.0.1" for _ in nodes),
            port=",".join(str(each.port) for each in nodes),
            user=USER,
            dbname=USER,
            passfile=str(self.passfile),
            target_session_attrs="read-write",
        )
