"""Telling observers which endpoint is active now, in order, without waiting for them."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, TypeAlias

from pytest_drdrill.durations import format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.failover.endpoint import ServiceEndpoint

    FailoverCallback: TypeAlias = Callable[[ServiceEndpoint | None, ServiceEndpoint | None], object]
    RotationCallback: TypeAlias = Callable[
        [tuple[ServiceEndpoint, ...], tuple[ServiceEndpoint, ...]], object
    ]
    Move: TypeAlias = tuple[object, object]


class Announcer:
    """Calls every callback with every move, one after the other.

    Args:
        failed: told what went wrong with a callback, and during which move.
        clock: the clock.
    """

    def __init__(self, failed: Callable[[str, Move], None], clock: Clock) -> None:
        self._failed = failed
        self._clock = clock
        self._callbacks: list[Callable[..., object]] = []
        self._moves: asyncio.Queue[Move] = asyncio.Queue()

    def add(self, callback: Callable[..., object]) -> None:
        """Have a callback told of all moves from now on."""
        self._callbacks.append(callback)

    def begin(self) -> None:
        """Forget what was not told, in a new event loop."""
        self._moves = asyncio.Queue()

    def announce(self, move: Move) -> None:
        """Queue a move."""
        self._moves.put_nowait(move)

    async def tell_forever(self) -> None:
        """Tell each queued move to each callback, until cancelled."""
        while True:
            move = await self._moves.get()
            for callback in tuple(self._callbacks):
                try:
                    outcome = callback(*move)
                    if inspect.isawaitable(outcome):
                        await outcome
                except Exception as error:  # noqa: BLE001 - observers must not stop one another
                    self._failed(f"{_name(callback)} raised {error!r}", move)
                except asyncio.CancelledError:
                    self._failed(f"{_name(callback)} was cancelled while it ran", move)
                    task = asyncio.current_task()
                    if task is None or task.cancelling():
                        raise
            self._moves.task_done()

    async def told(self, patience: float) -> None:
        """Wait until all is told, for so many seconds at most."""
        try:
            async with self._clock.timeout(patience):
                await self._moves.join()
        except TimeoutError:
            left = self._moves.qsize()
            if left:
                reason = f"{left} moves were not told within {format_seconds(patience)}"
                self._failed(reason, (None, None))


def _name(callback: Callable[..., object]) -> str:
    return getattr(callback, "__qualname__", None) or repr(callback)
