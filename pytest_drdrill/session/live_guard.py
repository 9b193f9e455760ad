"""Guards the live drills of this process: registered only where there are some, with --dr-live."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest

from pytest_drdrill.live.refused import LiveRefused, TargetHeld, TargetUnset
from pytest_drdrill.session.live_run import LiveRun
from pytest_drdrill.text import storable

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_drdrill.session.run import DrillRun
    from pytest_drdrill.session.safety import Safety


class LiveGuard:
    """Begins and ends live drills, and lets their watchdog interrupt them, and nothing else."""

    def __init__(self, config: pytest.Config, safety: Safety) -> None:
        self._config = config
        self._safety = safety
        self._live: LiveRun | None = None
        self._stderr = os.dup(2)  # the terminal's: pytest captures nothing yet

    def begin(self, item: pytest.Item, run: DrillRun) -> None:
        """Begin a live drill, or refuse it."""
        nodeid = storable(item.nodeid)
        why = None  # it is told outside of the block, so that nothing is shown as its cause
        try:
            run.live = LiveRun(run, item, self._safety, self._stderr, self._say)
        except (TargetHeld, TargetUnset) as error:
            pytest.skip(f"the live drill could not begin: {storable(error)}")
        except LiveRefused as error:
            why = f"{storable(error)} (in {nodeid})"
        if why is not None:
            pytest.fail(why, pytrace=False)
        self._live = run.live

    def _say(self, text: str) -> None:
        """Tell whoever looks on what the session waits for; a worker has no terminal."""
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            terminal.ensure_newline()
            terminal.write_line(f"drdrill: waiting, {text}")

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self) -> Generator[None, object, object]:
        """Its fixtures may be told to end."""
        with self._interrupting():
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        """Its body may be told to end."""
        with self._interrupting():
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, object, object]:
        """So may its undo; when that is over, so is the drill."""
        live = self._live
        if live is None:
            return (yield)
        failed = live.undo_rest()
        try:
            with live.watchdog.interrupting():
                result = yield
        except BaseException as error:
            live.note_failed(error)
            raise
        finally:
            self._end()
        if failed is not None:
            raise failed
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None, object, object]:
        """A drill that was interrupted by Ctrl-C is torn down in here."""
        live = self._live
        if live is not None:
            live.undo_rest()
        try:
            return (yield)
        except BaseException as error:
            if live is not None:
                live.note_failed(error)
            raise
        finally:
            self._end()
            os.close(self._stderr)

    def _end(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.end()

    def _interrupting(self) -> contextlib.AbstractContextManager[None]:
        if self._live is None:
            return contextlib.nullcontext()
        return self._live.watchdog.interrupting()
