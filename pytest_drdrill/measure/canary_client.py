"""What a canary writes through: a client of one system, and how it is closed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.measure.calls import DaemonThreads, call
from pytest_drdrill.text import one_line, shown, storable

if TYPE_CHECKING:
    from pytest_drdrill.clock import Clock


@runtime_checkable
class CanaryClient(Protocol):
    """A client of one system, for ``canary(client)``; its methods are plain or asynchronous.

    It belongs to one canary and the loop that this runs in, and connects when it is first used: a
    system that is down then is one that does not acknowledge, and no error of making the client.

    What ``write`` raises says how it ended. An exception whose attribute ``leaves_open`` is true
    leaves that open: the request may have been carried out, and its answer was lost. So do the
    classes of ``canary(indeterminate=...)``. Any other says that it was refused. No message may
    hold a secret: all of them end up in the evidence.

    Two attributes are optional. ``read``, a function of a key, is what ``canary(client,
    read=client.read)`` reads through the disaster with; it gives None where there is nothing.
    ``targets`` is a sequence of texts, the ``host:port`` of each system that is written to.
    """

    def write(self, key: str, value: str, /) -> Any:
        """Write; returns when the system has confirmed it, False says that it refused."""
        ...

    def read_all(self) -> Any:
        """A mapping of keys to values, or pairs of both, the canary's among them."""
        ...

    def close(self) -> Any:
        """Let go of all connections; also called where none was ever made, or all are dead."""
        ...


def functions_of(
    client: CanaryClient | None, write: object, read_all: object
) -> tuple[object, object]:
    """What a canary calls: of its client, or as given one by one.

    Raises:
        TypeError: both were given, or what is no client.
    """
    __tracebackhide__ = True
    if client is None:
        return write, read_all
    if write is not None or read_all is not None:
        raise TypeError("canary(...) takes a client, or write= and read_all=, not both")
    if isinstance(client, type) or not isinstance(client, CanaryClient):
        raise TypeError(
            f"canary({shown(client)}) takes a client with write, read_all and close; functions go "
            "in by name: canary(write=..., read_all=...)"
        )
    return client.write, client.read_all


async def close(client: CanaryClient, clock: Clock, seconds: float) -> str:
    """Close a client, for as long as that may take.

    Returns:
        Why it could not be closed, as with a system that does not answer; empty where it could.
    """
    try:
        async with clock.timeout(seconds) as limit:
            await call(DaemonThreads("close the canary's client"), client.close)
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 - of a client of whatever kind, of a dead system
        if limit.expired():
            return f"no answer within {format_seconds(seconds)}"
        return one_line(f"{type(error).__name__}: {storable(error)}")
    return ""
