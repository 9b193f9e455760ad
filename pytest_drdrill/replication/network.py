"""How regions reach each other: the seam through which a world gives them distance and trouble."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Network(Protocol):
    """What lies between the regions, and between them and everybody else.

    A place is a region's name; None is outside of all of them, where most clients are, and who
    promotes. A message from a place to itself arrives wherever that place is alive.
    """

    async def carry(self, source: str | None, target: str | None, *, changes: bool = False) -> None:
        """Let one message pass; returns when it has arrived.

        Args:
            source: where it comes from.
            target: where it goes.
            changes: whether it brings changes, which may take longer than a question, an answer
                or an order.

        Raises:
            ConnectionError: it can't pass, or was lost on its way.
        """
        ...


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
