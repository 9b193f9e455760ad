"""A clock moved by hand, so that no test waits or depends on speed."""

import asyncio
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2026, 3, 1, 2, tzinfo=UTC)
START = 5000.0


class HandClock:
    """Time passes only here; every wait is over at once."""

    def __init__(self):
        self.seconds = START

    def now(self):
        return EPOCH + timedelta(seconds=self.seconds - START)

    def monotonic(self):
        return self.seconds

    async def sleep(self, seconds):
        self.block(seconds)

    def timeout(self, seconds):
        return asyncio.timeout(seconds)

    def block(self, seconds):
        assert seconds >= 0
        self.seconds += seconds

    advance = block


class Service:
    """A watched service: up or down as a function of time, each check taking so long."""

    def __init__(self, clock, *, down=(), takes=0.0):
        self.clock = clock
        self.began = clock.seconds
        self.down = tuple(down)
        self.takes = takes
        self.looks, self.looks_ended = [], []

    def up_at(self, seconds):
        return not any(begin <= seconds < end for begin, end in self.down)

    def check(self):
        self.looks.append(self.clock.seconds - self.began)
        self.clock.advance(self.takes)
        self.looks_ended.append(self.clock.seconds - self.began)
        return self.up_at(self.looks_ended[-1])

    async def check_async(self):
        return self.check()


class LoopClock(HandClock):
    """Waits in asynchronous code last until ``pass_time`` has moved the clock to their end."""

    def __init__(self):
        super().__init__()
        self.sleepers = []
        self.slept = []

    async def sleep(self, seconds):
        assert seconds >= 0
        self.slept.append(seconds)
        waiting = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.seconds + seconds, waiting))
        await waiting

    async def pass_time(self, seconds):
        """Move the clock from wait to wait, and let each that is over go on."""
        end = self.seconds + seconds
        await self._settle()
        while due := [at for at, waiting in self.sleepers if at <= end and not waiting.done()]:
            self.seconds = max(self.seconds, min(due))
            for at, waiting in self.sleepers:
                if at <= self.seconds and not waiting.done():
                    waiting.set_result(None)
            await self._settle()
        self.seconds = max(self.seconds, end)

    async def _settle(self):
        self.sleepers = [each for each in self.sleepers if not each[1].done()]
        for _ in range(5):
            await asyncio.sleep(0)
