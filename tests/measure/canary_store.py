"""A store that a canary writes to, and that fails as a test says, and a drill to measure it in."""

import asyncio
from contextlib import contextmanager

from pytest_drdrill import Canary, Drill, Objectives, PreconditionNotMet, SimulatedWorld


class Store:
    """Keeps what is written; from time to time it refuses, hangs, or takes its time.

    Times are those of the clock, in seconds since the store was made; refused and hanging are
    lists of (begin, end), and a write that hangs is answered, too late, when its time is over.
    """

    def __init__(self, clock, *, refuses=(), hangs=(), takes=0.0):
        self.clock = clock
        self.made = clock.monotonic()
        self.refuses, self.hangs, self.takes = list(refuses), list(hangs), takes
        self.data = {}
        self.sent = []
        self.under_way = self.most_under_way = 0

    @property
    def age(self):
        return round(self.clock.monotonic() - self.made, 6)

    async def write(self, key, value):
        self.sent.append(self.age)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if any(begin <= self.age < end for begin, end in self.refuses):
                raise ConnectionRefusedError("nobody listens")
            for begin, end in self.hangs:
                if begin <= self.age < end:
                    await self.clock.sleep(end - self.age)
            if self.takes:
                await self.clock.sleep(self.takes)
            self.data[key] = value
        finally:
            self.under_way -= 1

    def read_all(self):
        return self.data


@contextmanager
def in_earnest():
    """A drill that could not begin is a failure of the test, which else would count as skipped."""
    try:
        yield
    except PreconditionNotMet as error:
        raise AssertionError(f"the drill could not begin: {error}") from error


def run(body, *, objectives=None, clock=None, **behaviour):
    """Run ``body(drill, store)`` in virtual time; the drill, the store, and what it returned."""
    with SimulatedWorld() as world, in_earnest():
        made = clock(world.loop) if clock else world.clock
        drill = Drill(Objectives(**(objectives or {})), clock=made)
        store = Store(world.clock, **behaviour)

        async def main():
            outcome = await body(drill, store)
            assert asyncio.all_tasks() == {asyncio.current_task()}  # nothing is left running
            return outcome

        return drill, store, world.run(main())


def watched(*, strikes=1.0, lasts=0.0, **settings):
    """A body: the disaster strikes at an age of the store, and the drill goes on for a time."""

    async def body(drill, store):
        settings.setdefault("read_all", store.read_all)
        async with Canary(drill, write=store.write, **settings) as canary:
            await drill.clock.sleep(strikes - store.age)
            with drill.rto.outage():
                await drill.clock.sleep(lasts)
        return await canary.verify()

    return body
