"""A plain dump, run statement by statement; what fails is noted, the rest goes on, as in psql."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_drdrill.live.dumps.classify import is_full_disk, kind_of
from pytest_drdrill.live.dumps.script import Command, Script, Statement
from pytest_drdrill.live.postgres.driver import psycopg as psycopg_module

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_drdrill.live.dumps.findings import Findings
    from pytest_drdrill.live.dumps.scratch import ScratchPostgres

_ABORTED = "25P02"
_SHOWN = 40
_SILENT = {b"restrict", b"unrestrict", b"encoding", b".", b"echo", b"set"}
"""Commands that change nothing about what is restored."""
_REUSE = "-reuse-previous="


class Feed:
    """Runs the statements of a plain dump, in the databases that it names.

    Args:
        server: where.
        database: where it begins.
        findings: told what fails.
    """

    def __init__(self, server: ScratchPostgres, database: str, findings: Findings) -> None:
        self._server = server
        self._findings = findings
        self._psycopg = psycopg_module()
        self._database = database
        self._connection = server.connect(database, prepare_threshold=None)

    def run(self, lines: Iterable[bytes]) -> Script:
        """Run all of it.

        Returns:
            The script, read to its end.

        Raises:
            RestoreFailed: the server ended, or its disk is full.
        """
        script = Script(lines)
        try:
            for each in script:
                if isinstance(each, Command):
                    self._obey(each)
                elif each.takes_data:
                    self._copy(each, script)
                else:
                    self._execute(each)
        finally:
            self._connection.close()
        return script

    def _execute(self, statement: Statement) -> None:
        try:
            self._connection.execute(statement.text)
        except self._psycopg.Error as error:
            self._note(statement, error)

    def _copy(self, statement: Statement, script: Script) -> None:
        rows = script.data()
        try:
            with self._connection.cursor() as cursor, cursor.copy(statement.text) as copy:
                for block in rows:
                    copy.write(block)
        except self._psycopg.Error as error:
            self._note(statement, error)
        finally:
            for _ in rows:
                pass  # of a table that could not take them

    def _note(self, statement: Statement, error: Any) -> None:
        message = error.diag.message_primary or str(error).partition("\n")[0]
        if is_full_disk(message):
            raise self._server.full_disk() from None
        if self._connection.broken or self._connection.closed:
            raise self._server.lost(
                f"the scratch server gave up at line {statement.line:,} of the dump"
            ) from None
        if error.diag.sqlstate == _ABORTED:
            return  # the statement that aborted the transaction was noted
        text = statement.text.decode("utf-8", "replace")
        self._findings.add_statement(kind_of(message, text), message, f"line {statement.line:,}")

    def _obey(self, command: Command) -> None:
        if command.name in {b"connect", b"c"}:
            self._connect(command)
        elif command.name not in _SILENT:
            name = command.name[:_SHOWN].decode("ascii", "backslashreplace")
            self._findings.add(
                "psql_command",
                f"line {command.line:,} holds a command for psql, \\{name}, which pg_dump does not "
                "write; it was not run",
            )

    def _connect(self, command: Command) -> None:
        name = _database_of(command.argument.decode("utf-8", "replace"), self._psycopg)
        if not name or name == self._database:
            return
        self._connection.close()
        self._database = name
        try:
            self._connection = self._server.connect(name, prepare_threshold=None)
        except self._psycopg.Error:
            # Its CREATE DATABASE failed, which was noted; the rest shows what else would.
            with self._server.connect("postgres") as connection:
                create_database(connection, name, "UTF8")
            self._connection = self._server.connect(name, prepare_threshold=None)


def create_database(connection: Any, name: str, encoding: str) -> None:
    """Make an empty database whose locale fits every encoding.

    Raises:
        psycopg.Error: it can't be made; where the encoding is none of a server's, it is in UTF-8.
    """
    sql = psycopg_module().sql
    made = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}")
    locale = "C.UTF-8" if encoding.upper().replace("-", "") == "UTF8" else "C"
    connection.execute(
        made.format(sql.Identifier(name), sql.Literal(encoding), *[sql.Literal(locale)] * 2)
    )


def _database_of(argument: str, psycopg: Any) -> str:
    r"""The database that ``\connect`` names; empty where it keeps to the one that it is in."""
    if argument.startswith(_REUSE):
        argument = argument.partition(" ")[2].strip()
        conninfo = _unquoted(argument)
        try:
            return str(psycopg.conninfo.conninfo_to_dict(conninfo).get("dbname") or "")
        except psycopg.Error:
            return ""
    name = _unquoted(argument)
    return "" if name == "-" else name


def _unquoted(argument: str) -> str:
    """The first argument of a command, whose quotes, of either kind, are doubled within."""
    text, at, quote = "", 0, ""
    while at < len(argument):
        char = argument[at]
        if quote:
            if char == quote and argument[at + 1 : at + 2] == quote:
                text, at = text + char, at + 1
            elif char == quote:
                quote = ""
            else:
                text += char
        elif char in "'\"":
            quote = char
        elif char.isspace():
            break
        else:
            text += char
        at += 1
    return text
