"""Where what must outlive a run is kept: what dead runs left to be put right, above all."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

VARIABLE = "DRDRILL_STATE"
"""Names another folder, e.g. of a test that must not meet what others left."""


def state_folder() -> Path:
    """This user's own folder for what must outlive a run; made where it is not there.

    ``$DRDRILL_STATE``, else ``pytest-drdrill`` in ``$XDG_STATE_HOME`` or ``~/.local/state``; for a
    user without a home, a folder of the user in that of temporary files.

    Raises:
        OSError: it can't be made, or belongs to somebody else, who could plant things to be undone.
    """
    *better, last = _candidates()
    for folder in better:
        with contextlib.suppress(OSError):  # a home that can't be written to
            return _made(folder)
    return _made(last)


def state_folders() -> list[Path]:
    """Those of them that are there, whichever a run has used; nothing is made.

    Raises:
        OSError: one belongs to somebody else, who could plant things to be undone.
    """
    found = [folder for folder in _candidates() if folder.is_dir()]
    for folder in found:
        _check(folder)
    return found


def may_owe() -> bool:
    """Whether any run of this user owes anything, or left word of it: one look where there is none.

    Runs that live, this one included, are among them.
    """
    return any((folder / "journal").exists() for folder in _candidates())


def _candidates() -> list[Path]:
    """Where it may be, the best first."""
    if given := os.environ.get(VARIABLE):
        return [Path(given)]
    last = Path(tempfile.gettempdir(), f"pytest-drdrill-{os.geteuid()}")
    base = os.environ.get("XDG_STATE_HOME", "")
    try:
        home = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:  # no home
        return [last]
    return [home / "pytest-drdrill", last]


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check(folder)
    return folder


def _check(folder: Path) -> None:
    status = folder.stat()
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
        raise PermissionError(f"{folder} can be written to by others; remove it, or chmod 700 it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} can't be written to")
