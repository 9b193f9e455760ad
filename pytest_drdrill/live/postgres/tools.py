"""Running PostgreSQL's own tools, as the user of the server."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.live.postgres.errors import PostgresError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_drdrill.live.account import Account
    from pytest_drdrill.live.postgres.binaries import PostgresBinaries

_TAIL = 1500


def run_tool(  # noqa: PLR0913 - each has a meaning of its own
    binaries: PostgresBinaries,
    name: str,
    arguments: Sequence[str],
    *,
    account: Account,
    folder: Path,
    passfile: Path | None = None,
    timeout: float = 600.0,
    accept: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run one, and return what it said.

    Args:
        binaries: whose.
        name: of the tool.
        arguments: which any user of the machine can read: no secrets.
        account: who it runs as.
        folder: its working folder and home.
        passfile: where it finds the password.
        timeout: seconds that it may take.
        accept: whether any status will do: the caller reads what it said.

    Raises:
        ComponentMissing: there is no such tool.
        PostgresError: it failed, or took too long; the message has the end of what it said.
    """
    environment = {
        "LC_ALL": "C.UTF-8",
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "PGCONNECT_TIMEOUT": "10",
    }
    if passfile is not None:
        environment["PGPASSFILE"] = str(passfile)
    other = None if account.is_us else account
    try:
        done = subprocess.run(  # noqa: S603 - a PostgreSQL of this machine
            [binaries.tool(name), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            cwd=folder,
            env=environment,
            timeout=timeout,
            check=False,
            user=None if other is None else other.uid,
            group=None if other is None else other.gid,
            extra_groups=None if other is None else [],
        )
    except subprocess.TimeoutExpired:
        raise PostgresError(
            f"{name} did not end within {format_seconds(timeout)}, and was killed"
        ) from None
    except OSError as error:
        raise PostgresError(f"{name} can't be run: {error.strerror}") from None
    if done.returncode and not accept:
        said = (done.stderr.strip() or done.stdout.strip())[-_TAIL:]
        raise PostgresError(f"{name} failed with status {done.returncode}; it said:\n{said}")
    return done
