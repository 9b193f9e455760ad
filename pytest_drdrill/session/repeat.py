"""``--dr-repeat``: each drill several times, as parameters of one test."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from pytest_drdrill.session.markers import is_drill

if TYPE_CHECKING:
    from pytest_drdrill.evidence.types import RepeatRecord

FIXTURE = "_dr_repeat"
_RUN_SUFFIX = re.compile(r"(.*)(?:\[run([0-9]+)\]|-run([0-9]+)\])", re.DOTALL)


class Repeater:
    """Parametrizes drills; live ones, and unittest methods, which take no parameters, run once."""

    def __init__(self, runs: int) -> None:
        self._runs = range(1, runs + 1)

    @pytest.hookimpl(trylast=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Add the run's number as the last parameter."""
        definition = metafunc.definition
        if not is_drill(definition) or definition.get_closest_marker("dr_live") is not None:
            return
        metafunc.fixturenames.append(FIXTURE)
        ids = [f"run{run}" for run in self._runs]
        metafunc.parametrize(FIXTURE, self._runs, indirect=True, ids=ids)


def repeat_of(item: pytest.Item, of: int) -> RepeatRecord | None:
    """Which run of ``--dr-repeat`` an item is; None for one that is not repeated."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    if FIXTURE not in params:
        return None
    # Our parameter is the last one, unless a plugin adds another: then the id stands for itself.
    match = _RUN_SUFFIX.fullmatch(item.nodeid)
    base = item.nodeid
    if match is not None:
        base = match[1] if match[2] else f"{match[1]}]"
    return {"base": base, "index": params[FIXTURE], "of": of}
