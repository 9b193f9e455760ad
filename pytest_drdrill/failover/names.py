"""Look-ups of host names, in threads of their own; imported with aiohttp, by the HTTP prober."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp

from pytest_drdrill.measure.calls import DaemonThreads

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 64


class NameResolver(aiohttp.ThreadedResolver):
    """Asks the system, as every other program here does, for many names at once.

    The event loop's own threads, of which a small machine has six, would be taken by as many names
    that nobody answers for, and every other endpoint with a name would wait for those. Nothing ever
    waits for a look-up that was given up: neither the end of a loop nor that of the process.
    """

    def __init__(self) -> None:
        super().__init__(loop=_LookUps())  # type: ignore[arg-type] # all it asks for

    async def addresses(self, host: str) -> list[str]:
        """The addresses of a host, the best one first; an address is its own.

        Raises:
            OSError: it has none.
            UnicodeError: no name that could be looked up.
        """
        with suppress(ValueError):
            ipaddress.ip_address(host)
            return [host]
        found = await self.resolve(host, family=socket.AF_UNSPEC)
        return [each["host"] for each in found]


class _LookUps:
    """What a resolver asks an event loop for: so many at once, each in a thread of its own."""

    def __init__(self) -> None:
        self._threads = DaemonThreads("failover-names")
        self._free = asyncio.Semaphore(_MOST)

    async def getaddrinfo(self, host: str, port: int, **how: Any) -> Any:
        return await self._call(partial(socket.getaddrinfo, host, port, **how))

    async def getnameinfo(self, address: Any, flags: int) -> Any:
        return await self._call(partial(socket.getnameinfo, address, flags))

    async def _call(self, look_up: Callable[[], Any]) -> Any:
        await self._free.acquire()
        loop = asyncio.get_running_loop()

        def ended(_: object) -> None:
            with suppress(RuntimeError):  # its loop is closed, and nobody waits any more
                loop.call_soon_threadsafe(self._free.release)

        try:
            found = self._threads.submit(look_up)
        except RuntimeError:  # no thread can be started
            self._free.release()
            raise
        # With its thread, and not with who asked, who may have given it up.
        found.add_done_callback(ended)
        return await asyncio.wrap_future(found)
