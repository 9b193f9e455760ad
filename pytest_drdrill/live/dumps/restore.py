"""The restore of a dump: looked at, restored into a scratch server, and looked at again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_drdrill.live.dumps import moment, sums
from pytest_drdrill.live.dumps.archive import CutError
from pytest_drdrill.live.dumps.binaries import binaries_for
from pytest_drdrill.live.dumps.catalog import Catalog
from pytest_drdrill.live.dumps.errors import DumpError, DumpRefused, RestoreUnsound
from pytest_drdrill.live.dumps.feed import Feed, create_database
from pytest_drdrill.live.dumps.findings import Findings
from pytest_drdrill.live.dumps.formats import (
    ALL_DATABASES,
    BROKEN_STREAM,
    CutStreamError,
    format_of,
    opened_plain,
    packing,
    path_text,
    plain_head,
)
from pytest_drdrill.live.dumps.heading import TAIL, Heading, is_end, read_heading
from pytest_drdrill.live.dumps.moment import RecoveryPoint
from pytest_drdrill.live.dumps.restored import RestoredDump
from pytest_drdrill.live.dumps.scratch import ScratchPostgres
from pytest_drdrill.live.dumps.unpack import restore_archive
from pytest_drdrill.live.dumps.whole import archive_of, check_whole
from pytest_drdrill.live.postgres.driver import psycopg as psycopg_module
from pytest_drdrill.text import named, shown

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from datetime import tzinfo
    from typing import BinaryIO

    from pytest_drdrill.live.dumps.findings import RestoreFinding
    from pytest_drdrill.live.dumps.formats import Format

_DATABASE = "restored"
_END = "-- PostgreSQL database dump complete"
_SYSTEM = {"postgres", "template0", "template1"}
_SLACK = timedelta(minutes=1)
"""Between the clock of a database and that of the machine that dumped it."""


def restore_dump(  # noqa: PLR0913 - what a user may say of a dump, by keyword
    dump: str | os.PathLike[str],
    *,
    ignore: Mapping[str, str] | None = None,
    minimum_rows: Mapping[str, int] | None = None,
    roles: Iterable[str] = (),
    database: str | None = None,
    freshness: str | None = None,
    dumped_in: str | None = None,
    jobs: int = 1,
    binaries: str | os.PathLike[str] | None = None,
    settings: Mapping[str, str] | None = None,
    tell: Callable[[RestoreFinding], None] | None = None,
) -> RestoredDump:
    """Restore a dump into a scratch server, and find out whether it is good.

    The dump is opened, never changed; no server but the new one is met. SQL in it runs with all
    rights in that server, whose account is yours, or where that is root ``postgres`` or ``nobody``:
    so restore dumps of databases that you trust. Commands for psql in a plain dump are never run.

    Args:
        dump: a file or folder that pg_dump or pg_dumpall made; a plain one may be compressed.
        ignore: names of findings that shall not fail the restore, each with a reason.
        minimum_rows: the least that tables must hold, by name.
        roles: made before, without any rights, since a dump of one database has none.
        database: the one to look at, where the dump holds several.
        freshness: a query for the moment of the newest row, for a dump that does not say when it
            was begun; of one that does, it is a check.
        dumped_in: the time zone of the machine that dumped, as ``"Europe/Berlin"``, which an
            archive does not tell; this machine's by default.
        jobs: connections for pg_restore, where the format allows more than one.
        binaries: the folder of the PostgreSQL programs to use.
        settings: of the scratch server, as ``{"maintenance_work_mem": "1GB"}``.
        tell: called with each finding.

    Returns:
        The restored database; close it, or use it as a context manager.

    Raises:
        RestoreUnsound: there are serious findings that are not ignored; no server is left then.
        DumpRefused: this can't be restored here: empty, encrypted, of a newer major ...
        RestoreFailed: the restore did not come to its end, as where the disk was full.
        ComponentMissing: PostgreSQL or psycopg is not on this machine.
        PostgresError: a setting is none, or not to be chosen, as where the server listens.
        TypeError: an argument is of another kind.
        ValueError: an argument means nothing.
    """
    __tracebackhide__ = True
    findings = Findings(ignore, tell)
    minimums = _checked_minimums(minimum_rows)
    zone = moment.zone_of(dumped_in)
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ValueError(f"jobs={shown(jobs)}: write how many connections to restore through, 1 up")
    made = _checked_roles(roles)
    path = Path(path_text(dump, "a dump is named by its path")).absolute()
    kind = format_of(path)
    if wrong := sums.mismatch(path):
        findings.add("checksum_mismatch", wrong)
    source = _Archive(path, kind, findings) if kind != "plain" else _Plain(path, findings)
    chosen = binaries_for(*source.versions, folder=binaries)
    psycopg_module()
    sidecar = moment.of_sidecar(path)
    _judge(path, findings)  # before it costs anything

    server = ScratchPostgres(chosen, settings)
    try:
        _prepare(server, source.encoding, () if source.makes_roles else made)
        began = time.monotonic()
        source.restore(server, jobs)
        duration = timedelta(seconds=time.monotonic() - began)
        findings.settle()
        _judge(path, findings)
        databases = _databases(server)
        of_them = _chosen(databases, database, path)
        with server.connect(of_them) as connection:
            Catalog(connection).check(minimums, findings)
            point = _recovery_point(source.began(zone), sidecar, freshness, connection, findings)
        _judge(path, findings)
    except BaseException:
        server.close()
        raise
    return RestoredDump(
        server,
        dump=path,
        format=kind,
        database=of_them,
        databases=databases,
        duration=duration,
        findings=findings.all,
        recovered_to=point,
    )


class _Archive:
    """A custom, directory or tar dump."""

    makes_roles = False

    def __init__(self, path: Path, kind: Format, findings: Findings) -> None:
        self._path, self._kind, self._findings = path, kind, findings
        self.encoding = "UTF8"
        why = None
        try:
            self._archive = archive_of(path, kind)
        except CutError as error:
            why = error
        if why is not None:  # raised here, so that it has no cause of ours
            findings.add("truncated", f"the dump is cut or damaged: {why}")
            _judge(path, findings)
            raise DumpRefused(f"{path} can't be restored at all: {why}")
        header = self._archive.header
        self.versions = (header.server, header.pg_dump)
        self._header = header
        try:
            check_whole(path, kind, self._archive, lambda what: findings.add("not_checked", what))
        except CutError as error:
            findings.add("truncated", f"the dump is cut or damaged: {error}")

    def began(self, zone: tzinfo | None) -> datetime | None:
        return moment.of_archive(self._header.began, summer=self._header.summer, zone=zone)

    def restore(self, server: ScratchPostgres, jobs: int) -> None:
        jobs = 1 if self._kind == "tar" else jobs
        restore_archive(server, self._path, _DATABASE, jobs, self._findings)


class _Plain:
    """A plain dump, of one database or of all of them."""

    def __init__(self, path: Path, findings: Findings) -> None:
        self._path, self._findings = path, findings
        with path.open("rb") as file:
            head = file.read(8)
            file.seek(max(0, path.stat().st_size - TAIL))
            tail = file.read()
        text, _ = plain_head(path)
        self._heading: Heading = read_heading(text)
        self.makes_roles = ALL_DATABASES in text
        self.versions = (self._heading.server, self._heading.pg_dump)
        self.encoding = self._heading.encoding or "UTF8"
        self._is_cut = False
        if packing(head) is None and not is_end(tail, self._heading):
            self._cut(f"it lacks the line {_END!r} that pg_dump ends with")

    def began(self, zone: tzinfo | None) -> datetime | None:
        return moment.of_started(self._heading.began, zone)

    def restore(self, server: ScratchPostgres, jobs: int) -> None:  # noqa: ARG002 - one script, one connection
        tail = bytearray()
        try:
            with opened_plain(self._path) as file:
                script = Feed(server, _DATABASE, self._findings).run(_remembering(file, tail))
        except (*BROKEN_STREAM, CutStreamError):
            self._cut("its compression breaks off")
            return
        except OSError as error:
            if isinstance(error, ConnectionError):
                raise
            self._cut(f"it can't be read to its end: {error.strerror or error}")
            return
        if script.in_data:
            self._cut(f"it ends at line {script.line:,}, in the middle of the rows of a table")
        elif script.unfinished:
            self._cut(f"it ends at line {script.line:,}, in the middle of a statement")
        elif not is_end(bytes(tail), self._heading):
            self._cut(f"it lacks the line {_END!r} that pg_dump ends with")

    def _cut(self, how: str) -> None:
        if not self._is_cut:
            self._findings.add("truncated", f"the dump is cut or damaged: {how}")
        self._is_cut = True


def _remembering(file: BinaryIO, tail: bytearray) -> Iterator[bytes]:
    """The lines of a file; what the last ones were is kept."""
    for line in file:
        tail += line[-TAIL:]
        if len(tail) > 4 * TAIL:
            del tail[:-TAIL]
        yield line


def _prepare(server: ScratchPostgres, encoding: str, roles: Iterable[str]) -> None:
    psycopg = psycopg_module()
    with server.connect("postgres") as connection:
        try:
            create_database(connection, _DATABASE, encoding)
        except psycopg.Error:  # an encoding of clients only: text is converted
            create_database(connection, _DATABASE, "UTF8")
        for role in roles:
            made = psycopg.sql.SQL("CREATE ROLE {}").format(psycopg.sql.Identifier(role))
            try:
                connection.execute(made)
            except psycopg.Error as error:
                why = error.diag.message_primary or error
                raise DumpError(f"roles: {shown(role)} can't be made: {why}") from None


def _databases(server: ScratchPostgres) -> tuple[str, ...]:
    """Those that were restored: the ones of the dump, or the one that was made for it."""
    with server.connect("postgres") as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn ORDER BY 1"
        ).fetchall()
    names = [name for (name,) in rows if name not in _SYSTEM]
    made = [name for name in names if name != _DATABASE]
    if not made:
        return (_DATABASE,)
    with server.connect(_DATABASE) as connection:
        return tuple(names if Catalog(connection).tables() else made)


def _chosen(databases: tuple[str, ...], database: str | None, path: Path) -> str:
    if database is None:
        if len(databases) == 1:
            return databases[0]
        raise DumpError(
            f"{path} holds several databases: {named(databases)}; choose with database="
        )
    if database in databases:
        return database
    if databases == (_DATABASE,):
        return _DATABASE  # a dump of one database does not make it, whatever its name was
    raise DumpError(f"{path} holds no database {shown(database)}, but {named(databases)}")


def _recovery_point(
    began: datetime | None,
    sidecar: datetime | None,
    freshness: str | None,
    connection: Any,
    findings: Findings,
) -> RecoveryPoint | None:
    point = None
    if began is not None:
        point = RecoveryPoint(began, "header")
    elif sidecar is not None:
        point = RecoveryPoint(sidecar, "sidecar")
    newest = None if freshness is None else _newest(freshness, connection)
    if newest is not None:
        if point is None:
            point = RecoveryPoint(newest, "freshness")
        elif newest > point.moment + _SLACK:
            findings.add(
                "clock_mismatch",
                f"its newest row is of {newest.isoformat()}, and the dump says that it was begun "
                f"before, at {point.moment.isoformat()}: give dumped_in= the time zone of the "
                "machine that dumped",
            )
    if point is not None and point.moment > datetime.now(UTC) + _SLACK:
        findings.add(
            "clock_mismatch",
            f"its recovery point, {point.moment.isoformat()}, lies in the future: give dumped_in= "
            "the time zone of the machine that dumped",
        )
    return point


def _newest(freshness: str, connection: Any) -> datetime | None:
    psycopg = psycopg_module()
    try:
        rows = connection.execute(freshness).fetchall()
    except psycopg.Error as error:
        message = error.diag.message_primary or error
        raise DumpError(f"the freshness query {shown(freshness)} failed: {message}") from None
    value = rows[0][0] if rows and rows[0] else None
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise DumpError(
            f"the freshness query {shown(freshness)} gave {type(value).__name__}, not a timestamp "
            "with time zone"
        )
    if value.utcoffset() is None:
        raise DumpError(
            f"the freshness query {shown(freshness)} gave a timestamp without time zone; say which "
            "one it is in, as by max(created_at) AT TIME ZONE 'UTC'"
        )
    return value


def _checked_roles(roles: Iterable[str]) -> tuple[str, ...]:
    __tracebackhide__ = True
    if isinstance(roles, str) or not isinstance(roles, Iterable):
        roles = [roles]
    names = tuple(dict.fromkeys(roles))
    for name in names:
        if not isinstance(name, str) or not name or "\0" in name:
            raise TypeError(f"roles takes names of roles, as in ['app'], not {shown(name)}")
    return names


def _judge(path: Path, findings: Findings) -> None:
    """Stop where something serious was found.

    Raises:
        RestoreUnsound: it was.
    """
    __tracebackhide__ = True
    if failing := findings.failing:
        told = "\n".join(f"  {finding}" for finding in failing)
        count = len(failing)
        many = "a serious finding" if count == 1 else f"{count} serious findings"
        raise RestoreUnsound(
            f"the restore of {path} has {many}; one may be ignored by its name, with a reason: "
            f"ignore={{{failing[0].name!r}: '...'}}\n{told}",
            findings.all,
        )


def _checked_minimums(minimum_rows: Mapping[str, int] | None) -> Mapping[str, int]:
    __tracebackhide__ = True
    if minimum_rows is None:
        return {}
    if not isinstance(minimum_rows, Mapping):
        raise TypeError(
            "minimum_rows takes tables with the least number of their rows, as in {'orders': 1}, "
            f"not {shown(minimum_rows)}"
        )
    for table, rows in minimum_rows.items():
        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
            raise ValueError(f"minimum_rows: {table} needs a number from 1 up, not {shown(rows)}")
    return minimum_rows
