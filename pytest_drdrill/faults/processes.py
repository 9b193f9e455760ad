"""Faults on processes that the drill itself started."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TypeAlias

from pytest_drdrill.faults.undo import FaultError

Child: TypeAlias = "subprocess.Popen[bytes] | subprocess.Popen[str]"


def kill(process: Child) -> None:
    """SIGKILL, and wait until it is dead."""
    _alive(process)
    process.kill()
    process.wait()


def pause(process: Child) -> None:
    """SIGSTOP, and wait until it has stopped: it answers nothing any more."""
    _alive(process)
    process.send_signal(signal.SIGSTOP)
    if hasattr(os, "waitid"):  # on Linux; elsewhere the kernel stops it a moment later
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


def resume(process: Child) -> None:
    """SIGCONT, to one that still lives."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)


def _alive(process: Child) -> None:
    if not isinstance(process, subprocess.Popen):
        raise FaultError(
            f"{process!r:.200} is no subprocess.Popen, which is what faults on processes take"
        )
    if process.poll() is not None:
        raise FaultError(
            f"process {process.pid} had ended already with status {process.returncode}, "
            "so there is nothing to break"
        )
