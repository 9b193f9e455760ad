"""One direction of one proxied connection: what was read at one end, until it is at the other."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    import random
    from collections.abc import Callable

    from pytest_drdrill.live.line import Line

END: Final = b""
"""What travels last where an end has nothing more to send, in its turn as any byte."""
_RESOLUTION_S = 1e-6


class _Parcel:
    """What was read at once."""

    __slots__ = ("data", "due", "sent")

    def __init__(self, sent: float, due: float, data: bytes | memoryview | None) -> None:
        self.sent = sent
        self.due = due
        self.data = data  # None: a reset


class Way:
    """One direction of one connection, in order, with bounded memory.

    While the line is cut, nothing is read: what its sender sends stays in the buffers of the
    kernel, until those are full and the sender waits. So data, ends and resets are late where a
    partition heals, and never lost, as TCP has it.

    Attributes:
        direct: whether what comes is delivered at once.
        waits: whether it waits for its turn on the line.
    """

    __slots__ = (
        "_chance",
        "_choked",
        "_ended",
        "_held",
        "_line",
        "_loop",
        "_on_end",
        "_on_reset",
        "_parcels",
        "_reads",
        "_source",
        "_swallows",
        "_target",
        "_timer",
        "direct",
        "waits",
    )

    def __init__(
        self,
        line: Line,
        loop: asyncio.AbstractEventLoop,
        chance: random.Random,
        ends: tuple[asyncio.Transport, asyncio.Transport],
        told: tuple[Callable[[Way], None], Callable[[], None]],
    ) -> None:
        self._line = line
        self._loop = loop
        self._chance = chance
        self._source, self._target = ends
        self._on_end, self._on_reset = told
        self._parcels: deque[_Parcel] = deque()
        self._held = 0
        self._timer: asyncio.TimerHandle | None = None
        self._choked = False
        self._ended = False
        self._swallows = False
        self._reads = False
        self.waits = False
        self.direct = False

    def start(self) -> None:
        """Both of its ends are ready."""
        self._line.ways.add(self)
        self._settle()

    def received(self, data: bytes) -> None:
        """Its source has sent something."""
        if self.direct:
            self._target.write(data)
        elif not self._swallows:
            self._held += len(data)
            self._set_out(data)

    def received_end(self) -> None:
        """Its source has nothing more to send."""
        self._ended = True
        if self._swallows:
            self._on_end(self)
        else:
            self._set_out(END)

    def received_reset(self) -> None:
        """Its source has broken off; what it had sent before arrives all the same."""
        self._ended = True
        if not self._swallows:
            self._set_out(None)

    def swallow(self) -> None:
        """Its target is gone: from now on all is read, and goes nowhere."""
        self._swallows = True
        self._parcels.clear()
        self._held = 0
        self._pump()

    def choke(self, *, choked: bool) -> None:
        """Its target takes nothing more for now, or does so again."""
        self._choked = choked
        self._pump()

    def close(self) -> None:
        """The connection is over."""
        self._ended = True
        self.swallow()
        self._line.ways.discard(self)

    def replan(self) -> None:
        """The line has changed; what is under way takes what it takes now."""
        for parcel in self._parcels:
            parcel.due = parcel.sent + self._line.draw(self._chance)
        self._pump()

    def deliverable(self) -> int:
        """Bytes that are due, and that its target would take."""
        if self._choked or not self._parcels:
            return 0
        first = self._parcels[0]
        if first.due > self._loop.time() + _RESOLUTION_S:
            return 0
        return len(first.data or b"")

    def deliver(self, size: int) -> None:
        """Its turn on the line has come: so many bytes of what is deliverable."""
        first = self._parcels[0]
        rest = memoryview(first.data or b"")
        self._held -= size
        if size < len(rest):
            first.data = rest[size:]
        else:
            self._parcels.popleft()
        self._target.write(rest[:size])
        self._pump()

    def _set_out(self, data: bytes | None) -> None:
        now = self._loop.time()
        self._parcels.append(_Parcel(now, now + self._line.draw(self._chance), data))
        if len(self._parcels) == 1:
            self._pump()
        else:  # nothing overtakes what is before it, be it due sooner
            self._settle()

    def _pump(self) -> None:
        """Deliver all that can be, and see to the rest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        parcels, line = self._parcels, self._line
        while parcels and not (self._choked or line.cut):
            first = parcels[0]
            if first.due > self._loop.time() + _RESOLUTION_S:
                self._timer = self._loop.call_at(first.due, self._pump)
                break
            if first.data and line.rate is not None:
                line.join(self)
                break
            parcels.popleft()
            self._arrive(first.data)
        self._settle()

    def _arrive(self, data: bytes | memoryview | None) -> None:
        if data is None:
            self._on_reset()
        elif data:
            self._held -= len(data)
            self._target.write(data)
        else:
            with suppress(OSError):  # it was reset a moment ago, and says so itself
                self._target.write_eof()
            self._on_end(self)

    def _settle(self) -> None:
        """Whether to read on, and whether all is as if there was no proxy."""
        line = self._line
        self.direct = line.is_plain and not (self._parcels or self._swallows)
        if self._ended:
            return
        reads = self._swallows or not (line.cut or self._choked or self._held > line.window)
        if reads is not self._reads:
            self._reads = reads
            if reads:
                self._source.resume_reading()
            else:
                self._source.pause_reading()
