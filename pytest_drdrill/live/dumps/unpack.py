"""An archive, restored by the installation's own pg_restore; what it complains of is noted."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from typing import TYPE_CHECKING

from pytest_drdrill.live.dumps.classify import is_full_disk, kind_of
from pytest_drdrill.live.dumps.scratch import clean_environment
from pytest_drdrill.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pytest_drdrill.live.dumps.findings import Findings
    from pytest_drdrill.live.dumps.scratch import ScratchPostgres

# Of a statement, its first words alone: what follows may be data.
_WORDS = re.compile(r"(?:(?:ALTER|CREATE|DROP|COMMENT|GRANT|REVOKE)\s+\S+\s+\S+|\S+)")
_FAILED = re.compile(
    r"^pg_restore: error: (?:could not execute query: ERROR: +(?P<message>.*)"
    r'|COPY failed for table "(?P<table>.*)": ERROR: +(?P<copied>.*)|(?P<other>.*))$'
)
_COMMAND = re.compile(r"^Command was: (.*)$")
_CUT = re.compile(
    r"end of file|could not find block|unexpected end|could not uncompress|short read|corrupt"
    r"|magic string|too short|out of memory|sanity check|could not read|invalid compression"
    r"|unrecognized data block|bad dumpId|implausible",
    re.IGNORECASE,
)
_LOST = re.compile(
    r"server closed the connection|connection to server .* failed|terminating connection"
    r"|no connection to the server|could not connect|SSL SYSCALL",
    re.IGNORECASE,
)


def restore_archive(
    server: ScratchPostgres, dump: Path, database: str, jobs: int, findings: Findings
) -> None:
    """Run pg_restore.

    Args:
        server: where.
        dump: the archive.
        database: an empty one.
        jobs: how many connections it restores through; a tar file takes one.
        findings: told what fails.

    Raises:
        RestoreFailed: it did not come to its end, for another reason than the dump itself.
    """
    command = [
        *(str(server.binaries.folder / "pg_restore"), "--no-password"),
        *("--dbname", server.dsn(database)),
        *(("--jobs", str(jobs)) if jobs > 1 else ()),
        *("--", os.fspath(dump)),
    ]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603 - the installation's own program
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=clean_environment(),
        )
        try:
            status = process.wait()
        finally:
            process.kill()
            process.wait()
        said.seek(0)
        complaints = _note_all(
            (line.decode("utf-8", "replace").rstrip("\n") for line in said), findings, server
        )
    if status < 0:
        raise server.lost(f"pg_restore was ended by signal {-status}")
    if status and not complaints:
        findings.add("failed_statement", f"pg_restore ended with status {status}, without a word")
    if not server.is_running:
        raise server.lost("the scratch server ended during the restore")


def _note_all(lines: Iterable[str], findings: Findings, server: ScratchPostgres) -> int:
    """Note each complaint, which its statement follows; gives how many there were."""
    count = 0
    pending: str | None = None
    for line in lines:
        command = _COMMAND.match(line)
        complaint = None if command else _FAILED.match(line)
        if pending is not None and (command or complaint):
            statement = command[1] if command else ""
            words = _WORDS.match(statement)
            where = words[0].rstrip(";") if words else "a statement"
            findings.add_statement(kind_of(pending, statement), pending, where)
            pending = None
        if complaint:
            count += 1
            pending = _note(complaint, findings, server)
    if pending is not None:
        findings.add_statement(kind_of(pending), pending, "a statement")
    return count


def _note(found: re.Match[str], findings: Findings, server: ScratchPostgres) -> str | None:
    """Note one complaint; gives the message of one whose statement is yet to be read."""
    message: str = found["message"] or found["copied"] or found["other"] or ""
    if is_full_disk(message):
        raise server.full_disk()
    if found["message"] is not None:
        return message
    if found["table"] is not None:
        findings.add_statement(kind_of(message), message, f"rows of {found['table']}")
    elif _LOST.search(message) or not server.is_running:
        raise server.lost(f"pg_restore lost the scratch server: {one_line(message, 300)}")
    elif _CUT.search(message):
        findings.add("truncated", f"pg_restore: {one_line(message, 300)}")
    else:
        findings.add_statement("failed_statement", message, "pg_restore itself")
    return None
