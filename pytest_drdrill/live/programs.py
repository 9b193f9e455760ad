"""Finding the programs that a machine has."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from pytest_drdrill.live.errors import ComponentMissing

if TYPE_CHECKING:
    from collections.abc import Iterable

_SYSTEM = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where Debian puts servers, which the PATH of an ordinary user may lack."""


def program(name: str, install: str, folders: Iterable[str | os.PathLike[str]] = ()) -> str:
    """The path of a program.

    Args:
        name: of the program.
        install: how to install it, as one would type it.
        folders: where it may be beside the PATH; they come first.

    Raises:
        ComponentMissing: it is nowhere.
    """
    named = [os.fspath(each) for each in folders]
    path = os.pathsep.join([*named, os.environ.get("PATH", os.defpath), *_SYSTEM])
    found = shutil.which(name, path=path)
    if found is None:
        raise ComponentMissing(name, install)
    return found
