"""A service that is restarted: its process ends, and another one takes its place."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import closing, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_duration, parse_duration
from pytest_drdrill.faults import tree
from pytest_drdrill.faults.fault import Fault
from pytest_drdrill.faults.owed import Owed
from pytest_drdrill.faults.processes import identify, kill_rest
from pytest_drdrill.faults.started import Started
from pytest_drdrill.faults.tree import process_id
from pytest_drdrill.faults.undo import FaultError
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_drdrill.faults.processes import Child

_POLL = 0.001


class Restart:
    """The end of a child, and the start of the one in its place.

    Args:
        process: the child.
        start: starts the new one and returns it; None starts it as the old one was.
        grace: how long the old one may take to end; nothing kills it at once.

    Raises:
        FaultError: it is no child, or had ended already; or ``grace`` is no duration.
    """

    def __init__(
        self, process: Child, start: Callable[[], Child] | None, grace: str | timedelta
    ) -> None:
        self._old = process
        self._id = identify(process)
        self._start = start
        try:
            self._grace = parse_duration(grace)
        except (TypeError, ValueError) as error:
            raise FaultError(f"grace: {error}") from None
        self._new: Child | None = None
        self._settled: list[Callable[[], None]] = []
        self.away = timedelta(0)
        """From the signal that ended the old one to the start of the new one."""
        self.in_time = False
        """Whether the old one ended within the grace, by itself."""

    @property
    def process(self) -> Child:
        """The new child."""
        assert self._new is not None
        return self._new

    def strike(
        self, owe: Callable[[Owed], Callable[[], None]], tell: Callable[[str], None]
    ) -> None:
        """End the old one and start the new one.

        Args:
            owe: writes down what is to be put right should this process be killed.
            tell: told at the moment at which the old one is about to end.

        Raises:
            FaultError: nothing was done; or the old one did not die, or the new one did not start.
        """
        pid = self._old.pid
        with nullcontext() if self._start else closing(Started(self._old)) as started:
            # One that is half ended when this process is killed is of no use to anybody.
            what = f"process {pid}, which was to be restarted"
            settled = owe(Owed("kill tree", what, pid=pid, started=self._id.started))
            self._settled.append(settled)
            tell(f"restarting process {pid}")
            began = time.monotonic()
            self._end()
            settled()
            again = started.again if started is not None else self._start
            assert again is not None
            self._new = self._begin(again)
        self.away = timedelta(seconds=time.monotonic() - began)
        if (new := process_id(self._new.pid)) is not None:
            what = f"process {new.pid}, which took the place of process {pid}"
            self._settled.append(owe(Owed("kill tree", what, pid=new.pid, started=new.started)))

    def _end(self) -> None:
        family = tree.tree_of(self._id)
        if self._grace:
            self._old.send_signal(signal.SIGTERM)
            patience = time.monotonic() + self._grace.total_seconds()
            while self._old.poll() is None and time.monotonic() < patience:
                time.sleep(_POLL)
            self.in_time = self._old.poll() is not None
        kill_rest(family, self._old.pid)
        self._old.wait()

    def _begin(self, again: Callable[[], Child]) -> Child:
        pid = self._old.pid
        try:
            new = again()
        except OSError as error:
            # Neither its arguments nor, in frames of the cause, its environment: they hold secrets.
            raise FaultError(
                f"process {pid} has ended, and was not started again: "
                f"{error.filename or 'a new process'}: {error.strerror}"
            ) from None
        if not isinstance(new, subprocess.Popen) or new is self._old:
            raise FaultError(
                f"process {pid} has ended, and start= returned {shown(new)}, not the new child, a "
                "subprocess.Popen"
            )
        return new

    def undo(self) -> None:
        """End the new one, with all that descends from it; may be called again."""
        # Until its end has been heard of, nothing else has its number.
        if self._new is not None and self._new.poll() is None:
            if (new := process_id(self._new.pid)) is not None:
                tree.kill_tree(new)
            self._new.wait()
        for each in self._settled:
            each()

    def told(self) -> str:
        """What happened, in words."""
        how = f"after status {self._old.returncode}"
        if not self.in_time:
            how = "killed"
            if self._grace:
                how += f", as it had not ended within {format_duration(self._grace)}"
        return f"process {self._old.pid}, {how}, is process {self.process.pid} now"


class RestartedProcess(Fault):
    """A child that another one has taken the place of; the undo ends that.

    Attributes:
        process: the new child.
        status: with which the old one ended, as ``Popen.returncode``; -9 where it was killed.
        away: from the signal that ended the old one to the start of the new one. What that needs
            to be of use is for ``rto_timer`` to measure.
    """

    def __init__(
        self, what: str, undo: Callable[[], None], process: Child, status: int, away: timedelta
    ) -> None:
        super().__init__(what, undo)
        self.process = process
        self.status = status
        self.away = away
