"""Base backups and archived WAL of a server, and servers restored from them to a moment."""

from __future__ import annotations

import re
import shlex
import shutil
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from pytest_drdrill.durations import format_seconds, parse_duration
from pytest_drdrill.live.closing import Closing
from pytest_drdrill.live.errors import ServerFailed
from pytest_drdrill.live.postgres.conninfo import conninfo, setting_lines
from pytest_drdrill.live.postgres.driver import psycopg
from pytest_drdrill.live.postgres.errors import PostgresError
from pytest_drdrill.live.postgres.following import change_settings
from pytest_drdrill.live.postgres.node import PostgresNode
from pytest_drdrill.live.postgres.template import USER, give
from pytest_drdrill.live.server import ScratchFolder
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

    from pytest_drdrill.live.postgres.server import PostgresServer

_POLL = 0.01
_LAST = re.compile(r"last completed transaction was at log time ([\d-]+ [\d:.]+\+00)")
_TOO_EARLY = "recovery ended before configured recovery target was reached"


class BaseBackup(NamedTuple):
    """A copy of a whole server, from which recovery begins.

    Attributes:
        folder: where it is.
        began: the moment at which it began to read, by this machine's clock.
        ended: the moment from which on a recovery from it can end.
    """

    folder: Path
    began: datetime
    ended: datetime


class PostgresArchive(Closing):
    """The archive of a server: from now on each WAL segment that is full, and base backups.

    What is archived survives the server and its folder. What a recovery can bring back ends with
    the last segment that was archived; while the server runs, ``restore_to`` has it archive the
    one that it is writing, as an operator would after a mistake.

    Args:
        server: whose.

    Attributes:
        folder: where all of it is.
        base_backups: those that were taken, oldest first.

    Raises:
        psycopg.Error: the server can't be asked.
    """

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._scratch = ScratchFolder("archive", server.account)
        self.folder = self._scratch.path
        self.wal = self.folder / "wal"
        self.base_backups: list[BaseBackup] = []
        self._restored = ExitStack()
        try:
            self.wal.mkdir(mode=0o700)
            give(self.wal, server.account)
            target, partial = (shlex.quote(f"{self.wal}/{name}") for name in ("%f", ".%f.part"))
            # Whole or not at all, and never over one that is there.
            command = f"test ! -f {target} && cp %p {partial} && mv {partial} {target}"
            change_settings(server, archive_command=command)
        except BaseException:
            self._scratch.remove()
            raise

    def base_backup(self) -> BaseBackup:
        """Copy the whole server while it runs.

        Raises:
            PostgresError: it can't be copied.
        """
        server = self._server
        folder = self.folder / f"base{len(self.base_backups) + 1}"
        source = conninfo(host="127.0.0.1", port=str(server.port), user=USER)
        arguments = ["-d", source, "-D", str(folder), "-X", "stream", "-c", "fast", "--no-sync"]
        began = datetime.now(UTC)
        try:
            server.run_tool("pg_basebackup", arguments)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        made = BaseBackup(folder, began, datetime.now(UTC))
        self.base_backups.append(made)
        server.tell("base backup", f"{server.name}: {folder.name}")
        return made

    def flush(self, *, timeout: str | timedelta = "60s") -> None:
        """Have the server archive all that it has written, and wait until it is there.

        Raises:
            PostgresError: it was not in time; the message has what the server says of it.
        """
        # A record of its own, so that there is something to be switched away from.
        sql = "select pg_walfile_name(pg_create_restore_point('flush'))"
        segment = self._server.query(sql)[0][0]
        self._server.query("select pg_switch_wal()")
        deadline = time.monotonic() + parse_duration(timeout).total_seconds()
        while not (self.wal / segment).exists():
            if time.monotonic() > deadline:
                raise PostgresError(
                    f"{self._server.name} did not archive {segment} in time; the end of its "
                    f"log:\n{self._server.log_tail()}"
                )
            time.sleep(_POLL)

    def restore_to(
        self,
        target: datetime | int | str | None = None,
        *,
        inclusive: bool | None = None,
        name: str = "restored",
        timeout: str | timedelta = "10m",
    ) -> RestoredServer:
        """Restore into a new server, up to a target, and return it when it takes writes.

        The server that the archive is of goes on as it is. The new one ends with the archive, or
        when it is closed; it archives nothing.

        Args:
            target: a moment with its zone, the id of a transaction, the name of a restore point
                (``pg_create_restore_point``), or None for all that is archived.
            inclusive: whether what was committed exactly then is restored as well; by default of a
                moment it is, and of a transaction it is not: it ends just before a mistake.
            name: of the new server.
            timeout: how long it may take.

        Raises:
            PostgresError: there is no base backup from before the target, or the archive ends
                before it.
            TypeError: a target of another type, or a moment without a zone.
        """
        settings = _target_settings(target, inclusive)
        base = self._base_for(target)
        if self._server.is_running and not self._server.is_paused:
            self.flush()
        return self._restored.enter_context(
            RestoredServer(
                name,
                base,
                self,
                target_settings=settings,
                target=target,
                timeout=parse_duration(timeout).total_seconds(),
            )
        )

    def _base_for(self, target: object) -> BaseBackup:
        usable = [
            each
            for each in self.base_backups
            if not isinstance(target, datetime) or each.ended <= target
        ]
        if usable:
            return usable[-1] if isinstance(target, datetime) else usable[0]
        if not self.base_backups:
            raise PostgresError("the archive has no base backup to begin with: base_backup()")
        raise PostgresError(
            f"the archive's first base backup ended at {self.base_backups[0].ended.isoformat()}, "
            f"so nothing before that can be restored; {shown(target)} is"
        )

    @property
    def server(self) -> PostgresServer:
        """Whose archive it is."""
        return self._server

    def close(self) -> None:
        """End the servers that were restored from it, and remove it; again, nothing happens."""
        self._restored.close()
        self._scratch.remove()


