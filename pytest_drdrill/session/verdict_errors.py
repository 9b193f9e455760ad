"""What is raised for a broken promise: it shows its own text alone, without a traceback."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_drdrill.measure import DrillFailure


def is_verdict(error: BaseException | None) -> bool:
    """Whether this is what ``verdict`` made of a breach."""
    return isinstance(error, DrillFailure) and isinstance(error, pytest.fail.Exception)


def show_notes(error: Any) -> None:
    """Into the text of a verdict, shown without its traceback, what was noted on it."""
    if is_verdict(error):
        error.msg = "\n".join([error.msg or "", *getattr(error, "__notes__", ())])


_SHOWN: dict[type[DrillFailure], Any] = {}


def shown_alone(breach: DrillFailure, text: str) -> BaseException:
    """An error of a breach's class, of which pytest shows this text and nothing else."""
    kind = type(breach)
    shown = _SHOWN.get(kind)
    if shown is None:
        # pytest.fail's own class is what makes pytest print a text without a traceback; the module
        # is the one whose name tracebacks and summaries leave out.
        bases = (kind, pytest.fail.Exception)
        shown = _SHOWN[kind] = type(kind.__name__, bases, {"__module__": "builtins"})
    error: BaseException = shown(text, target=breach.target, actual=breach.actual)
    error.msg, error.pytrace = text, False  # type: ignore[attr-defined] # of pytest.fail.Exception
    return error
