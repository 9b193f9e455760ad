"""Calling what a drill hands in: asynchronous functions as they are, plain ones in threads."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Result = TypeVar("_Result")


class DaemonThreads(Executor):
    """A thread for each call, which nobody waits for: one that hangs holds up no end of a run.

    The threads of asyncio's own executor are joined when a loop is closed, and those of every pool
    when the interpreter ends; a client that waits for a dead server would hang both.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._alive = 0

    @property
    def alive(self) -> int:
        """Calls that have not returned, those that were given up among them."""
        return self._alive

    def submit(self, fn: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> Future[_Result]:
        """Call a function in a thread of its own."""
        future: Future[_Result] = Future()
        future.set_running_or_notify_cancel()  # too late to be cancelled
        with self._lock:
            self._alive += 1
        thread = threading.Thread(
            target=self._run,
            args=(future, functools.partial(fn, *args, **kwargs)),
            name=self._name,
            daemon=True,
        )
        thread.start()
        return future

    def _run(self, future: Future[_Result], call: Callable[[], _Result]) -> None:
        result: Any = None
        problem: BaseException | None = None
        try:
            result = call()
        except StopIteration as error:  # which asyncio's futures can't hold
            problem = RuntimeError("a function that was called raised StopIteration")
            problem.__cause__ = error
        except BaseException as error:  # noqa: BLE001 - whoever awaits the future gets it
            problem = error
        with self._lock:
            self._alive -= 1
        if problem is None:
            future.set_result(result)
        else:
            future.set_exception(problem)


async def call(threads: DaemonThreads, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function, plain or asynchronous, and await what there is to await.

    A plain one runs in a thread of its own, with the caller's context; in virtual time, whose loop
    has no threads, in this one. What such a thread does when its caller has given up is lost.
    """
    if is_async(function):
        return await function(*args)
    context = contextvars.copy_context()
    started = functools.partial(context.run, function, *args)
    outcome = await asyncio.get_running_loop().run_in_executor(threads, started)
    # Such as of a lambda around an asynchronous function.
    return await outcome if inspect.isawaitable(outcome) else outcome


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling this gives a coroutine."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - looked at, not asked for
    )
