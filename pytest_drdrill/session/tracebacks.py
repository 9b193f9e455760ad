"""Where a failing drill points: at its own line, not at what it called of this package."""

from __future__ import annotations

import sys
from typing import Any

import pytest

_PACKAGE = __name__.partition(".")[0]
_PLUMBING = {_PACKAGE, "_pytest", "pluggy", "pytest_asyncio", "contextlib", "asyncio"}
"""Packages whose frames lie between pytest and a fixture of ours."""
_USAGE = (TypeError, ValueError)
"""What the package raises of Python's own for an argument that it can't take."""


_SHOWS_HIDDEN_GROUPS = pytest.version_tuple >= (9, 0, 3)
"""Before that, pytest breaks off at an exception group of which no frame is left to show."""


def hide_our_frames() -> None:
    """Have pytest leave this package's frames out of what it shows of a deliberate error.

    Of any other error they stay: then the fault is ours. ``--full-trace`` shows them always.
    """
    for name, module in tuple(sys.modules.items()):
        if name.partition(".")[0] == _PACKAGE:
            # pytest looks for this name in a frame's locals and globals.
            vars(module).setdefault("__tracebackhide__", _is_deliberate)


def _is_deliberate(shown: Any) -> bool:
    error = shown.value
    if isinstance(error, BaseExceptionGroup) and not _SHOWS_HIDDEN_GROUPS:
        return False
    return isinstance(error, _USAGE) or any(
        kind.__module__.partition(".")[0] == _PACKAGE for kind in type(error).__mro__
    )


def tell_alone(report: pytest.TestReport, item: pytest.Item, found: Any) -> None:
    """Show a deliberate error of a fixture of this package by its text alone, at the drill.

    Nothing else is left to show: no line of whoever wrote the drill called what raised it.

    Args:
        report: of the set-up, or the undo, that failed.
        item: the drill.
        found: pytest's own view of the error.
    """
    if item.config.getoption("fulltrace") or not _is_deliberate(found):
        return
    if any(_package_of(entry) not in _PLUMBING for entry in found.traceback):
        return
    shown = found.getrepr(style="value", chain=False)
    path, line, _ = item.reportinfo()
    shown.reprcrash.path, shown.reprcrash.lineno = str(path), (line or 0) + 1
    report.longrepr = shown


def _package_of(entry: Any) -> str:
    return str(entry.frame.f_globals.get("__name__", "")).partition(".")[0]
