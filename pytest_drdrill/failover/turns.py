"""Taking turns: of thousands of checks that are due at once, a few begin in each turn of the loop.

All at once they would write thousands of requests before the first answer is read, and each would
lose the time of all the others from its own timeout.
"""

from __future__ import annotations

import asyncio
from collections import deque

_IN_EACH_TURN = 32


class Turnstile:
    """Lets a few through in each turn of the running event loop; the others wait in order.

    It knows nothing of how long anything takes, so nobody who is slow keeps others waiting: between
    two turns the loop has served all that is ready, and the next ones may come.

    Args:
        in_each_turn: how many.
    """

    __slots__ = ("_in_each_turn", "_left", "_queue", "_turning")

    def __init__(self, in_each_turn: int = _IN_EACH_TURN) -> None:
        self._in_each_turn = in_each_turn
        self._left = in_each_turn
        self._queue: deque[asyncio.Future[None]] = deque()
        self._turning = False

    async def come_through(self) -> None:
        """Wait for the turn, which is at once where few are about."""
        loop = asyncio.get_running_loop()
        if not self._turning:
            self._turning = True
            loop.call_soon(self._turn, loop)
        if self._left and not self._queue:
            self._left -= 1
            return
        admitted = loop.create_future()
        self._queue.append(admitted)
        await admitted

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._left = self._in_each_turn
        while self._left and self._queue:
            admitted = self._queue.popleft()
            if not admitted.done():  # who waited for it may be gone
                admitted.set_result(None)
                self._left -= 1
        self._turning = self._left < self._in_each_turn
        if self._turning:
            loop.call_soon(self._turn, loop)
