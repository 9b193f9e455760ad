"""A PostgreSQL server of its own for each restore, gone with what was restored into it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pytest_drdrill.live.dumps.classify import is_full_disk
from pytest_drdrill.live.dumps.errors import RestoreFailed
from pytest_drdrill.live.errors import ServerFailed
from pytest_drdrill.live.postgres.conninfo import alone, setting_lines
from pytest_drdrill.live.postgres.driver import psycopg as psycopg_module
from pytest_drdrill.live.postgres.errors import PostgresError
from pytest_drdrill.live.postgres.process import PostgresProcess
from pytest_drdrill.live.postgres.template import USER, Template

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psycopg

    from pytest_drdrill.live.postgres.binaries import PostgresBinaries

_TEMPLATE = Template(
    ("-A", "trust"),
    """
# The scratch server of a restore. Where it listens is on its command line.
dynamic_shared_memory_type = mmap
logging_collector = off
lc_messages = C
log_min_error_statement = panic
log_error_verbosity = terse
""",
    has_password=False,
)
"""No password, since a dump may set another; statements of it hold data and passwords, so that they
and their details are not logged; and dynamic shared memory lies in the data folder, and is gone
with that."""
_OURS = {
    "data_directory": "each has its own",
    "listen_addresses": "it listens on a socket alone",
    "port": "it names the socket",
    "unix_socket_directories": "it is a folder that no other user can enter",
}
_PORT = 5432


class ScratchPostgres(PostgresProcess):
    """One server of its own, with durable settings, so that what a restore takes is what it takes.

    It listens on a socket in a folder that no other user can enter, and on no port: whatever is in
    the dump stays out of reach of the machine's other users, and there is no password to leak.

    Args:
        binaries: what to run.
        settings: of the server, beside its defaults.

    Raises:
        PostgresError: a setting is not to be chosen.
        RestoreFailed: it can't be made or started.
    """

    _template = _TEMPLATE

    def __init__(
        self, binaries: PostgresBinaries, settings: Mapping[str, object] | None = None
    ) -> None:
        lines = setting_lines(settings or {}, _OURS)
        try:
            super().__init__("postgres", binaries, lines)
        except PostgresError as error:
            raise self._failed(str(error)) from None
        try:
            self._start()
        except ServerFailed as error:
            failure = self._failed(str(error))
            self.close()
            raise failure from None
        except BaseException:
            self.close()
            raise

    def _place(self) -> Mapping[str, object]:
        return {
            "port": _PORT,
            "listen_addresses": "",
            "unix_socket_directories": self.folder,
        }

    def dsn(self, database: str) -> str:
        """How to reach a database of it; holds no secret."""
        return alone(host=str(self.folder), port=str(_PORT), user=USER, dbname=database)

    def connect(self, database: str, **options: Any) -> psycopg.Connection[Any]:
        """A connection to one of its databases, each statement a transaction of its own.

        Raises:
            RestoreFailed: it gives none.
            psycopg.Error: there is no such database.
        """
        if not self.is_running:
            raise self._failed("the scratch server has ended")
        connection: psycopg.Connection[Any] = psycopg_module().connect(
            self.dsn(database),
            autocommit=True,
            client_encoding="UTF8",  # whatever the environment says, likewise the next one
            options="-c lc_messages=C",
            **options,
        )
        return connection

    def lost(self, what: str) -> RestoreFailed:
        """The error for a connection that broke, or a tool that could not go on."""
        return self._failed(what)

    def _failed(self, what: str) -> RestoreFailed:
        tail = self.log_tail()
        if is_full_disk(tail) or is_full_disk(what):
            return self.full_disk()
        return RestoreFailed(f"{what}\n{tail}".strip() if tail not in what else what)

    def full_disk(self) -> RestoreFailed:
        """The error for a disk that has no room for what is restored."""
        return RestoreFailed(
            f"the disk was full in the middle of the restore: the scratch server's data are below "
            f"{self.folder.parent}; set TMPDIR to a folder with more room"
        )


def clean_environment() -> dict[str, str]:
    """For PostgreSQL's programs: nothing that names another server, a user or a password."""
    kept = ("PATH", "TMPDIR", "LD_LIBRARY_PATH")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    return {"LC_ALL": "C.UTF-8", "PGPASSFILE": f"{os.devnull}/none", **found}
