"""A server process that a drill starts here as scratch, breaks, and ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.faults.journal import Journal, Owed
from pytest_drdrill.faults.processes import kill_rest
from pytest_drdrill.faults.tree import (
    ProcessId,
    kill_tree,
    process_id,
    resume_tree,
    stop_tree,
    tree_of,
)
from pytest_drdrill.live.account import Account, server_account
from pytest_drdrill.live.closing import Closing
from pytest_drdrill.live.errors import ServerFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_POLL = 0.005
_TAIL = 1500
_IN_USE, _TAKEN = "Address already in use", "another process listens where it has to"


class ScratchFolder:
    """A folder of a scratch server, its own alone; in the journal until it is removed.

    Not below pytest's temporary folder, which an ordinary user that a server runs as can't enter
    where pytest runs as root.

    Args:
        name: what it is for; part of its name.
        account: whose it is.
    """

    def __init__(self, name: str, account: Account) -> None:
        # Short, since sockets in it have paths of at most 107 bytes.
        self.path = Path(tempfile.mkdtemp(prefix=f"drdrill-{name}-"))
        try:
            owed = Owed("remove", f"the folder of {name}, {self.path}", path=str(self.path))
            self._settled = Journal.own().owe(owed)
        except BaseException:
            self.path.rmdir()
            raise
        if not account.is_us:
            os.chown(self.path, account.uid, account.gid)

    def remove(self) -> None:
        """Remove it with all that is in it; again, nothing happens."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.path)
        self._settled()


class ScratchServer(Closing):
    """One server process at a time; killed, paused, and started again as a drill pleases.

    It runs in a session of its own, as an ordinary user, and its output goes to a log. Should this
    process be killed, the journal has the server ended and its folder removed. Not for several
    threads at once.

    Args:
        name: for messages and the names of its files.
        account: who it runs as; by default this user, or ``nobody`` where that is root.

    Attributes:
        name: as given.
        folder: its own, removed by ``close``.
        account: who it runs as.
        log: its output, of every start.
        process: of its last start, or None.
    """

    def __init__(self, name: str, account: Account | None = None) -> None:
        self.name = name
        self.account = server_account() if account is None else account
        self._scratch = ScratchFolder(name, self.account)
        self.folder = self._scratch.path
        self.log = self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._id: ProcessId | None = None
        self._settled: Callable[[], None] = _nothing
        self._paused = False
        self._began = 0
        self._again: Callable[[], None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether its process is there, paused or not."""
        return self.process is not None and self.process.poll() is None

    @property
    def is_paused(self) -> bool:
        """Whether it was paused, and not resumed since."""
        return self._paused and self.is_running

    def start(
        self,
        command: Sequence[str],
        ready: Callable[[], bool],
        *,
        timeout: float = 60.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it, and wait until it is ready.

        Args:
            command: program and arguments, which any user of the machine can read: no secrets.
            ready: whether it is, asked again and again; it raises nothing.
            timeout: seconds to wait at most.
            environment: what it gets beside ``LC_ALL``, ``PATH`` and ``HOME``, its folder.

        Raises:
            ServerFailed: it runs already, can't be started, ended, or was not ready in time; it
                does not run then.
        """
        if self.is_running:
            raise ServerFailed(f"{self.name} runs already")
        self._again = lambda: self.start(command, ready, timeout=timeout, environment=environment)
        self._start(command, environment)
        deadline = time.monotonic() + timeout
        try:
            while not ready():
                self._check_starting(time.monotonic() > deadline, timeout)
                time.sleep(_POLL)
        except BaseException:
            self.kill()
            raise

    def _check_starting(self, late: bool, timeout: float) -> None:
        if self.process is not None and not self.is_running:
            raise self._failed(f"ended with status {self.process.returncode}")
        if late:
            raise self._failed(f"was not ready within {format_seconds(timeout)}")

    def _start(self, command: Sequence[str], environment: Mapping[str, str] | None) -> None:
        base = {
            "LC_ALL": "C.UTF-8",
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
        }
        other = None if self.account.is_us else self.account
        try:
            with self.log.open("ab") as log:
                self._began = log.tell()
                self.process = subprocess.Popen(  # noqa: S603 - of the adapter, not of the user
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.folder,
                    env=base | dict(environment or {}),
                    start_new_session=True,
                    user=None if other is None else other.uid,
                    group=None if other is None else other.gid,
                    extra_groups=None if other is None else [],
                )
        except OSError as error:
            raise ServerFailed(
                f"{self.name} can't be started: {command[0]}: {error.strerror}"
            ) from error
        pid = self.process.pid
        self._paused = False
        self._id = process_id(pid)
        if self._id is not None:
            what = f"{self.name}, process {pid}"
            self._settled = Journal.own().owe(
                Owed("kill tree", what, pid=pid, started=self._id.started)
            )

    def kill(self) -> None:
        """SIGKILL to it and all its children at one moment; returns when it is dead.

        Nothing happens where it does not run.
        """
        if self._id is not None and self.is_running:
            kill_tree(self._id)
        self._ended()

    def pause(self) -> None:
        """SIGSTOP to it and all its children: connections stay open, and nothing answers.

        Raises:
            ServerFailed: it does not run.
        """
        if not self.is_running or self._id is None:
            raise ServerFailed(f"{self.name} does not run, so it can't be paused")
        self._paused = True
        stop_tree(self._id)

    def resume(self) -> None:
        """SIGCONT to all of them; nothing happens where it does not run."""
        if self._id is not None and self.is_running:
            resume_tree(self._id)
        self._paused = False

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 30.0) -> None:
        """Ask it to end, and wait; one that does not, or is paused, is killed.

        So are, once it has ended, those of its children that it leaves behind.

        Args:
            number: the signal that asks.
            timeout: seconds to wait at most.
        """
        if self.process is not None and self._id is not None and not self._paused:
            family = tree_of(self._id)
            self.process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout)
            kill_rest(family, self._id.pid)
        self.kill()

    def restart(self, number: signal.Signals = signal.SIGTERM, timeout: float = 30.0) -> timedelta:
        """End it as ``stop`` does, and start it as it was started the last time.

        One that is paused is killed, one that does not run is started.

        Args:
            number: the signal that asks it to end.
            timeout: seconds to wait at most until it has ended.

        Returns:
            How long it was away: from the signal until it was ready again.

        Raises:
            ServerFailed: it was never started; or it ended, or was not ready in time.
        """
        if self._again is None:
            raise ServerFailed(f"{self.name} was never started, so it can't be started again")
        began = time.monotonic()
        self.stop(number, timeout)
        self._again()
        return timedelta(seconds=time.monotonic() - began)

    def tail(self, size: int = _TAIL) -> str:
        """The end of what it wrote since its last start, at most so many bytes, in whole lines."""
        try:
            with self.log.open("rb") as file:
                first = max(self._began, self.log.stat().st_size - size)
                file.seek(first)
                text = file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        return text if first == self._began else text.partition("\n")[2]

    def close(self) -> None:
        """End it and remove its folder; again, nothing happens."""
        self.kill()
        self._scratch.remove()

    def _ended(self) -> None:
        if self.process is not None:
            self.process.wait()
        self._id, self._paused = None, False
        self._settled()

    def _failed(self, what: str) -> ServerFailed:
        end = self.tail().strip()
        why = f", since {_TAKEN}" if _IN_USE in end else ""
        return ServerFailed(
            f"{self.name} {what}{why}" + (f"; the end of its log:\n{end}" if end else "")
        )


def _nothing() -> None:
    pass
