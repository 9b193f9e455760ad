"""Drills under ``@given``: each example is judged by itself, inside, so that it shrinks."""

from __future__ import annotations

import functools
import inspect
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from pytest_drdrill.session.run import DrillRun


def judge_examples(item: pytest.Item, run: DrillRun) -> Callable[[], None] | None:
    """Give every example of a ``@given`` drill a fresh clock and ledger, and judge it.

    What then stands as measured is the worst example, or the smallest failing one, which Hypothesis
    runs last.

    Returns:
        What undoes it, to be called when the body has ended; None for any other drill.
    """
    handle = getattr(getattr(item, "obj", None), "hypothesis", None)
    inner = getattr(handle, "inner_test", None)
    if handle is None or inner is None:
        return None
    # The handle is shared by all parameters of the test.
    handle.inner_test = _judged(inner, run)

    def undo() -> None:
        handle.inner_test = inner

    return undo


def _judged(inner: Callable[..., Any], run: DrillRun) -> Callable[..., Any]:
    @contextmanager
    def example() -> Iterator[None]:
        try:
            with run.example():
                yield
        except BaseException as error:
            # With its own exceptions Hypothesis rejects an example, which then never was one.
            if not type(error).__module__.startswith("hypothesis"):
                run.keep_last()
            raise
        if (verdict := run.verdict()) is not None:
            run.keep_last(verdict)
            raise verdict
        run.keep_worst()

    if inspect.iscoroutinefunction(inner):

        @functools.wraps(inner)
        async def judged_async(*args: Any, **kwargs: Any) -> None:
            __tracebackhide__ = True
            with example():
                await inner(*args, **kwargs)

        return judged_async

    @functools.wraps(inner)
    def judged(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        with example():
            inner(*args, **kwargs)

    return judged
