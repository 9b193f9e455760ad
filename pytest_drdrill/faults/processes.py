"""Faults on processes that the drill itself started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TypeAlias
from weakref import WeakSet

from pytest_drdrill.faults.undo import FaultError

Child: TypeAlias = "subprocess.Popen[bytes] | subprocess.Popen[str]"

# Waits for a line, which says that all is undone, or for the end of the one who would write it.
_WATCH = 'read -r line || kill -CONT "$1"'
_paused: WeakSet[Child] = WeakSet()


def kill(process: Child) -> None:
    """SIGKILL, and wait until it is dead."""
    _alive(process)
    process.kill()
    process.wait()


class Pause:
    """A child frozen by SIGSTOP, and let go on at the latest when this process ends.

    A watchdog, a tiny shell in a session of its own, holds the end of a pipe: should this process
    be killed, by whatever signal, it sends the SIGCONT that nobody else would send any more.

    Raises:
        FaultError: it is no child, had ended already, or is paused already.
    """

    def __init__(self, process: Child) -> None:
        _alive(process)
        if process in _paused:
            raise FaultError(
                f"process {process.pid} is paused already, so there is nothing to break"
            )
        self._process = process
        self._watchdog: subprocess.Popen[bytes] | None = None

    def strike(self) -> None:
        """SIGSTOP, and wait until it has stopped: it answers nothing any more.

        Raises:
            FaultError: it ended meanwhile, or no watchdog can be started.
        """
        process = self._process
        _paused.add(process)
        try:
            self._watchdog = subprocess.Popen(  # noqa: S603 - its one argument is a number
                ["/bin/sh", "-c", _WATCH, "sh", str(process.pid)],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise FaultError(
                f"process {process.pid} was not paused, as nothing would let it go on should this "
                f"process be killed: /bin/sh can't be started: {error.strerror}"
            ) from error
        process.send_signal(signal.SIGSTOP)
        if not _has_stopped(process):
            process.poll()
            raise FaultError(f"process {process.pid} ended before it was paused")

    def undo(self) -> None:
        """SIGCONT, to one that still lives; may be called again."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
        if (watchdog := self._watchdog) is not None and (pipe := watchdog.stdin) is not None:
            if not pipe.closed:
                with contextlib.suppress(OSError):  # it was killed itself
                    pipe.write(b"\n")
                pipe.close()
            watchdog.wait()
        _paused.discard(self._process)


def _has_stopped(process: Child) -> bool:
    if not hasattr(os, "waitid"):  # not on Linux: the kernel stops it a moment later
        return process.poll() is None
    try:
        told = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        return False  # it ended, and was waited for
    return told is not None and told.si_code == os.CLD_STOPPED


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