class RestoredServer(PostgresNode):
    """A server that was restored from an archive; see ``PostgresArchive.restore_to``.

    Attributes:
        recovery_point: when the last transaction was committed that was brought back, for
            ``rpo_timer.recovered_to``; where there was none, when the base backup began.
    """

    def __init__(  # noqa: PLR0913 - made by the archive alone
        self,
        name: str,
        base: BaseBackup,
        archive: PostgresArchive,
        *,
        target_settings: dict[str, object],
        target: object,
        timeout: float,
    ) -> None:
        self._base = base
        self._source = archive.server
        self._recovery: dict[str, object] = {
            "archive_mode": "off",
            "restore_command": f"cp {shlex.quote(f'{archive.wal}/%f')} %p",
            "synchronous_standby_names": "",
            "recovery_target_action": "promote",
            **target_settings,
        }
        # Without a target PostgreSQL has nothing to act on when it is reached.
        if not target_settings:
            del self._recovery["recovery_target_action"]
        super().__init__(name, binaries=archive.server.binaries, tell=archive.server.tell)
        try:
            self._recover(target, timeout)
        except BaseException:
            self.close()
            raise

    def _make_data(self) -> None:
        shutil.copytree(self._base.folder, self.data)
        self.data.chmod(0o700)
        shutil.copyfile(self._source.passfile, self.passfile)
        self.passfile.chmod(0o600)
        with (self.data / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
            file.write(setting_lines(self._recovery, {}))
        for old in ("standby.signal", "postmaster.pid"):
            (self.data / old).unlink(missing_ok=True)
        (self.data / "recovery.signal").touch(mode=0o600)
        for path in (self.data, self.passfile):
            give(path, self.account)

    def _recover(self, target: object, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        try:
            self.start(timeout=timeout)
            in_time = self._replay(deadline)
        except ServerFailed:
            log = self.log_tail(20_000)
            # Its own status, 1, says nothing of that.
            if _TOO_EARLY in log:
                raise PostgresError(self._ends_early(target, log)) from None
            raise PostgresError(
                f"{self.name} ended in its recovery; the end of its log:\n{self.log_tail()}"
            ) from None
        if not in_time:
            raise PostgresError(
                f"{self.name} had not replayed the archive within {format_seconds(timeout)}; the "
                f"end of its log:\n{self.log_tail()}"
            )
        self.recovery_point = self._last_commit()
        self.tell("restored", f"{self.name}: up to {self.recovery_point.isoformat()}")

    def _replay(self, deadline: float) -> bool:
        """Wait until all is replayed; whether that was so in time."""
        while time.monotonic() < deadline:
            try:
                if self.is_primary():
                    return True
            except psycopg().OperationalError:  # it is about to end, which takes a moment
                if not self.is_running:
                    raise ServerFailed(f"{self.name} ended") from None
            time.sleep(_POLL)
        return False

    def _last_commit(self) -> datetime:
        """Known to the server until it is started again, so it is asked at once."""
        found: datetime | None = self.query("select pg_last_xact_replay_timestamp()")[0][0]
        return self._base.began if found is None else found.astimezone(UTC)

    def _ends_early(self, target: object, log: str) -> str:
        found = _LAST.search(log)
        last = f"; the last commit in it is of {found[1]}" if found else "; it holds no commit"
        return (
            f"the archive ends before {_words(target)}{last}. restore_to() without a target "
            "restores all of it"
        )


def _words(target: object) -> str:
    if isinstance(target, datetime):
        return target.isoformat()
    return f"transaction {target}" if isinstance(target, int) else f"restore point {shown(target)}"


def _target_settings(target: object, inclusive: bool | None) -> dict[str, object]:
    match target:
        case None:
            return {}
        case datetime() if target.tzinfo is None:
            raise TypeError(
                f"{shown(target)} has no time zone, so it is no moment; write "
                "datetime.now(timezone.utc), or what the server says by clock_timestamp()"
            )
        case datetime():
            exact = inclusive is not False
            kind, value = "time", target.astimezone(UTC).isoformat()
        case bool():
            raise TypeError(f"restore_to({target}) says nothing; write a moment, an id or a name")
        case int():
            exact = inclusive is True
            kind, value = "xid", str(target)
        case str() if target.strip():
            return {"recovery_target_name": target}
        case _:
            raise TypeError(
                f"restore_to() takes a moment, the id of a transaction, the name of a restore "
                f"point or None, not {shown(target)}"
            )
    return {f"recovery_target_{kind}": value, "recovery_target_inclusive": exact}
