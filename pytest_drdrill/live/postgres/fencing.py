"""A failover manager's hands on PostgreSQL: who is asked, fenced and promoted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from pytest_drdrill.failover import FencingProof, ProbeResult, ServiceEndpoint
from pytest_drdrill.live.postgres.driver import psycopg
from pytest_drdrill.live.postgres.errors import PostgresError
from pytest_drdrill.live.postgres.template import give
from pytest_drdrill.text import one_line

if TYPE_CHECKING:
    from typing import Any

    from pytest_drdrill.live.postgres.node import PostgresNode

_POLL = 0.005


class PostgresFailover:
    """Prober, fencer and promoter of a failover manager or a cluster, in one.

    ``failover_manager(parts.endpoints, prober=parts, fencer=parts, promoter=parts)``. A server is
    healthy when it answers ``select 1`` on a new connection, primary or not.

    Args:
        nodes: the primary first.
        fence_by: ``"kill"`` ends the processes of the old primary, frozen or not, and proves that
            they are dead; ``"demote"`` restarts it as a standby of nobody, and proves that it
            refuses a write, or kills it where it is frozen.

    Attributes:
        endpoints: one for each node, of its name, in the same order.

    Raises:
        ValueError: there is another way to fence only.
    """

    def __init__(self, *nodes: PostgresNode, fence_by: Literal["kill", "demote"] = "kill") -> None:
        if fence_by not in ("kill", "demote"):
            raise ValueError(f"fence_by is 'kill' or 'demote', not {fence_by!r}")
        self._nodes = {each.name: each for each in nodes}
        self._fence_by = fence_by
        self.endpoints = [
            ServiceEndpoint(each.name, f"http://127.0.0.1:{each.port}", timeout="1s")
            for each in nodes
        ]

    async def open(self) -> None:
        """Nothing has to be got ready."""

    async def close(self) -> None:
        """Nothing is kept open."""

    async def probe(self, endpoint: ServiceEndpoint) -> ProbeResult:
        """Ask one server on a new connection, once."""
        driver = psycopg()
        try:
            connection = await _connect(self._nodes[endpoint.name])
            try:
                await connection.execute("select 1")
            finally:
                connection.pgconn.finish()
        except driver.Error as error:
            return ProbeResult(healthy=False, reason=one_line(str(error).partition("\n")[0], 200))
        return ProbeResult(healthy=True)

    async def fence(self, endpoint: ServiceEndpoint) -> FencingProof:
        """Keep a server from taking writes, and prove that it takes none.

        Raises:
            PostgresError: it still takes writes.
        """
        # In a thread it goes on where it is cancelled: what is fenced too late is fenced.
        return await asyncio.to_thread(fence, self._nodes[endpoint.name], self._fence_by)

    async def promote(self, endpoint: ServiceEndpoint) -> None:
        """Promote a standby, and return once it takes writes.

        Raises:
            PostgresError: it does not run.
            psycopg.Error: it can't be asked.
        """
        node = self._nodes[endpoint.name]
        if not node.is_running or node.is_paused:
            raise PostgresError(f"{node.name} does not run, so it can't be promoted")
        connection = await _connect(node)
        try:
            if not await _is_standby(connection):
                return
            node.supersedes_upstream()
            await connection.execute("select pg_promote(false)")
            while await _is_standby(connection):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(_POLL)
        finally:
            connection.pgconn.finish()
        node.tell("promoted", node.name)


def fence(node: PostgresNode, by: Literal["kill", "demote"] = "kill") -> FencingProof:
    """Keep a server from taking writes, and prove that it takes none.

    Args:
        node: the server; one that is fenced stays so.
        by: see ``PostgresFailover``.

    Raises:
        PostgresError: it still takes writes.
    """
    if by == "demote" and node.is_running and not node.is_paused:
        proof = _demote(node)
    else:
        node.kill()
        process = node.process
        assert process is not None
        seen = f"its postmaster, process {process.pid}, ended with status {process.returncode}"
        proof = FencingProof("process_dead", seen)
    node.tell("fenced", f"{node.name}: {proof.detail}")
    return proof


def _demote(node: PostgresNode) -> FencingProof:
    if node.is_primary():
        node.stop()
        signal = node.data / "standby.signal"
        signal.touch(mode=0o600)
        give(signal, node.account)
        node.start(even_superseded=True)
    try:
        node.query("create temporary table drdrill_fence (x int)")
    except psycopg().errors.ReadOnlySqlTransaction as refused:
        return FencingProof("write_refused", one_line(str(refused).strip(), 200))
    raise PostgresError(f"{node.name} was started as a standby, and takes writes all the same")


async def _connect(node: PostgresNode) -> Any:
    return await psycopg().AsyncConnection.connect(node.dsn, autocommit=True, connect_timeout=10)


async def _is_standby(connection: Any) -> bool:
    cursor = await connection.execute("select pg_is_in_recovery()")
    return bool((await cursor.fetchone())[0])
