"""The watchdog of a live drill: after its longest outage, the drill ends and its faults with it.

Three lines of defence, each for when the one before did not help:

1. A signal makes the drill's own code raise, in a sleep, a call into C or an await alike.
2. A thread undoes the faults while the body still hangs, or swallows what is raised in it.
3. The sentry, a process of its own, kills pytest and undoes what commands can undo.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_drdrill.durations import format_duration
from pytest_drdrill.live.refused import LiveRefused
from pytest_drdrill.live.sentry import UNDO_PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import timedelta
    from types import FrameType

    from pytest_drdrill.live.left import LeftRecord

_MAIN = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from pytest_drdrill.live.sentry import main; main()"
)
_PACKAGES = str(Path(__file__).parents[2])
_TICK_S = 0.1
_LEAST_GRACE_S, _MOST_GRACE_S = 1.0, 30.0
_UNDO_MOST_S = 2 * UNDO_PATIENCE_S
"""Seconds for the undo of a drill: longer than one of its commands may take."""
_SIGNAL = signal.SIGRTMIN + 7 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR2
"""One that nobody else uses: the alarm belongs to pytest-timeout."""


class SentryLink:
    """This end of the pipe to the sentry.

    Args:
        record: the drill's.
        path: where it is on disk.
        fds: the locks, which the sentry holds too.
        stderr: a file descriptor to which it says what it did.

    Raises:
        LiveRefused: it can't be started, so nothing must be broken.
    """

    def __init__(self, record: LeftRecord, path: Path, fds: Sequence[int], stderr: int) -> None:
        try:
            self._process = subprocess.Popen(  # noqa: S603 - fixed arguments
                [sys.executable, "-I", "-S", "-c", _MAIN, _PACKAGES],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd="/",
                start_new_session=True,
                pass_fds=list(fds),
            )
        except OSError as error:
            raise LiveRefused(_NO_SENTRY.format(error.strerror)) from error
        self._lock = threading.Lock()
        self._tell(parent=os.getpid(), path=str(path), record=record)
        if not self._heard(b"ready\n"):
            self.end()
            raise LiveRefused(_NO_SENTRY.format("it ended at once"))

    def hold(self, number: int, what: str, undo: Sequence[str], folder: str) -> bool:
        """Have it undo something, by a command in a folder, should pytest die; whether it will."""
        told = self._tell(id=number, what=what, undo=list(undo), folder=folder)
        return told and self._heard(b"held\n")

    def undone(self, number: int) -> None:
        """It needs to undo that no more."""
        self._tell(undone=number)

    def within(self, seconds: float, limit: str) -> None:
        """It acts unless it is told something else within so many seconds."""
        self._tell(within=seconds, limit=limit)

    def end(self) -> None:
        """The drill is over."""
        self._tell(end=True)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait()

    def _tell(self, **message: Any) -> bool:
        pipe = self._process.stdin
        assert pipe is not None
        with self._lock:
            try:
                pipe.write(json.dumps(message).encode() + b"\n")
            except (OSError, ValueError):  # it was killed itself, or the drill is over
                return False
        return True

    def _heard(self, answer: bytes) -> bool:
        assert self._process.stdout is not None
        return self._process.stdout.readline() == answer


_NO_SENTRY = (
    "nothing was broken, as nothing would undo it should this process be killed: the process that "
    "would can't be started: {}"
)


class Watchdog:
    """Ends a drill that takes longer than its longest outage.

    The time counts from the drill's beginning, anew from each disaster, and anew from each
    recovery: what the drill breaks before it tells of a disaster is known to nobody but itself.

    Args:
        limit: the longest outage.
        since: the monotonic time of the last of these moments.
        has_ended: whether the body has ended, so that its faults are being undone.
        undo: undoes the drill's faults, in a thread, while its body hangs.
        error: makes what is raised in the drill, from where it hangs.
        link: to the sentry.

    Attributes:
        fired_after: seconds from the last of these moments until the drill was told to end; None
            where it was not.
    """

    def __init__(  # noqa: PLR0913 - what it has to know, by keyword
        self,
        limit: timedelta,
        *,
        since: Callable[[], float],
        has_ended: Callable[[], bool],
        undo: Callable[[], None],
        error: Callable[[FrameType | None], BaseException],
        link: SentryLink,
    ) -> None:
        self._limit = limit
        self._limit_s = limit.total_seconds()
        self._grace = min(max(self._limit_s / 10, _LEAST_GRACE_S), _MOST_GRACE_S)
        self._since = since
        self._has_ended = has_ended
        self._undo = undo
        self._error = error
        self._link = link
        self._over = threading.Event()
        self._armed = self._due = False
        self._before: Any = None
        self._thread = threading.Thread(target=self._watch, name="drdrill-watchdog", daemon=True)
        self._fired_at: float | None = None
        self._undo_began: float | None = None
        self._told: float | None = None
        self._undone = self._undo_cut = False
        self.fired_after: float | None = None

    def start(self) -> None:
        """Begin to watch.

        Raises:
            LiveRefused: not in the main thread, which alone a signal makes raise.
        """
        if threading.current_thread() is not threading.main_thread():
            raise LiveRefused("a live drill runs in the main thread, or nothing could end it")
        end = self._since() + self._limit_s
        self._let_sentry_wait(end + 3 * self._grace, time.monotonic())
        self._before = signal.signal(_SIGNAL, self._on_signal)
        self._thread.start()

    def stop(self) -> None:
        """The drill is over, and everything is undone or known not to be."""
        self._over.set()
        self._thread.join()
        signal.signal(_SIGNAL, self._before or signal.SIG_DFL)
        self._link.end()

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Code that may be told to end; any other, such as pytest's own, never is."""
        outer, self._armed = self._armed, True  # fixtures ask for fixtures
        try:
            if self._due:
                self._interrupted(None)
            yield
        finally:
            self._armed = outer

    def _on_signal(self, _: int, frame: FrameType | None) -> None:
        if self._armed and not self._over.is_set():
            self._interrupted(frame)
        else:
            self._due = True

    def _interrupted(self, frame: FrameType | None) -> None:
        self._due = False
        if self._has_ended() and not self._undo_cut:
            return  # it has ended since: what undoes its faults must not be interrupted
        raise self._error(frame)

    def _watch(self) -> None:
        tick = min(_TICK_S, self._limit_s / 10)
        while not self._over.wait(tick):
            if self._has_ended():
                self._watch_undo(time.monotonic())
            else:
                self._watch_body(time.monotonic())

    def _watch_body(self, now: float) -> None:
        if self._fired_at is None:
            since = self._since()
            end = since + self._limit_s
            # From here on the sentry acts alone should this process freeze, or hold its only lock.
            self._let_sentry_wait(end + 3 * self._grace, now)
            if now >= end:
                self._fired_at, self.fired_after = now, now - since
                self._interrupt()
        elif not self._undone and now >= self._fired_at + self._grace:
            self._undone = True
            self._let_sentry_wait(now + _UNDO_MOST_S, now)
            self._undo()
            self._let_sentry_wait(time.monotonic() + 2 * self._grace, time.monotonic())
            self._interrupt()  # once more: the first may have been swallowed

    def _watch_undo(self, now: float) -> None:
        if self._undo_began is None:
            self._undo_began = now
        end = self._undo_began + max(self._limit_s, _UNDO_MOST_S)
        self._let_sentry_wait(end + 3 * self._grace, now)
        if now >= end and not self._undo_cut:
            self._undo_cut = True
            self._interrupt()

    def _let_sentry_wait(self, until: float, now: float) -> None:
        if until != self._told:
            self._told = until
            self._link.within(until - now, format_duration(self._limit))

    def _interrupt(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, _SIGNAL)
