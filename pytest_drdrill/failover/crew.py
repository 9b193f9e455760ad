"""Background tasks that end together, and whose failures are never lost."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pytest_drdrill.clock import Clock

_PATIENCE_S = 1.0


class CancelledFromOutsideError(RuntimeError):
    """A task that was to run until its crew is ended was cancelled by somebody else."""


class Crew:
    """Tasks of one event loop, each of which is meant to run until the crew is ended.

    Args:
        failed: told of every exception that ends a task, at once and also while the crew is being
            ended; a task that somebody else cancelled is a ``CancelledFromOutsideError``.
        clock: the clock.
    """

    def __init__(self, failed: Callable[[BaseException], None], clock: Clock) -> None:
        self._failed = failed
        self._clock = clock
        # A dict, for its order: that of a set of tasks differs from process to process.
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._ending = False

    def __contains__(self, task: object) -> bool:
        return task in self._tasks

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run a coroutine in the background."""
        task = asyncio.create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._ended)

    def cancel(self) -> None:
        """Ask every task to end, without waiting for it."""
        self._ending = True
        for task in tuple(self._tasks):
            task.cancel()

    async def end(self) -> None:
        """Cancel every task and wait until the last one is over."""
        self.cancel()
        while self._tasks:
            # Again and again: some code swallows a cancellation that meets its own timeout.
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(_PATIENCE_S):
                    await asyncio.wait(tuple(self._tasks))
            for task in tuple(self._tasks):
                task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if task.cancelled():
            if not self._ending:
                why = f"task {task.get_name()!r} was cancelled from outside"
                self._failed(CancelledFromOutsideError(why))
        elif (error := task.exception()) is not None:
            self._failed(error)
