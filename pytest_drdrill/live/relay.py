"""What a proxy runs: a thread with an event loop, the door for clients, and their connections."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from concurrent.futures import Future
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

from pytest_drdrill.faults import FaultError
from pytest_drdrill.live.door import SHORTAGE, Door
from pytest_drdrill.live.line import Line
from pytest_drdrill.live.link import Link, break_off
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pytest_drdrill.live.host_port import HostPort

_T = TypeVar("_T")


class Relay:
    """Connections through a door of ours to a server, and what they meet on the way.

    Except for ``call``, ``stop`` and the counts, all is for its own thread alone.

    Args:
        target: the server.
        port: to listen on; 0: any that is free.
        seed: of the chance of its connections.

    Attributes:
        port: that it listens on.
        lines: to the server, and to the client.
        links: the open connections.
        accepted: how many there were so far.
        refusals: faults that have the door refuse.
        cuts: faults that have it fall silent.
        resets: faults that have new connections reset.

    Raises:
        FaultError: the server's name is unknown, or the port is taken.
    """

    def __init__(self, target: HostPort, port: int, seed: int) -> None:
        self._target = target
        self._seed = seed
        self._addresses = resolve(target)
        self._door = Door(port)
        self.port = self._door.port
        self.links: set[Link] = set()
        self.accepted = 0
        self.refusals: set[object] = set()
        self.cuts: set[object] = set()
        self.resets: set[object] = set()
        self._openings: dict[asyncio.Task[None], socket.socket] = {}
        self._all_over = asyncio.Event()
        self._failure: str | None = None
        self._loop = asyncio.SelectorEventLoop()
        self._loop.set_exception_handler(self._went_wrong)
        self.lines = (Line(self._loop), Line(self._loop))
        self._door.start(self._loop, self._welcome, self._ran_out)
        name = f"drdrill-proxy-{self.port}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        try:
            self.call(self.see_to_door)
        except BaseException:
            self.stop()
            raise

    def call(self, action: Callable[[], _T]) -> _T:
        """Have something done in the relay's thread, and wait until it is."""
        done: Future[_T] = Future()

        def act() -> None:
            try:
                done.set_result(action())
            except BaseException as error:  # noqa: BLE001 - raised where it was asked for
                done.set_exception(error)

        self._loop.call_soon_threadsafe(act)
        return done.result()

    def stop(self) -> None:
        """Break all connections off, and leave nothing behind; may be called again.

        Raises:
            FaultError: something had gone wrong that was no fault, so that what clients have seen
                is no evidence.
        """
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise FaultError(failure)

    def see_to_door(self) -> None:
        """The door is as the faults have it."""
        self._door.become("silent" if self.cuts else "refusing" if self.refusals else "open")

    def reset_all(self) -> int:
        """Break off every connection, half-made ones too; how many there were."""
        for opening, client in self._openings.items():
            break_off(client)
            opening.cancel()
        for link in tuple(self.links):
            link.reset()
        return len(self._openings) + len(self.links)

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    async def _end(self) -> None:
        self._door.close()
        openings = tuple(self._openings)
        self._all_over.clear()
        self.reset_all()
        await asyncio.gather(*openings, return_exceptions=True)
        if self.links:
            await self._all_over.wait()

    def _welcome(self, client: socket.socket) -> None:
        """A client has connected."""
        if self.resets:
            break_off(client)
            client.close()
            return
        self.accepted += 1
        opening = self._loop.create_task(self._open(client, self.accepted))
        self._openings[opening] = client
        opening.add_done_callback(self._opened)

    def _opened(self, opening: asyncio.Task[None]) -> None:
        client = self._openings.pop(opening)
        if opening.cancelled():  # before it had begun, perhaps, and so closed nothing
            client.close()

    async def _open(self, client: socket.socket, number: int) -> None:
        """Connect to the server on behalf of a client, from whom nothing is read before."""
        link = Link(f"{self._seed}/{number}", self._over)
        with ExitStack() as unless_open:
            unless_open.callback(client.close)
            server = await self._reach_server()
            if server is None:
                break_off(client)  # all that can be said of it: the client is connected by now
                return
            unless_open.callback(server.close)
            unless_open.callback(link.reset)
            # Neither of these waits for anything but the loop's next turn. Nothing is read before
            # there is somewhere to go with it; Python 3.11.2 would, if it was told so any sooner.
            await self._loop.create_connection(lambda: link.server, sock=server)
            link.server.transport.pause_reading()
            await self._loop.connect_accepted_socket(lambda: link.client, client)
            link.client.transport.pause_reading()
            unless_open.pop_all()
        self.links.add(link)
        link.begin(self._loop, self.lines)

    def _over(self, link: Link) -> None:
        self.links.discard(link)
        if not self.links:
            self._all_over.set()

    async def _reach_server(self) -> socket.socket | None:
        for family, address in self._addresses:
            with ExitStack() as unless_connected:
                try:
                    server = unless_connected.enter_context(socket.socket(family))
                    server.setblocking(False)
                    await self._loop.sock_connect(server, address)
                except OSError as error:
                    if error.errno in SHORTAGE:
                        self._ran_out(error)
                    continue
                unless_connected.pop_all()
                return server
        return None

    def _ran_out(self, error: OSError) -> None:
        limit = ""
        if error.errno == errno.EMFILE:
            import resource  # rare

            limit = f" (it may have {resource.getrlimit(resource.RLIMIT_NOFILE)[0]})"
        self._fail(f"ran short of what connections take: {error.strerror}{limit}")

    def _went_wrong(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError):  # which says that a connection broke
            self._fail(f"broke: {error!r}" if error else f"broke: {context['message']}")

    def _fail(self, why: str) -> None:
        self._failure = self._failure or (
            f"the proxy on port {self.port} to {self._target} {why}; what its clients saw since "
            "then is no evidence"
        )


def resolve(server: HostPort) -> list[tuple[int, Any]]:
    """The socket families and addresses of a server, in the order in which they are tried.

    Raises:
        FaultError: the name is unknown, or can't be looked up.
    """
    try:
        found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no valid name"
        raise FaultError(f"the host {shown(server.host)} can't be looked up: {reason}") from None
    return [(family, sockaddr) for family, _, _, _, sockaddr in found]
