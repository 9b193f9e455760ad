"""The trace of a simulated drill: what is in it, and ``--dr-trace``, which keeps one of each."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from typing import TYPE_CHECKING

import pytest

from pytest_drdrill.evidence.measured import measured
from pytest_drdrill.session.runner import RUN
from pytest_drdrill.text import storable

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from pytest_drdrill.measure.records import EventRecord
    from pytest_drdrill.session.run import DrillRun
    from pytest_drdrill.simulation import SimulatedWorld, Trace

_LABEL = 100
"""Characters of a test's id that a file's name shows; a name may have 255 bytes at most."""


class TraceKeeper:
    """Writes the trace of each simulated drill into a folder, when the drill has ended.

    Args:
        folder: which, made where it is not there, as on another machine.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Write it, whatever became of the drill, after its fixtures have come to their end."""
        try:
            result = yield
        except BaseException as error:
            if (why := self._keep(item)) is not None:
                error.add_note(why)
            raise
        if (why := self._keep(item)) is not None:
            pytest.fail(why, pytrace=False)
        return result

    def _keep(self, item: pytest.Item) -> str | None:
        """Write the trace of an item, if it has one; why that failed, or None."""
        run = item.stash.get(RUN, None)
        if run is None or run.world is None:
            return None
        path = self._folder / trace_name(item.nodeid)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            trace_of(run, run.world).write(path)
        except OSError as error:
            return f"{storable(item.nodeid)}: can't write the trace {path}: {_why(error)}"
        return None


def trace_of(run: DrillRun, world: SimulatedWorld) -> Trace:
    """What happened in the world of a drill, then its timeline, and at last what was measured."""
    from pytest_drdrill.simulation import Trace, TraceEvent  # only for simulated drills

    told = [TraceEvent(e["at_s"], "the drill", *_texts(e)) for e in run.drill.timeline.events()]
    found = measured(run.drill)
    figures = (found["rto"], found["rpo"], found["steps"], found["metrics"])
    end = run.drill.clock.monotonic()
    told += [
        TraceEvent(end, "the drill", "measured", storable(json.dumps(each, sort_keys=True)))
        for each in figures
    ]
    return Trace([*world.trace, *told])


def _texts(event: EventRecord) -> tuple[str, str]:
    return event["event"], event["detail"]


def trace_name(nodeid: str) -> str:
    """The name of a trace's file: one of its own for each test, on every file system.

    It begins with what can be read of the test's id, from its end, where ids differ; the digits at
    the end tell apart what looks alike, be it in letters that a file system takes for the same.
    """
    label = re.sub(r"[^0-9A-Za-z_]+", "-", nodeid)[-_LABEL:].strip("-")
    digits = hashlib.sha256(nodeid.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{label or 'drill'}-{digits}.jsonl"


def prepare_folder(source: str, folder: Path) -> None:
    """Make the folder that traces are to be written to, and find out whether they can be.

    Args:
        source: the option or ini key that asks for it.
        folder: which.

    Raises:
        pytest.UsageError: they can't.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # What permissions say and what a file system takes differ: try.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise pytest.UsageError(
            f"{source}: can't write traces to {folder}: {_why(error)}; name a folder, which need "
            "not be there yet"
        ) from None


def _why(error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a file is in the way"
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]
