"""Runs coroutines on a virtual loop, as ``asyncio.Runner`` does, for a tenth of what that takes."""

from __future__ import annotations

import asyncio
import contextvars
import threading

# The module ``signal`` turns each handler into text, to find that it is none of its constants.
from _signal import (  # type: ignore[import-not-found]
    SIGINT,
    default_int_handler,
    getsignal,
    signal,
)
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import FrameType

    from pytest_drdrill.simulation.loop import VirtualLoop

_Result = TypeVar("_Result")


class VirtualRunner:
    """Runs one coroutine after the other in one context, and ends what they leave running.

    The first Ctrl-C cancels the coroutine, so that it can undo what it has done.

    Args:
        loop: the loop.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._context: contextvars.Context | None = None

    def run(self, main: Coroutine[Any, Any, _Result]) -> _Result:
        """Run a coroutine; returns its result.

        Raises:
            KeyboardInterrupt: it was interrupted.
        """
        if self._context is None:  # what the first one sees, and all others see what it makes of it
            self._context = contextvars.copy_context()
        task = self._loop.create_task(main, context=self._context)
        interrupts = 0

        def interrupt(_signal: int, _frame: FrameType | None) -> None:
            nonlocal interrupts
            interrupts += 1
            if interrupts > 1 or task.done():
                raise KeyboardInterrupt
            task.cancel()

        undo = _handle_interrupt(interrupt)
        try:
            return self._loop.run_until_complete(task)
        except asyncio.CancelledError:
            if interrupts and task.uncancel() == 0:
                raise KeyboardInterrupt from None
            raise
        finally:
            undo()

    def close(self) -> None:
        """Cancel what is left running, in the order in which it was begun, and wait for its end."""
        loop = self._loop
        if loop.is_closed():
            return
        tasks = sorted(asyncio.all_tasks(loop), key=lambda each: getattr(each, "number", 0))
        if tasks:
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                message = "a task failed while the simulation was closed"
                loop.call_exception_handler({"message": message, "exception": error, "task": task})
        if loop.has_asyncgens:
            loop.run_until_complete(loop.shutdown_asyncgens())


def _handle_interrupt(handler: Callable[[int, FrameType | None], None]) -> Callable[[], None]:
    """Have a function called on Ctrl-C, where nobody else handles that; returns what undoes it."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or getsignal(SIGINT) is not default_int_handler:
        return lambda: None
    try:
        signal(SIGINT, handler)
    except ValueError:  # an interpreter within another program, without signals of its own
        return lambda: None

    def undo() -> None:
        if getsignal(SIGINT) is handler:
            signal(SIGINT, default_int_handler)

    return undo
