"""Watching an endpoint between its checks: a connection is held open, and its loss is a hint.

A hint is checked, never believed: it calls the next check up early, and that check decides. So a
hint that was wrong costs one check, and one that is never given costs nothing but time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.failover.endpoint import HealthStatus
from pytest_drdrill.failover.shortage import refuse_shortage

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.failover.checks import WatchedEndpoint
    from pytest_drdrill.failover.endpoint import ServiceEndpoint
    from pytest_drdrill.failover.events import Record

FIRST_PAUSE_S = 0.1
"""Before a connection that was lost by a false alarm is made anew; doubled from one to the next."""
LEAST_HOLD_S = 1.0
"""How long one must have been held not to count as refused."""
REFUSALS = 3
"""Refused connections in a row, each contradicted by a good check, after which it is left be."""
LEFT_BE_S = 60.0
"""After which one that refuses to hold is tried again, in silence."""
ALIKE = 0.1
"""Part by which two connections' times may differ for their end to be regular."""
RENEWED_AT = 0.8
"""Part of the time after which an endpoint ends idle connections, at which one is made anew."""


@runtime_checkable
class Watcher(Protocol):
    """A prober that can hold a connection to an endpoint, for ``watch=True``."""

    async def hold(self, endpoint: ServiceEndpoint, held: Callable[[], None]) -> str:
        """Hold an idle connection until it is lost; when cancelled, it is closed.

        Args:
            endpoint: to which.
            held: called once it stands.

        Returns:
            How it was lost, for a reader.

        Raises:
            OSError: it can't be made.
        """
        ...


class Watch:
    """The held connection of one endpoint, made again and again.

    It is made once a check was good, and again where it was lost: at once where the endpoint had
    truly failed and is back, else after a pause, which doubles from ``FIRST_PAUSE_S`` up to the
    interval while connections keep getting lost sooner than an interval. So an endpoint that ends
    idle connections costs at most about one more check in an interval; where it does so twice after
    the same time, connections are made anew before that, and it costs none. One that takes no
    connection, or ends each of them at once, is left alone after three. What the checks say is down
    may have died without a word, as a host without power does, and its connection with it: so that
    one is given up, and another made once the endpoint is back.

    Args:
        watched: whose.
        watcher: how connections are held.
        clock: the clock.
        interval: seconds between its checks.
        call_up: has the next check made at once.
        record: where events are written down.
    """

    def __init__(  # noqa: PLR0913 - wired once, by keyword
        self,
        *,
        watched: WatchedEndpoint,
        watcher: Watcher,
        clock: Clock,
        interval: float,
        call_up: Callable[[], None],
        record: Record,
    ) -> None:
        self._watched = watched
        self._watcher = watcher
        self._clock = clock
        self._interval = interval
        self._call_up = call_up
        self._record = record
        self._well = False
        self._result: asyncio.Future[bool] | None = None
        self._since: float | None = None
        self._lifetime: float | None = None
        self._last_hold: float | None = None
        self._refused = 0
        self._left_be = False
        self._pause = 0.0
        self._limit: asyncio.Timeout | None = None  # of the connection that is held

    def checked(self, healthy: bool) -> None:
        """Take in the result of a check."""
        self._well = healthy
        if self._result is not None and not self._result.done():
            self._result.set_result(healthy)
        limit = self._limit
        if limit is not None and self._watched.tracker.status is HealthStatus.UNHEALTHY:
            self._limit = None
            if not limit.expired():  # it may end at this very moment
                limit.reschedule(asyncio.get_running_loop().time())

    async def keep_forever(self) -> None:
        """Hold a connection whenever the endpoint is well, until cancelled.

        Raises:
            MonitorShortageError: this process has no file descriptor left for it, or the like.
        """
        while True:
            while not self._well:
                await self._next_check()
            lost = await self._hold()
            if lost is None:
                continue  # made anew, in good time or once the endpoint is back
            held_for = 0.0 if self._since is None else self._clock.monotonic() - self._since
            if self._left_be and held_for < LEAST_HOLD_S:
                await self._leave_be()
                continue
            self._left_be = False
            if self._since is not None:
                reason = f"{lost}, {format_seconds(held_for)} after it was made; checked at once"
                self._record("connection_lost", endpoint=self._watched.endpoint.name, reason=reason)
            self._call_up()
            if await self._next_check():
                await self._false_alarm(lost, held_for)
            else:
                self._refused, self._last_hold, self._pause = 0, None, 0.0

    async def _hold(self) -> str | None:
        """Hold one connection; returns how it was lost, None where it was given up in time."""
        self._since = None
        endpoint = self._watched.endpoint
        try:
            async with self._clock.timeout(self._watched.timeout) as limit:

                def held() -> None:
                    self._since = self._clock.monotonic()
                    end = None
                    if self._lifetime is not None:
                        end = asyncio.get_running_loop().time() + self._lifetime
                    limit.reschedule(end)
                    self._limit = limit

                return await self._watcher.hold(endpoint, held)
        except OSError as error:
            if self._since is not None and limit.expired():
                return None
            refuse_shortage(error, endpoint.name)
            if limit.expired():
                return f"no connection within {format_seconds(self._watched.timeout)}"
            return str(error) or type(error).__name__
        finally:
            self._limit = None

    async def _next_check(self) -> bool:
        """Wait for the next result; returns whether it was good."""
        self._result = asyncio.get_running_loop().create_future()
        return await self._result

    async def _leave_be(self) -> None:
        await self._clock.sleep(max(LEFT_BE_S, self._interval))

    async def _false_alarm(self, lost: str, held_for: float) -> None:
        """Learn from a loss that meant nothing, and wait before the next connection."""
        self._refused = self._refused + 1 if held_for < LEAST_HOLD_S else 0
        if self._refused >= REFUSALS:
            self._left_be = True
            reason = f"it holds no connection: {lost}, {self._refused} times in a row"
            self._record("endpoint_unwatched", endpoint=self._watched.endpoint.name, reason=reason)
            await self._leave_be()
            return
        last, self._last_hold = self._last_hold, held_for
        if not self._refused and last is not None and abs(held_for - last) <= ALIKE * held_for:
            self._lifetime = RENEWED_AT * min(held_for, last)
        longest = max(FIRST_PAUSE_S, self._interval)
        self._pause = min(max(2 * self._pause, FIRST_PAUSE_S), longest)
        if held_for >= self._interval:
            self._pause = FIRST_PAUSE_S
        await self._clock.sleep(self._pause)
