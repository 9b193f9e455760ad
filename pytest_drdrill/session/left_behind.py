"""What killed runs and workers left broken: put right when pytest starts and when a worker dies.

A suite without drills pays for one look at a folder that is not there.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from pytest_drdrill.state import may_owe

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHOWN = 2_000
_PATIENCE = 5.0
_POLL = 0.01


def look_for_what_is_left(config: pytest.Config) -> None:
    """Put right what runs before this one left, and get ready for workers that die."""
    if hasattr(config, "workerinput"):
        return
    left = may_owe()
    if left or config.getoption("dist", "no") != "no":
        found = LeftBehind()
        if left:
            found.put_right()
        config.pluginmanager.register(found, "drdrill-left-behind")


class LeftBehind:
    """Puts right what others left, and says so."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._failed: list[str] = []

    def put_right(self) -> None:
        """Put right what nobody alive will; what failed before is tried again."""
        from pytest_drdrill.faults.journal import recover  # rare

        try:
            found = recover()
        except OSError as error:
            self._failed = [str(error)]
            return
        self._done += found.done
        self._failed = list(found.failed)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker has ended; one that was killed has undone nothing."""
        if error and may_owe():
            _await_end(node)
            self.put_right()

    def pytest_sessionfinish(self) -> None:
        """Look once more: a worker may still have been dying when it was missed."""
        if may_owe():
            self.put_right()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """One line for what was put right, and one for what could not be."""
        if self._done:
            text = f"drdrill: put right what a killed run had left: {_shown(self._done)}"
            terminalreporter.write_line(text, yellow=True)
        if self._failed:
            text = f"could not put right what a killed run had left: {_shown(self._failed)}"
            terminalreporter.write_line(f"ERROR: drdrill: {text}", red=True, bold=True)


def _await_end(node: Any) -> None:
    """Its pipes break a moment before a process is dead, and till then it owes what it broke."""
    pid = getattr(node, "workerinfo", {}).get("pid")
    if pid is None or not node.gateway.spec.popen:  # it never began, or was on another machine
        return
    from pytest_drdrill.faults.tree import process_id  # rare

    deadline = time.monotonic() + _PATIENCE
    while process_id(pid) is not None and time.monotonic() < deadline:
        time.sleep(_POLL)


def _shown(texts: Iterable[str]) -> str:
    from pytest_drdrill.report.safe import visible  # rare

    return visible("; ".join(texts), _SHOWN)
