"""The installation of PostgreSQL on this machine that can take a dump."""

from __future__ import annotations

import os
import re

from pytest_drdrill.live.dumps.errors import DumpRefused
from pytest_drdrill.live.errors import ComponentMissing
from pytest_drdrill.live.postgres.binaries import (
    INSTALL,
    VARIABLE,
    PostgresBinaries,
    find_postgres,
    installed_postgres,
)

_VERSION = re.compile(r"(\d+)(?:\.(\d+))?")


def major_of(version: str) -> int:
    """The major of a version in words; 0 where it has none, and 9 of all that end in 9.6."""
    found = _VERSION.match(version)
    return int(found[1]) if found else 0


def binaries_for(*versions: str, folder: str | os.PathLike[str] | None = None) -> PostgresBinaries:
    """The installation to restore with: the same major as was dumped, or the nearest newer one.

    Extensions are installed for one major, so the same one shows best whether the dump can be used.

    Args:
        versions: of the server that was dumped, and of the pg_dump that did it; empty if unknown,
            and then it is the newest installation.
        folder: use the programs in this folder, and no other; likewise those in ``$PG_BIN``.

    Raises:
        ComponentMissing: there is no PostgreSQL here, or not where it was said to be.
        PostgresError: the one that was named is older than 13, or does not say its version.
        DumpRefused: all that are here are older than the dump.
    """
    __tracebackhide__ = True
    is_named = folder is not None or os.environ.get(VARIABLE)
    found = [find_postgres(folder)] if is_named else installed()
    if not found:
        raise ComponentMissing("a PostgreSQL server", INSTALL)
    needed = max((major_of(version) for version in versions), default=0)
    able = [each for each in found if each.major >= needed]
    if not able:
        newest = max(found, key=lambda each: each.major)
        raise DumpRefused(
            f"the dump is of PostgreSQL {needed}, and the newest one on this machine is "
            f"{newest.version}: it takes a server of major {needed} or newer to restore it"
        )
    chosen = min if needed else max
    return chosen(able, key=lambda each: each.major)


def installed() -> list[PostgresBinaries]:
    """Every installation that has all that a restore takes."""
    return [each for each in installed_postgres() if os.access(each.folder / "pg_restore", os.X_OK)]
