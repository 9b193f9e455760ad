"""How regions reach each other: the seam through which a world gives them distance and trouble."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from pytest_drdrill.durations import format_seconds

if TYPE_CHECKING:
    from pytest_drdrill.clock import Clock


class Network(Protocol):
    """What lies between the regions, and between them and everybody else.

    A place is a region's name; None is outside of all of them, where most clients are, and who
    promotes. A message from a place to itself arrives wherever that place is alive.
    """

    async def carry(self, source: str | None, target: str | None, *, changes: bool = False) -> None:
        """Let one message pass; returns when it has arrived.

        One that is lost without a sign never returns: whoever sent it has only his own patience.

        Args:
            source: where it comes from.
            target: where it goes.
            changes: whether it brings changes, which may take longer than a question, an answer
                or an order.

        Raises:
            ConnectionError: it can't pass, or was lost on its way.
        """
        ...


class MessageLostError(ConnectionError):
    """Nothing was heard for too long: a message, or the answer to it, may have arrived or not."""


class PatientNetwork:
    """A network of which nobody waits for ever; a ``Network``.

    Changes take as long as they take: how long is too long for them, only their sender can tell.

    Args:
        network: what carries the messages.
        clock: the clock.
        patience: seconds after which a message that has not arrived counts as lost.
    """

    __slots__ = ("_clock", "_network", "_patience")

    def __init__(self, network: Network, clock: Clock, patience: float) -> None:
        self._network = network
        self._clock = clock
        self._patience = patience

    async def carry(self, source: str | None, target: str | None, *, changes: bool = False) -> None:
        """Let one message pass; returns when it has arrived.

        Raises:
            ConnectionError: it can't pass, or was lost on its way.
            MessageLostError: nothing was heard of it for too long.
        """
        if changes:
            await self._network.carry(source, target, changes=True)
            return
        try:
            async with self._clock.timeout(self._patience):
                await self._network.carry(source, target)
        except TimeoutError:
            waited = format_seconds(self._patience)
            raise MessageLostError(f"nothing was heard for {waited}") from None


class LocalNetwork:
    """Regions of one process: every message arrives, at once; a ``Network``."""

    __slots__ = ()

    async def carry(
        self,
        source: str | None,  # noqa: ARG002 - one place is as near as another
        target: str | None,  # noqa: ARG002 - likewise
        *,
        changes: bool = False,  # noqa: ARG002 - and all messages alike
    ) -> None:
        """Returns at once, and lets others go on meanwhile."""
        await asyncio.sleep(0)
