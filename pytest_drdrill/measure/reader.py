"""Beside a canary's writes: a key is read back again and again, as readers of the system do."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_drdrill.measure.calls import is_async
from pytest_drdrill.measure.client_watch import ClientOutages
from pytest_drdrill.measure.read_back import as_text
from pytest_drdrill.measure.write_stream import WriteStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.measure.canary_settings import CanarySettings
    from pytest_drdrill.measure.write_stream import Ended


class Reader:
    """Reads, at the rate of the writes, the key whose write was acknowledged last.

    A read that raises or gives no answer in time has failed. One that finds nothing was served, if
    by a copy that lags; one that finds another value than was written has found corruption.

    Args:
        settings: of the canary.
        read: called with a key; gives its value, or None where there is none.
        clock: where its time comes from.
        written: what the canary writes.
        tell: told when reads begin to fail, or are served again: what, and the detail.

    Attributes:
        outages: as readers see them.
        missing: how many reads found nothing.
        misread: keys that were read with another value than was written.
    """

    def __init__(
        self,
        settings: CanarySettings,
        read: Callable[[str], Any],
        clock: Clock,
        written: WriteStream,
        tell: Callable[[str, str], object],
    ) -> None:
        self._read = read
        self._written = written
        self._keys: dict[str, str] = {}
        self.outages = ClientOutages("reads fail", "reads are served again", tell)
        self.missing = 0
        self.misread: dict[str, None] = {}
        asked = replace(
            settings,
            name=f"{settings.name} reader",
            write=self._ask_in_loop if is_async(read) else self._ask,
        )
        self.stream = WriteStream(
            asked,
            clock,
            "",
            on_sent=self._sent,
            on_ended=self._ended,
            on_stood_still=self.outages.stood_still,
        )

    @property
    def failed(self) -> int:
        """How many reads failed."""
        return len(self.stream.failed) + len(self.stream.indeterminate)

    @property
    def served(self) -> int:
        """How many reads were served."""
        return len(self.stream.acknowledged)

    async def wait_until_served(self, deadline: float) -> None:
        """Wait until reads are served again, at most to a moment of the clock."""
        if (latest := self.outages.latest) is not None:
            await self.stream.wait_until(lambda: latest.view.is_back, lambda: deadline)

    # What it asks, each time under a number.

    async def _ask_in_loop(self, number: str, _: str) -> bool:
        return self._compare(number, await self._read(self._keys[number]))

    def _ask(self, number: str, _: str) -> Any:
        found = self._read(self._keys[number])
        if inspect.isawaitable(found):  # such as of a lambda around an asynchronous function
            return self._compare_later(number, found)
        return self._compare(number, found)

    async def _compare_later(self, number: str, found: Any) -> bool:
        return self._compare(number, await found)

    def _compare(self, number: str, found: object) -> bool:
        key = self._keys[number]
        if found is None:
            self.missing += 1
        elif as_text(found) != self._written.value_of(key):
            self.misread[key] = None
        return True

    # What it is told.

    def _sent(self, number: int, at: float) -> None:
        self._keys[str(number)] = next(reversed(self._written.acknowledged))
        self.outages.sent(number, at)

    def _ended(self, ended: Ended) -> None:
        del self._keys[str(ended.number)]
        self.outages.ended(ended)
