"""``--dr-dry-run``: what each live drill would break, on what, and how that is undone.

Nothing runs: all of it stands on the markers, so that neither a fixture nor a body has to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_drdrill.durations import format_duration
from pytest_drdrill.live.refused import LiveRefused
from pytest_drdrill.report.safe import visible
from pytest_drdrill.report.words import ID, TEXT, count
from pytest_drdrill.session.live_run import check_promise, keys_of
from pytest_drdrill.text import storable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_drdrill.session.promise import Promise
    from pytest_drdrill.session.safety import Safety

_LINE = 2 * TEXT


class DryRun:
    """Takes the place of the loop that runs the tests."""

    def __init__(self, safety: Safety) -> None:
        self._safety = safety
        self._drills: dict[pytest.Item, Promise] = {}
        self._left: list[pytest.Item] = []

    def plan(self, promises: dict[pytest.Item, Promise]) -> None:
        """These are the drills that were selected."""
        self._drills = {item: promise for item, promise in promises.items() if promise.live}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Others, such as ``--lf``, may have deselected some since."""
        kept = set(session.items)
        self._left = [item for item in self._drills if item in kept]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run nothing; where something could not be collected, the list is not whole."""
        if session.testsfailed:
            raise session.Interrupted(f"{count(session.testsfailed, 'error')} during collection")
        return True

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the list."""
        terminalreporter.section("disaster recovery: dry run", sep="=", bold=True)
        if not self._left:
            terminalreporter.write_line("no live drill was selected; nothing was run")
            return
        text = (
            f"{count(len(self._left), 'live drill')}; nothing was run, and nothing is shown by it"
        )
        terminalreporter.write_line(text)
        for item in self._left:
            for line, refused in self._lines(item, self._drills[item]):
                terminalreporter.write_line(line, red=refused, bold=refused)

    def _lines(self, item: pytest.Item, promise: Promise) -> Iterator[tuple[str, bool]]:
        limit = promise.max_outage
        ended = "" if limit is None else f", ended after {format_duration(limit)} at the latest"
        yield "", False
        yield f"{visible(item.nodeid, ID)}{ended}", False
        for target in promise.targets:
            yield f"  on {visible(target.name, TEXT)}: {visible(target.breaks, TEXT)}", False
            yield f"    undone by: {visible(target.undone_by, TEXT)}", False
        if (why := self._refusal(item, promise)) is not None:
            yield f"  WOULD NOT RUN: {visible(why, _LINE)}", True

    def _refusal(self, item: pytest.Item, promise: Promise) -> str | None:
        if promise.problems:
            return "; ".join(promise.problems.values())
        try:
            check_promise(promise, self._safety)
            root = storable(item.config.rootpath)
            self._safety.left.refuse(storable(item.nodeid), root, keys_of(promise.targets))
        except LiveRefused as error:
            return str(error)
        return None


def stay_in_one_process(config: pytest.Config) -> None:
    """Have xdist start no workers: there is nothing to run in them."""
    if hasattr(config.option, "dist"):
        config.option.dist, config.option.tx = "no", []
