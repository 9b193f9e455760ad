"""Programs whose fsync fails, as on a dying disk: by strace, which answers for the kernel."""

from __future__ import annotations

import errno
import shutil
import subprocess
from functools import cache
from typing import TYPE_CHECKING

from pytest_drdrill.faults.undo import FaultError
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

CALLS = ("fsync", "fdatasync", "sync_file_range", "msync")
"""System calls by which programs have their data written down."""
_TRIAL = 30.0


@cache
def obstacle() -> str | None:
    """Why no fsync can be made to fail here; None where one can."""
    strace = shutil.which("strace")
    if strace is None:
        return "strace is not on this machine; install it: apt-get install strace"
    trial = [*_command(strace, CALLS[:1], errno.errorcode[errno.EIO], 1), "/bin/true"]
    try:
        done = subprocess.run(trial, capture_output=True, timeout=_TRIAL, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"strace can't be run: {error}"
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        return f"strace may not trace processes here: {said[0]}"
    return None


def prefix(calls: Sequence[str], error: str, after: int) -> list[str]:
    """What to put before a command, so that its calls fail; of the processes it starts too.

    Args:
        calls: names of system calls, out of ``CALLS``.
        error: the name of what they fail with, e.g. ``"EIO"``.
        after: how many of each thread's calls work before.

    Raises:
        FaultError: a call or an error that is none, or a count that is no whole number.
    """
    unknown = [call for call in calls if call not in CALLS]
    if unknown or not calls or isinstance(calls, str):
        raise FaultError(f"calls must be some of {', '.join(CALLS)}, not {shown(calls)}")
    if error not in errno.errorcode.values():
        raise FaultError(f"error must be the name of one, as EIO or ENOSPC, not {shown(error)}")
    if not isinstance(after, int) or isinstance(after, bool) or after < 0:
        raise FaultError(f"after must be a whole number from 0 on, not {shown(after)}")
    return _command(shutil.which("strace") or "strace", calls, error, after + 1)


def _command(strace: str, calls: Sequence[str], error: str, first: int) -> list[str]:
    names = ",".join(calls)
    # In a session of its own, and no parent of the program: who starts, pauses or kills that meets
    # the program itself, and strace ends with it.
    detached, children, silent = "-DDD", "-f", "-qqq"
    nowhere = ["-o", "/dev/null"]
    inject = [f"trace={names}", f"inject={names}:error={error}:when={first}+"]
    return [strace, detached, children, silent, *nowhere, "-e", inject[0], "-e", inject[1], "--"]
