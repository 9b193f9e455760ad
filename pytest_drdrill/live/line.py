"""One direction of a proxy: what everything that travels in it meets."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    import random

    from pytest_drdrill.live.way import Way

LONG_WINDOW = 4 << 20
"""Bytes of one connection that are under way on a line with latency, as a TCP window would have it:
the memory that it costs is bounded."""
_SHORT_WINDOW = 256 << 10
"""Likewise on one that is merely narrow, where more would only be a longer queue."""
_SLICES_A_SECOND = 100
_LARGEST_SLICE = 64 << 10


@dataclass(frozen=True, slots=True)
class Condition:
    """What one fault does to a line.

    Attributes:
        delay: seconds that everything takes.
        jitter: seconds by which that is more or less, at most.
        rate: bytes a second that pass, of all connections together; None: any number.
        cut: whether nothing passes.
    """

    delay: float = 0.0
    jitter: float = 0.0
    rate: float | None = None
    cut: bool = False


class Line:
    """One direction, shared by all connections; each of them has a way along it.

    Latencies add up, the smallest bandwidth decides, and one cut is enough, so faults can come and
    go in any order.

    Attributes:
        cut: whether nothing passes now.
        is_plain: whether nothing is the matter with it.
        rate: bytes a second that pass, or None.
        ways: of the open connections.
        window: bytes that may be under way on each.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._conditions: dict[object, Condition] = {}
        self._delays: list[tuple[float, float]] = []
        self._waiting: deque[Way] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._free_at = 0.0
        self.ways: set[Way] = set()
        self._sum_up()

    def tell(self, fault: object, condition: Condition) -> None:
        """A condition holds from now on, for what is under way too."""
        self._conditions[fault] = condition
        self._changed()

    def lift(self, fault: object) -> None:
        """It does so no longer; nothing happens a second time."""
        if self._conditions.pop(fault, None) is not None:
            self._changed()

    def draw(self, chance: random.Random) -> float:
        """Seconds that something takes which sets out now."""
        takes = 0.0
        for delay, jitter in self._delays:
            takes += delay
            if jitter:
                takes += chance.uniform(-jitter, jitter)
        return takes

    def _changed(self) -> None:
        self._sum_up()
        self._rest()
        for way in tuple(self.ways):
            way.replan()

    def _sum_up(self) -> None:
        told = self._conditions.values()
        self._delays = [(each.delay, each.jitter) for each in told if each.delay]
        rates = [each.rate for each in told if each.rate is not None]
        self.rate = min(rates, default=None)
        self.cut = any(each.cut for each in told)
        self.is_plain = not told
        self.window = LONG_WINDOW if self._delays else _SHORT_WINDOW

    # What the bandwidth allows: the ways that have something take turns, a slice each.

    def join(self, way: Way) -> None:
        """A way has something that is due; it is delivered in its turn."""
        if way.waits:
            return
        way.waits = True
        if not self._waiting:  # the line was idle, which earns nothing
            self._free_at = max(self._free_at, self._loop.time())
        self._waiting.append(way)
        if self._timer is None:
            self._take_turns()

    def _take_turns(self) -> None:
        self._timer = None
        if self.rate is None:
            return
        slice_size = min(max(int(self.rate / _SLICES_A_SECOND), 1), _LARGEST_SLICE)
        while self._waiting:
            way = self._waiting[0]
            size = min(way.deliverable(), slice_size)
            if not size:
                self._waiting.popleft().waits = False
                continue
            # It has arrived once its last byte has passed.
            passed_at = self._free_at + size / self.rate
            if passed_at > self._loop.time():
                self._timer = self._loop.call_at(passed_at, self._take_turns)
                return
            self._free_at = passed_at
            self._waiting.rotate(-1)
            way.deliver(size)

    def _rest(self) -> None:
        """Nobody waits any more; whoever still has something joins anew."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for way in self._waiting:
            way.waits = False
        self._waiting.clear()
        self._free_at = 0.0
