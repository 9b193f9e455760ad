"""One attempt of a live drill: what must hold before it, what watches it, what it leaves behind."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from pytest_drdrill.clock import REAL_CLOCK
from pytest_drdrill.durations import format_duration, format_seconds
from pytest_drdrill.faults import UndoFailed, UndoStack
from pytest_drdrill.live.commands import Commands
from pytest_drdrill.live.hang import where_it_was
from pytest_drdrill.live.lock import TargetLock
from pytest_drdrill.live.refused import LiveRefused
from pytest_drdrill.live.target import LiveTarget
from pytest_drdrill.live.targets import lock_keys
from pytest_drdrill.live.watchdog import SentryLink, Watchdog
from pytest_drdrill.measure import MaxOutageExceeded
from pytest_drdrill.session.live_marks import NO_MAX_OUTAGE, NO_TARGET
from pytest_drdrill.session.record import rfc3339
from pytest_drdrill.text import one_line, storable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    from pytest_drdrill.live.left import LeftRecord
    from pytest_drdrill.live.target import Declared
    from pytest_drdrill.measure import DrillFailure
    from pytest_drdrill.session.promise import Promise
    from pytest_drdrill.session.run import DrillRun
    from pytest_drdrill.session.safety import Safety

RERUN = (
    "a live drill is not run a second time by a rerun: it would break the system again, in the "
    "state in which the failed attempt left it; look at it, and run it anew"
)


class Ended(pytest.fail.Exception):  # type: ignore[name-defined,misc] # an attribute of a function
    """What the watchdog raises in a drill; no ``except Exception`` takes it."""


def check_promise(promise: Promise, safety: Safety) -> timedelta:
    """Refuse a live drill that does not say what it breaks, or breaks what it must not.

    Returns:
        Its longest outage.

    Raises:
        LiveRefused: it is refused.
    """
    if not promise.targets:
        raise LiveRefused(NO_TARGET)
    if promise.max_outage is None:
        raise LiveRefused(NO_MAX_OUTAGE)
    for target in promise.targets:
        for address in target.known():
            safety.allowed.check_target(address)
    return promise.max_outage


def keys_of(targets: Iterable[Declared]) -> dict[str, bool]:
    """What a drill has to hold, by key; True where others may as well."""
    keys: dict[str, bool] = {}
    for target in targets:
        for address in target.known():
            for key, shared in lock_keys(address).items():
                keys[key] = shared and keys.get(key, True)
    return keys


class LiveRun:
    """A live drill from its first refusal to the last undo.

    Args:
        run: the attempt.
        item: the test.
        safety: what keeps it safe.
        stderr: where the sentry says what it did.
        on_wait: told whom it waits for.

    Raises:
        LiveRefused: it does not begin.

    Attributes:
        allowed: the systems that it may touch.
    """

    def __init__(
        self,
        run: DrillRun,
        item: pytest.Item,
        safety: Safety,
        stderr: int,
        on_wait: Callable[[str], None],
    ) -> None:
        self._run = run
        self._file = str(item.path)
        self._left = safety.left
        self.allowed = safety.allowed
        if run.is_rerun:
            raise LiveRefused(RERUN)
        targets = run.promise.targets
        self._limit = check_promise(run.promise, safety)
        self._record: LeftRecord = {
            "nodeid": run.nodeid,
            "root": storable(item.config.rootpath),
            "pid": os.getpid(),
            "started": rfc3339(REAL_CLOCK.now()),
            "targets": [each.record() for each in targets],
            "keys": keys_of(targets),
            "state": "running",
            "done": [],
            "left": [],
        }
        about = {
            "nodeid": storable(run.nodeid),
            "pid": os.getpid(),
            "since": self._record["started"],
        }
        self._lock = TargetLock(safety.locks, self._record["keys"], about)
        self._lock.acquire(safety.wait, on_wait)
        self._began = time.monotonic()
        self._how = ""
        self._failed: list[str] = []
        self._stacks = [UndoStack()]
        try:
            self._left.refuse(run.nodeid, self._record["root"], self._record["keys"])
            self._left.write(self._record)
            try:
                self._start(stderr)
            except BaseException:
                self._left.remove(self._record)
                raise
        except BaseException:
            self._lock.release()
            raise
        self._targets = [LiveTarget(each, self._commands) for each in targets]

    def _start(self, stderr: int) -> None:
        run = self._run
        path = self._left.path(self._record)
        link = SentryLink(self._record, path, self._lock.fds, stderr)
        self.watchdog = Watchdog(
            self._limit,
            since=lambda: max(self._began, run.last_turn()[1]),
            has_ended=lambda: run.ended,
            undo=self._undo_from_outside,
            error=self._error,
            link=link,
        )
        try:
            self.watchdog.start()
        except BaseException:
            link.end()
            raise
        self._commands = Commands(self._stacks[0], link, run.drill.event)
        run.at_body_end.append(self._stacks[0].undo_all)

    def target(self, address: str | None) -> LiveTarget:
        """One of those that it declared.

        Args:
            address: as it was declared; None where there is but one.

        Raises:
            LiveRefused: it declared no such target, or several.
        """
        found = [
            target
            for target, declared in zip(self._targets, self._run.promise.targets, strict=True)
            if address is None or declared.is_called(address)
        ]
        if len(found) == 1:
            return found[0]
        names = ", ".join(target.address for target in self._targets)
        if address is None:
            raise LiveRefused(f"this drill declares several targets; say which: {names}")
        raise LiveRefused(
            f"this drill does not declare the target that it asks for; it declares {names}: mark "
            "it with dr_live_target, so that the target is checked and locked before it begins"
        )

    def watch(self, stack: UndoStack) -> None:
        """Have faults undone from outside should the body hang."""
        self._stacks.append(stack)

    def undo_rest(self) -> Exception | None:
        """Undo what a set-up that failed, or was interrupted, has left; what failed of that."""
        self._run.ended = True
        try:
            self._stacks[0].undo_all()
        except Exception as error:  # noqa: BLE001 - raised when all else is torn down
            self.note_failed(error)
            return error
        return None

    def note_stopped(self, error: Exception) -> None:
        """This came up as what the body left was stopped; it counts where it is of a fault."""
        if isinstance(error, UndoFailed):
            self.note_failed(error)

    def note_failed(self, error: BaseException) -> None:
        """Something of its undo failed; it is refused from now on."""
        errors = error.exceptions if isinstance(error, UndoFailed) else (error,)
        self._failed += [one_line(f"{type(each).__name__}: {each}", 1_000) for each in errors]

    def breach(self, error: BaseException | None = None) -> list[DrillFailure]:
        """That it took too long, where it did, whatever its body made of being ended.

        Args:
            error: what its body raised.
        """
        after = self.watchdog.fired_after
        if after is None:
            return []
        text = self._how or self._too_long("")
        if error is None:
            text += "; its body took no notice and ended later"
        elif not isinstance(error, Ended):
            text += f"; its body then raised {one_line(f'{type(error).__name__}: {error}', 500)}"
        if self._failed:
            text += f"; NOT undone: {'; '.join(self._failed)}"
        return [
            MaxOutageExceeded(text, target=self._limit, actual=timedelta(seconds=round(after, 6)))
        ]

    def _error(self, frame: FrameType | None) -> BaseException:
        """What ends it, from where it hangs."""
        at = where_it_was(frame, self._file)
        if self._run.ended:
            text = "its undo did not end in time, and was ended"
            self._failed.append(f"{text}{at}")
            return Ended(f"live drill: {text}{at}", pytrace=False)
        self._how = self._too_long(at)
        return Ended(self._how, pytrace=False)

    def _too_long(self, at: str) -> str:
        after = format_seconds(self.watchdog.fired_after or 0.0)
        return (
            f"max_outage of {format_duration(self._limit)} exceeded: {after} after "
            f"{self._run.last_turn()[0]} the drill still ran{at}, and was ended"
        )

    def _undo_from_outside(self) -> None:
        """In the watchdog's thread, while the body hangs."""
        for stack in reversed(self._stacks):
            try:
                stack.undo_all()
            except BaseException as error:  # noqa: BLE001 - the others have to be undone still
                self.note_failed(error)

    def end(self) -> None:
        """All is over: what could not be undone is kept on record, and the target is let go."""
        self.watchdog.stop()
        try:
            if self._failed:
                self._record["state"], self._record["left"] = "undo failed", self._failed
                self._left.write(self._record)
            else:
                self._left.remove(self._record)
        finally:
            self._lock.release()

    @property
    def aborted_after_s(self) -> float | None:
        """Seconds after which it was ended; None where it ended by itself."""
        after = self.watchdog.fired_after
        return None if after is None else round(after, 6)
