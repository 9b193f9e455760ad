"""What a restore gives: a database to be tried, and what is known of it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from pytest_drdrill.live.closing import Closing
from pytest_drdrill.live.dumps.catalog import Catalog
from pytest_drdrill.live.dumps.errors import RecoveryPointUnknown
from pytest_drdrill.live.dumps.moment import SIDECAR

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from pathlib import Path

    import psycopg

    from pytest_drdrill.live.dumps.findings import RestoreFinding
    from pytest_drdrill.live.dumps.formats import Format
    from pytest_drdrill.live.dumps.moment import Basis, RecoveryPoint
    from pytest_drdrill.live.dumps.scratch import ScratchPostgres


class RestoredDump(Closing):
    """A dump, restored into a scratch server of its own; made by ``restore_dump``.

    Attributes:
        dump: what was restored.
        format: ``"custom"``, ``"directory"``, ``"tar"`` or ``"plain"``.
        database: the database that ``dsn`` and ``query`` reach.
        databases: all that were restored; a dump of pg_dumpall may hold several.
        duration: how long the restore itself took, without the start of the server and the checks.
        findings: what was found, ignored and harmless things too.
        server_version: of the scratch server.
    """

    def __init__(  # noqa: PLR0913 - what is known of a restore, by keyword
        self,
        server: ScratchPostgres,
        *,
        dump: Path,
        format: Format,  # noqa: A002 - the attribute's name
        database: str,
        databases: tuple[str, ...],
        duration: timedelta,
        findings: tuple[RestoreFinding, ...],
        recovered_to: RecoveryPoint | None,
    ) -> None:
        self._server = server
        self.dump = dump
        self.format = format
        self.database = database
        self.databases = databases
        self.duration = duration
        self.findings = findings
        self.server_version = server.binaries.version
        self._recovered_to = recovered_to

    @property
    def dsn(self) -> str:
        """The connection string: a socket that only this user can reach; there is no password."""
        return self._server.dsn(self.database)

    @property
    def recovery_point(self) -> datetime:
        """The moment from which the data are: when the dump was begun; never the file's own date.

        Raises:
            RecoveryPointUnknown: nothing says it.
        """
        __tracebackhide__ = True
        if self._recovered_to is None:
            raise RecoveryPointUnknown(
                f"nothing says when {self.dump} was begun: dump with pg_dump -v, or in another "
                f"format than plain; or write the moment to {self.dump.name}{SIDECAR}; or give "
                "a query for the newest row, freshness='SELECT max(created_at) ...'"
            )
        return self._recovered_to.moment

    @property
    def basis(self) -> Basis | None:
        """Who says so: ``"header"``, ``"sidecar"`` or ``"freshness"``; None where nobody does."""
        return None if self._recovered_to is None else self._recovered_to.basis

    @cached_property
    def tables(self) -> dict[str, int]:
        """The rows of each table, counted when first asked for; without ``public.`` in its name."""
        with self.connect() as connection:
            catalog = Catalog(connection)
            return {table.shown: catalog.count(table) for table in catalog.tables()}

    def query(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """Run a statement of yours in the restored database.

        Args:
            sql: the statement, with ``%s`` for each parameter where there are any.
            parameters: as psycopg takes them.

        Returns:
            Its rows; none where it gives none.

        Raises:
            psycopg.Error: it failed.
            RestoreFailed: the server has ended.
        """
        with self.connect() as connection:
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def connect(self) -> psycopg.Connection[Any]:
        """A connection of psycopg to the restored database, each statement its own transaction."""
        return self._server.connect(self.database)

    def close(self) -> None:
        """End the server and remove all of it; again, nothing happens."""
        self._server.close()

    def __repr__(self) -> str:
        return f"<RestoredDump {self.dump} in PostgreSQL {self.server_version}>"
