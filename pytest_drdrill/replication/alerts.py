"""Telling whoever is on call, in order, without the replication waiting for it."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_drdrill.replication.events import ReplicationAlert

    AlertCallback: TypeAlias = Callable[[ReplicationAlert], object]


class Alerts:
    """Calls every callback with every alert, one after the other.

    Args:
        failed: told what went wrong with a callback.
    """

    def __init__(self, failed: Callable[[str], None]) -> None:
        self._failed = failed
        self._callbacks: list[AlertCallback] = []
        self._queue: asyncio.Queue[ReplicationAlert] = asyncio.Queue()

    def add(self, callback: AlertCallback) -> None:
        """Have a callback told from now on."""
        self._callbacks.append(callback)

    def begin(self) -> None:
        """Forget what was not told, in a new event loop."""
        self._queue = asyncio.Queue()

    def tell(self, alert: ReplicationAlert) -> None:
        """Queue an alert."""
        self._queue.put_nowait(alert)

    async def tell_forever(self) -> None:
        """Tell each queued alert to each callback, until cancelled."""
        while True:
            alert = await self._queue.get()
            for callback in tuple(self._callbacks):
                try:
                    outcome = callback(alert)
                    if inspect.isawaitable(outcome):
                        await outcome
                except Exception as error:  # noqa: BLE001 - observers must not stop one another
                    name = getattr(callback, "__qualname__", None) or repr(callback)
                    self._failed(f"{name} raised {error!r}")
            self._queue.task_done()
