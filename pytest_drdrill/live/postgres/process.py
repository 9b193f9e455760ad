"""One scratch server of PostgreSQL, with data of its own: made, started and ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.faults.journal import Journal, Owed
from pytest_drdrill.faults.memory import free_shared_memory
from pytest_drdrill.live.account import server_account
from pytest_drdrill.live.closing import Closing
from pytest_drdrill.live.postgres.reach import reachable
from pytest_drdrill.live.postgres.template import USER, fresh_data
from pytest_drdrill.live.server import ScratchServer

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping

    from pytest_drdrill.live.account import Account
    from pytest_drdrill.live.postgres.binaries import PostgresBinaries
    from pytest_drdrill.live.postgres.template import Template

_STATE_LINE = 7
"""Of ``postmaster.pid``, counted from 0: whether it accepts connections."""


class PostgresProcess(Closing):
    """What a server that a drill breaks and one that a dump is restored into have in common.

    They say what its data begin as, and where it listens.

    Args:
        name: for messages, and the names of its files.
        binaries: of which PostgreSQL.
        lines: for the end of its ``postgresql.conf``.

    Attributes:
        name: as given.
        binaries: of which PostgreSQL, where its user can run them.
        folder: its own, removed by ``close``.
        data: its data folder, in that.

    Raises:
        PostgresError: initdb failed, or there is no room.
    """

    _template: Template

    def __init__(self, name: str, binaries: PostgresBinaries, lines: str) -> None:
        account = server_account(USER)
        self.name = name
        self.binaries = reachable(binaries, account)
        self._server = ScratchServer(name, account)
        self.folder = self._server.folder
        self.data = self.folder / "data"
        memory = Owed("free memory", f"shared memory of {name}", path=str(self.data))
        self._settled = Journal.own().owe(memory)
        try:
            self._make_data()
            with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
                file.write(lines)
        except BaseException:
            self.close()
            raise

    def _make_data(self) -> None:
        fresh_data(self.folder, self.binaries, self.account, self._template)

    def _place(self) -> Mapping[str, object]:
        """Where it listens, by setting."""
        raise NotImplementedError

    @property
    def account(self) -> Account:
        """Who it runs as."""
        return self._server.account

    @property
    def is_running(self) -> bool:
        """Whether its process is there, paused or not."""
        return self._server.is_running

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """Its postmaster, of the last start, or None."""
        return self._server.process

    def log_tail(self, size: int = 1500) -> str:
        """The end of what it wrote to its log since its last start."""
        return self._server.tail(size)

    def _start(self, timeout: float = 60.0) -> None:
        # On the command line, which comes before all files: those of a clone are its primary's.
        place = [part for key, value in self._place().items() for part in ("-c", f"{key}={value}")]
        command = [self.binaries.tool("postgres"), "-D", str(self.data), *place]
        self._server.start(command, self._is_ready, timeout=timeout)

    def _is_ready(self) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return False
        process = self._server.process
        return (
            process is not None
            and len(lines) > _STATE_LINE
            and lines[0].strip() == str(process.pid)  # and not of a server that was killed
            and lines[_STATE_LINE].strip() == "ready"
        )

    def free_data(self) -> None:
        """Have its data folder stand for nothing in memory, as it must before it is removed."""
        if not self.is_running:
            free_shared_memory(self.data)

    def close(self) -> None:
        """End it and remove all its data; again, nothing happens."""
        self._server.kill()
        self.free_data()
        self._settled()
        self._server.close()
