"""Requests that were sent: they are under way whether or not their clients still wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

_Answer = TypeVar("_Answer")


class Sent:
    """What is under way to one endpoint; the end of its world ends it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()  # a loop would forget one that waits for ever

    async def send(self, request: Coroutine[Any, Any, _Answer]) -> _Answer:
        """Have a request taken, and wait for what comes of it; giving up leaves it under way.

        Raises:
            Exception: whatever the request ends in.
        """
        task = asyncio.get_running_loop().create_task(request)
        self._tasks.add(task)
        task.add_done_callback(self._taken)
        await asyncio.wait([task])  # which, given up, leaves it alone
        return task.result()

    def _taken(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # an answer too, and no error of the loop if nobody waits for it
