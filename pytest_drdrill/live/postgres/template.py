"""Fresh data folders: initdb runs once for each kind of server, and its result is copied since."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_drdrill.faults.journal import Journal, Owed
from pytest_drdrill.live.postgres.errors import PostgresError
from pytest_drdrill.live.postgres.tools import run_tool
from pytest_drdrill.state import state_folder

if TYPE_CHECKING:
    from pytest_drdrill.live.account import Account
    from pytest_drdrill.live.postgres.binaries import PostgresBinaries

USER = "postgres"


class Template(NamedTuple):
    """What the data of a kind of servers begin as.

    Attributes:
        options: of initdb.
        settings: the end of its ``postgresql.conf``.
        has_password: whether its superuser has one; else the options say who may come in.
    """

    options: tuple[str, ...]
    settings: str
    has_password: bool


SERVER = Template(
    ("-k", "-A", "scram-sha-256"),
    f"""
# A scratch server of a drill. Where it listens is on its command line.
shared_buffers = 32MB
wal_log_hints = on
wal_keep_size = 256MB
archive_mode = on
archive_command = 'true'
dynamic_shared_memory_type = mmap
timezone = UTC
log_timezone = UTC
cluster_name = '{USER}'
""",
    has_password=True,
)
"""Dynamic shared memory lies in the data folder, so that a kill leaves none of it in /dev/shm; an
archive can begin at any time, which takes a restart where ``archive_mode`` is off; and WAL is kept,
back to where a rewind begins, which is a checkpoint before the two parted."""
_LOCALES = ("C.UTF-8", "C")
_ZONE = Path("/etc/localtime")


def fresh_data(
    folder: Path, binaries: PostgresBinaries, account: Account, template: Template
) -> None:
    """Put ``data``, a new cluster, and ``passfile``, its password if it has one, into a folder.

    Raises:
        PostgresError: initdb failed, or there is no room.
        OSError: there is no state folder.
    """
    kept = _home() / _name(binaries, template)
    if not kept.is_dir():
        _initialize(folder, binaries, account, template)
        _keep(folder, kept)
        return
    try:
        _copy(kept, folder)
    except OSError as error:
        raise PostgresError(f"{folder} can't take a new server's data: {_why(error)}") from None
    for path in (folder / "data", folder / "passfile"):
        if path.exists():
            give(path, account)


def give(path: Path, account: Account) -> None:
    """Make a file, or a folder with all that is in it, the account's own."""
    if account.is_us:
        return
    os.chown(path, account.uid, account.gid, follow_symlinks=False)
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            os.chown(os.path.join(folder, name), account.uid, account.gid, follow_symlinks=False)  # noqa: PTH118 - quick


def _home() -> Path:
    home = state_folder() / "postgres"
    home.mkdir(mode=0o700, exist_ok=True)
    return home


def _name(binaries: PostgresBinaries, template: Template) -> str:
    """Of a template: it differs wherever what initdb makes might."""
    build = os.stat(binaries.tool("postgres")).st_size  # noqa: PTH116 - a text already
    zone = _ZONE.read_bytes() if _ZONE.is_file() else b""  # which initdb writes down
    mark = hashlib.sha256(f"{binaries.version} {build} {template}".encode() + zone)
    return f"{binaries.major}-{mark.hexdigest()[:16]}"


def _keep(folder: Path, kept: Path) -> None:
    """Copy a cluster that was just made to where the next server finds it.

    Nothing is kept where there is no room, or another process was faster: it spares time, no more.
    """
    unpublished = kept.with_name(f".{kept.name}-{os.getpid()}-{secrets.token_hex(4)}")
    owed = Owed("remove", f"an unfinished template, {unpublished}", path=str(unpublished))
    settled = Journal.own().owe(owed)
    try:
        with suppress(OSError):
            unpublished.mkdir(mode=0o700)
            _copy(folder, unpublished)
            unpublished.rename(kept)
    finally:
        shutil.rmtree(unpublished, ignore_errors=True)
        settled()


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source / "data", target / "data")
    (target / "data").chmod(0o700)
    with suppress(FileNotFoundError):
        shutil.copyfile(source / "passfile", target / "passfile")
        (target / "passfile").chmod(0o600)


def _why(error: OSError) -> str:
    """Of a copy, which has a reason for each file: the first one."""
    return str(error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror)


def _initialize(
    folder: Path, binaries: PostgresBinaries, account: Account, template: Template
) -> None:
    options = ["-N", "-E", "UTF8", *template.options]  # not synced: a copy would not be, either
    given = folder / "given"
    if template.has_password:
        password = secrets.token_hex(24)
        for path, text in ((given, password), (folder / "passfile", f"*:*:*:{USER}:{password}")):
            path.touch(mode=0o600)
            path.write_text(f"{text}\n", "ascii")
            give(path, account)
        options.append(f"--pwfile={given}")
    try:
        for locale in _LOCALES:
            arguments = ["-D", str(folder / "data"), "-U", USER, f"--locale={locale}", *options]
            try:
                run_tool(binaries, "initdb", arguments, account=account, folder=folder)
                break
            except PostgresError:
                if locale == _LOCALES[-1]:
                    raise
                shutil.rmtree(folder / "data", ignore_errors=True)
    finally:
        given.unlink(missing_ok=True)
    if not (folder / "data" / "PG_VERSION").is_file():
        raise PostgresError(f"{binaries.tool('initdb')} made no cluster, and said that all is well")
    with (folder / "data" / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write(template.settings)
