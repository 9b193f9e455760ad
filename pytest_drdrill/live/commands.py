"""Faults that commands strike and undo: what can be undone even where pytest is dead."""

from __future__ import annotations

import itertools
import shlex
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_duration
from pytest_drdrill.faults import Fault, FaultError
from pytest_drdrill.live.lease import LEAST_S, Lease
from pytest_drdrill.live.sentry import run_quietly
from pytest_drdrill.redact import without_secrets
from pytest_drdrill.text import NAME_LIMIT, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_drdrill.faults import UndoStack
    from pytest_drdrill.live.watchdog import SentryLink

_LINES_KEPT = 3


class Commands:
    """Strikes by command, and has each undone once: by the stack, or by the sentry after a death.

    Args:
        stack: undoes them when the body ends.
        link: to the sentry, which is told of the undo before the fault strikes.
        announce: told of each fault as it strikes.
    """

    def __init__(
        self, stack: UndoStack, link: SentryLink, announce: Callable[[str, str], None]
    ) -> None:
        self._stack = stack
        self._link = link
        self._announce = announce
        self._numbers = itertools.count(1)

    def strike(  # noqa: PLR0913 - one caller, which has defaults for them
        self,
        what: str,
        command: Sequence[str],
        undo: Sequence[str],
        *,
        timeout: timedelta,
        through: Sequence[str] = (),
        expires: timedelta | None = None,
    ) -> Fault:
        """Run a command that breaks something; its undo is in safe hands before.

        Args:
            what: the fault in words, e.g. ``"stop the primary"``.
            command: the program and its arguments, which breaks it.
            undo: likewise, which puts it right; it may be run twice, and where the first had
                failed.
            timeout: for the command.
            through: what runs a shell script on the target, where both commands belong.
            expires: how long the fault lasts there when nobody renews its lease.

        Raises:
            FaultError: the command failed, was not done in time, or nothing would undo it.
        """
        what = one_line(what, NAME_LIMIT)
        striking, undoing = _command("command", command), _command("undo", undo)
        lease = self._lease(through, undoing, expires)
        if through:
            prefix = _command("through", through)
            striking, undoing = ([*prefix, shlex.join(each)] for each in (striking, undoing))
        number, folder = next(self._numbers), str(Path.cwd())
        if not self._link.hold(number, what, undoing, folder):
            raise FaultError(
                f"{what}: not struck, as the process that would undo it, should this one be "
                "killed, is dead"
            )

        def put_right() -> None:
            why = run_quietly(undoing, folder)
            if why is not None:
                later = ""
                if lease is not None and expires is not None:
                    lease.abandon()
                    later = f"; the target tries by itself within {format_duration(expires)}"
                raise FaultError(f"{what}: its undo failed: {why}{later}")
            self._link.undone(number)
            if lease is not None:
                lease.end()
            self._announce("fault undone", what)

        if lease is not None:
            try:
                lease.begin()
            except FaultError as error:
                self._link.undone(number)
                raise FaultError(f"{what}: not struck: {error}") from None
        early = self._stack.push(what, put_right)
        _run(what, striking, timeout)
        self._announce("fault", what)
        return Fault(what, early)

    def _lease(
        self, through: Sequence[str], undo: Sequence[str], expires: timedelta | None
    ) -> Lease | None:
        if expires is None:
            return None
        if not through:
            raise FaultError(
                "a fault expires on the target itself: say how commands run there, such as "
                'through=["ssh", "db1"]'
            )
        if expires < timedelta(seconds=LEAST_S):
            raise FaultError(f"expires={format_duration(expires)} is too short: {LEAST_S}s or more")
        return Lease(through, undo, expires, self._announce)


def _command(name: str, given: Sequence[str]) -> list[str]:
    if isinstance(given, str) or not given or not all(isinstance(part, str) for part in given):
        raise FaultError(
            f"{name} is a list of a program and its arguments, such as "
            '["systemctl", "stop", "postgresql"]'
        )
    return list(given)


def _run(what: str, command: list[str], timeout: timedelta) -> None:
    """Run what breaks something; where it fails, its undo stays on the stack all the same."""
    try:
        done = subprocess.run(  # noqa: S603 - the drill's own command, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout.total_seconds(),
            check=False,
        )
    except OSError as error:
        raise FaultError(f"{what}: {command[0]} can't be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:  # whose own text holds the arguments
        raise FaultError(f"{what}: not done within {format_duration(timeout)}") from None
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()[-_LINES_KEPT:]
        said = one_line(without_secrets("; ".join(lines)), NAME_LIMIT)
        raise FaultError(f"{what}: exit status {done.returncode}{': ' + said if said else ''}")
