"""``--dr-repeat``: each drill several times, as parameters of one test."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from pytest_drdrill.session.markers import MARKERS, is_drill
from pytest_drdrill.session.virtual import asks_for_simulation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_drdrill.evidence.types import RepeatRecord

FIXTURE = "_dr_repeat"
_RUN_SUFFIX = r"(?s)(.*)(?:\[run([0-9]+)\]|-run([0-9]+)\])"


class Repeater:
    """Parametrizes drills; live ones, and unittest methods, which take no parameters, run once.

    A mark on a single parameter is known only when the items are there: what it makes a live drill,
    or leaves an ordinary test, is taken out again by the selection (see ``is_surplus``).

    Args:
        runs: how often.
        simulated_only: whether to leave all but simulated drills alone.
    """

    def __init__(self, runs: int, *, simulated_only: bool) -> None:
        self._runs = range(1, runs + 1)
        self._simulated_only = simulated_only

    @pytest.hookimpl(trylast=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Add the run's number as the last parameter."""
        definition = metafunc.definition
        if definition.get_closest_marker("dr_live") is not None:
            return
        if not is_drill(definition) and not _marks_a_parameter(definition):
            return
        if self._simulated_only and not asks_for_simulation(definition):
            return
        metafunc.fixturenames.append(FIXTURE)
        ids = [f"run{run}" for run in self._runs]
        metafunc.parametrize(FIXTURE, self._runs, indirect=True, ids=ids)


def _marks_a_parameter(definition: pytest.Item) -> bool:
    """Whether a single parameter of a test carries one of our markers."""
    return any(
        mark.name in MARKERS
        for parametrize in definition.iter_markers("parametrize")
        for values in [*parametrize.args[1:2], *filter(None, [parametrize.kwargs.get("argvalues")])]
        if isinstance(values, list | tuple)  # a generator can be read only once
        for value in values
        for mark in getattr(value, "marks", ())
    )


def run_of_repeat(item: pytest.Item) -> int | None:
    """Which run of ``--dr-repeat`` an item is, counted from 1; None where it is not repeated."""
    run: int | None = getattr(getattr(item, "callspec", None), "params", {}).get(FIXTURE)
    return run


def is_surplus(item: pytest.Item, *, repeats: bool) -> bool:
    """Whether an item is a further run of what is not to be repeated."""
    run = run_of_repeat(item)
    return not repeats and run is not None and run > 1


def repeat_of(item: pytest.Item, of: int) -> RepeatRecord | None:
    """Which run of ``--dr-repeat`` an item is; None for one that is not repeated."""
    run = run_of_repeat(item)
    return None if run is None else {"base": base_of(item), "index": run, "of": of}


def base_of(item: pytest.Item) -> str:
    """An item's id without the number of its run: what its author wrote."""
    # Our parameter is the last one, unless a plugin adds another: then the id stands for itself.
    repeated = run_of_repeat(item) is not None
    match = re.fullmatch(_RUN_SUFFIX, item.nodeid) if repeated else None
    if match is None:
        return item.nodeid
    return match[1] if match[2] else f"{match[1]}]"


def count_tests(items: Iterable[pytest.Item]) -> int:
    """How many tests these items are, the runs of one counted once."""
    return len({base_of(item) for item in items})
