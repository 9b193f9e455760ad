"""A virtual loop, its clock, and endpoints in memory: enough of a world for the manager's tests."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from datetime import UTC, datetime, timedelta

from pytest_drdrill.failover import FailoverManager, ProbeResult, ServiceEndpoint


class VirtualLoop(asyncio.BaseEventLoop):
    """Jumps to the next timer when nothing is ready; no socket, no thread, no real time."""

    def __init__(self):
        super().__init__()
        self._now = 0.0
        self._turns = 0
        self._selector = self
        self._clock_resolution = 1e-6

    def time(self):
        return self._now

    def call_later(self, delay, callback, *args, context=None):
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        timer = asyncio.TimerHandle(round(when, 6), callback, args, self, context)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        return timer

    def select(self, timeout):
        if timeout is None:
            raise AssertionError(f"waiting for nothing: {asyncio.all_tasks(self)}")
        self._turns = 0 if timeout else self._turns + 1
        assert self._turns < 10_000, "the loop spins without the clock moving"
        if timeout:
            self._now = self._scheduled[0]._when
        return ()

    def _process_events(self, events):
        pass

    def _write_to_self(self):
        raise AssertionError("a call from another thread")

    def run_in_executor(self, executor, function, *args):
        raise AssertionError("a thread was asked for")

    async def create_connection(self, *args, **kwargs):
        raise AssertionError("a socket was asked for")

    def close(self):
        self._selector = None
        super().close()


class VirtualClock:
    """The clock of a virtual loop."""

    def now(self):
        return datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=self.monotonic())

    def monotonic(self):
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds):
        await asyncio.sleep(seconds)

    def timeout(self, seconds):
        return asyncio.timeout(seconds)

    def block(self, seconds):
        raise AssertionError("nothing here may block")


class MemoryProber:
    """Endpoints that are ``up``, ``refused``, ``silent`` or ``broken``, or change as a function.

    ``fate[name]`` is one of those words, or a function of the number of the check and the time.
    """

    def __init__(self, latency=0.0, **fate):
        self.latency = latency
        self.fate = fate
        self.starts = []
        self.count = Counter()
        self.opened = 0
        self.closed = 0

    def starts_of(self, name):
        return [at for at, who in self.starts if who == name]

    async def open(self):
        self.opened += 1

    async def close(self):
        self.closed += 1

    async def probe(self, endpoint):
        loop = asyncio.get_running_loop()
        self.starts.append((loop.time(), endpoint.name))
        number = self.count[endpoint.name]
        self.count[endpoint.name] += 1
        if self.latency:
            await asyncio.sleep(self.latency)
        fate = self.fate.get(endpoint.name, "up")
        if callable(fate):
            fate = fate(number, loop.time())
        if fate == "silent":
            await loop.create_future()
        if fate == "refused":
            raise ConnectionRefusedError("connection refused")
        if fate == "broken":
            raise TypeError("this prober is broken")
        return ProbeResult(healthy=True)


def script(text):
    """A fate from letters, one a check: ``+`` up, ``-`` refused; the last one stays."""
    return lambda number, _: "up" if text[min(number, len(text) - 1)] == "+" else "refused"


def down_between(begin, end, how="refused"):
    """A fate that is down from a second to another."""
    return lambda _, now: how if begin <= now < end else "up"


def endpoint(name, **settings):
    return ServiceEndpoint(name, f"http://{name}.test", **settings)


async def lived(seconds, prober, names, act=None, **settings):
    """A manager that was in its block for so long, while ``act(prober, manager)`` took its part.

    Args:
        names: of its endpoints; an endpoint that is made already stands for itself.
        act: what goes on meanwhile; its time is part of the seconds.
        settings: of the manager, which checks every 10 s unless they say otherwise.
    """
    settings.setdefault("check_interval", "10s")
    manager = FailoverManager(
        [each if not isinstance(each, str) else endpoint(each) for each in names],
        prober=prober,
        clock=VirtualClock(),
        **settings,
    )
    async with manager:
        end = asyncio.get_running_loop().time() + seconds
        if act is not None:
            await act(prober, manager)
        await asyncio.sleep(end - asyncio.get_running_loop().time())
    return manager


def in_virtual_time(main):
    """Run a coroutine function on a fresh virtual loop; returns its result."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())
