"""Network namespaces, held by a descriptor: no name that could stay, gone with who holds them."""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NEW_NETWORK = 0x40000000
_OF_THIS_THREAD = "/proc/thread-self/ns/net"

_Result = TypeVar("_Result")


class Namespace:
    """One network namespace: links, addresses, routes and sockets of its own.

    The kernel drops it, and every link in it, when its descriptor is closed, as where this process
    is killed, and nothing runs within it.

    Args:
        descriptor: of it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def new(cls) -> Namespace:
        """A new one, with nothing in it but a loopback that is down.

        Raises:
            OSError: the kernel refuses, or has none.
        """

        def make() -> Namespace:
            _call("unshare", _NEW_NETWORK)
            return cls.current()

        return _in_a_thread(make)  # which alone is moved into it

    @classmethod
    def current(cls) -> Namespace:
        """The one that the calling thread is in."""
        return cls(os.open(_OF_THIS_THREAD, os.O_RDONLY | os.O_CLOEXEC))

    @property
    def path(self) -> str:
        """Where other programs find it, for as long as it is held."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is within it until the end of the block."""
        before = Namespace.current()
        try:
            self._enter()
            yield
        finally:
            before._enter()  # noqa: SLF001 - of the same class
            before.close()

    def run(self, function: Callable[[], _Result]) -> _Result:
        """Call a function in a thread of its own that is within it, and wait for the result."""

        def call() -> _Result:
            self._enter()
            return function()

        return _in_a_thread(call)

    def close(self) -> None:
        """Hold it no longer; again, nothing happens."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _enter(self) -> None:
        _call("setns", self._descriptor, _NEW_NETWORK)


def _in_a_thread(function: Callable[[], _Result]) -> _Result:
    results: list[_Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - raised below, where it was asked for
            errors.append(error)

    thread = threading.Thread(target=run, name="drdrill-network")
    thread.start()
    try:
        thread.join()
    except BaseException:
        thread.join()  # it is quick, and whoever undoes what it does must not meet it at work
        raise
    if errors:
        raise errors[0]
    return results[0]


def _call(name: str, *numbers: int) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*numbers) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
