"""A PostgreSQL server that a drill starts here as scratch."""

from __future__ import annotations

import re
import signal
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from pytest_drdrill.durations import format_duration
from pytest_drdrill.faults.injector import Fault
from pytest_drdrill.live.ports import free_port, start_on_free_port
from pytest_drdrill.live.postgres.binaries import PostgresBinaries, find_postgres
from pytest_drdrill.live.postgres.conninfo import alone, setting_lines
from pytest_drdrill.live.postgres.driver import rows_of
from pytest_drdrill.live.postgres.errors import PostgresError
from pytest_drdrill.live.postgres.process import PostgresProcess
from pytest_drdrill.live.postgres.template import SERVER, USER
from pytest_drdrill.live.postgres.tools import run_tool
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


_NAME = re.compile(r"[a-z][a-z0-9_]{0,29}")
_OURS = {
    "cluster_name": "it is the server's name",
    "data_directory": "each has its own",
    "listen_addresses": "it listens on the loopback alone",
    "port": "each has its own",
    "unix_socket_directories": "it has none",
}
_PORT_TAKEN = "could not bind"


class PostgresServer(PostgresProcess):
    """A PostgreSQL of the drill's own: real, empty, on the loopback; broken as the drill pleases.

    It runs as ``postgres`` or ``nobody`` where root runs the drill, asks for a password that no DSN
    holds (it is in a file that only that user and root can read), and is gone, with all its data,
    when it is closed or this process is killed. A cluster is made by copying a template, which
    ``initdb`` makes once for each version. What it calls blocks: in an async drill whose event loop
    must not stand still, as beside a canary, use ``await asyncio.to_thread(server.query, ...)``.

    Args:
        name: for messages, the timeline and its standbys: small letters, digits and underscores.
        binaries: of which PostgreSQL; default: see ``find_postgres``.
        settings: lines of its ``postgresql.conf``, such as ``{"work_mem": "64MB"}``.
        tell: told of what is done to it, e.g. for the drill's timeline: what, and the detail.

    Attributes:
        name: as given.
        binaries: of which PostgreSQL.
        port: that it listens on.
        folder: its own, removed by ``close``.
        data: its data folder, in that.

    Raises:
        ComponentMissing: there is no PostgreSQL on this machine.
        PostgresError: initdb failed, there is no room, or a setting is not for a drill to choose.
    """

    _template = SERVER

    def __init__(
        self,
        name: str = "postgres",
        *,
        binaries: PostgresBinaries | None = None,
        settings: Mapping[str, object] | None = None,
        tell: Callable[[str, str], object] | None = None,
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise PostgresError(
                f"{shown(name)} is no name of a server; write small letters, digits and "
                "underscores, at most 30, a letter first"
            )
        lines = setting_lines(settings or {}, _OURS)
        self._told = tell
        self.port = free_port()
        super().__init__(name, binaries or find_postgres(), lines)

    @property
    def dsn(self) -> str:
        """Where it is, for every client that is built on libpq; it holds no secret."""
        return self.dsn_of()

    def dsn_of(self, database: str = USER) -> str:
        """The same for another database."""
        return alone(
            host="127.0.0.1",
            port=str(self.port),
            user=USER,
            dbname=database,
            passfile=str(self.passfile),
        )

    @property
    def passfile(self) -> Path:
        """Where its password is, in libpq's own format."""
        return self.folder / "passfile"

    @property
    def is_paused(self) -> bool:
        """Whether it was paused, and not resumed since."""
        return self._server.is_paused

    def start(self, *, timeout: float = 60.0) -> Self:
        """Start it, and wait until it accepts connections; recovery after a kill is included.

        Args:
            timeout: seconds to wait at most.

        Raises:
            ServerFailed: it runs already, ended, or was not ready in time; the message has the end
                of its log.
        """

        def start_on(port: int) -> None:
            self.port = port
            self._start(timeout)

        if self._server.process is None:
            start_on_free_port(start_on, taken=_PORT_TAKEN, first=self.port)
        else:  # whoever knows its DSN would not find it again on another port
            start_on(self.port)
        return self

    def _place(self) -> Mapping[str, object]:
        return {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "cluster_name": self.name,
        }

    def query(self, sql: str, *values: Any, database: str = USER) -> list[tuple[Any, ...]]:
        """Run one statement on a connection of its own, committed at once; the rows it gave.

        Args:
            sql: the statement; ``%s`` stands for each value, and ``%%`` then for a percent sign.
            values: to be put into it.
            database: where.

        Raises:
            ComponentMissing: psycopg is not installed.
            psycopg.Error: the server refused it, or can't be reached.
        """
        __tracebackhide__ = True
        return rows_of(self.dsn_of(database), sql, values)

    def stop(self, *, timeout: float = 30.0) -> None:
        """Shut it down in order, clients and all; one that does not end in time is killed."""
        self._server.stop(signal.SIGINT, timeout)
        self.free_data()

    def restart(self, *, timeout: float = 60.0) -> timedelta:
        """Shut it down in order and start it again, as for a setting that takes that.

        One that is paused, or does not end within 30 s, is killed; one that does not run is
        started.

        Args:
            timeout: seconds to wait at most until it accepts connections again.

        Returns:
            How long it was away: from the signal until it accepted connections again.

        Raises:
            ServerFailed: it did not start; see ``start``.
        """
        began = time.monotonic()
        if self.is_running:
            self.tell("fault", f"restarting {self.name}, PostgreSQL {self.binaries.version}")
        self.stop()
        self.start(timeout=timeout)
        away = timedelta(seconds=time.monotonic() - began)
        self.tell("restarted", f"{self.name}, after {format_duration(away)}")
        return away

    def kill(self) -> None:
        """SIGKILL to all its processes at one moment, as when a machine dies; its disk stays."""
        was_running = self.is_running
        self._server.kill()
        self.free_data()
        if was_running:
            self.tell("fault", f"killed {self.name}, PostgreSQL {self.binaries.version}")

    def pause(self) -> Fault:
        """SIGSTOP to all of them: connections stay open, the kernel accepts new ones, none answers.

        Returns:
            The fault, for ``with``: its end resumes the server.

        Raises:
            ServerFailed: it does not run.
        """
        self._server.pause()
        self.tell("fault", f"paused {self.name}, PostgreSQL {self.binaries.version}")
        return Fault(f"paused {self.name}", self.resume)

    def resume(self) -> None:
        """SIGCONT to all of them; nothing happens where it does not run, or is not paused."""
        if self.is_paused:
            self._server.resume()
            self.tell("resumed", self.name)

    def __repr__(self) -> str:
        state = "paused" if self.is_paused else "running" if self.is_running else "down"
        return f"<PostgreSQL {self.binaries.version} {self.name!r}, port {self.port}, {state}>"

    def run_tool(
        self, name: str, arguments: Sequence[str], *, accept: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's own tools as its user, in its folder, with its password.

        Args:
            name: of the tool, such as ``"pg_dump"``.
            arguments: which any user of the machine can read: no secrets.
            accept: whether any status will do: the caller reads what it said.

        Raises:
            ComponentMissing: there is no such tool.
            PostgresError: it failed; the message has the end of what it said.
        """
        return run_tool(
            self.binaries,
            name,
            arguments,
            account=self.account,
            folder=self.folder,
            passfile=self.passfile,
            accept=accept,
        )

    def tell(self, what: str, detail: str) -> None:
        """Put something that was done to it on the timeline."""
        if self._told is not None:
            self._told(what, detail)
