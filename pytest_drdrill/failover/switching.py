"""Which endpoint is active: decided as health changes, moved to, and told to those who wait."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

from pytest_drdrill.durations import format_duration
from pytest_drdrill.failover.decision import decide, first_healthy
from pytest_drdrill.failover.errors import FailoverFailed, FailoverTimeoutError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import timedelta

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.failover.checks import WatchedEndpoint
    from pytest_drdrill.failover.endpoint import ServiceEndpoint
    from pytest_drdrill.failover.events import EventKind


class Record(Protocol):
    """Where what happens is written down."""

    def __call__(
        self, kind: EventKind, *, old: str | None = None, new: str | None = None, reason: str = ""
    ) -> None:
        """Record one event, now."""
        ...


class Switching:
    """The active endpoint of a manager, and every change of it, one at a time.

    Endpoints are known by their place in the order of preference.

    Args:
        watched: the endpoints with their health, the preferred one first.
        failback_after: seconds of health after which a preferred one gets traffic back, or None.
        retry_after: seconds after which a switch that failed is tried again.
        clock: the clock.
        record: where events go.
        activate: makes an endpoint take over; raises when that failed.
        announce: told of each change after it was made.
    """

    def __init__(  # noqa: PLR0913 - wired once, by keyword
        self,
        *,
        watched: Sequence[WatchedEndpoint],
        failback_after: float | None,
        retry_after: float,
        clock: Clock,
        record: Record,
        activate: Callable[[ServiceEndpoint, ServiceEndpoint], Awaitable[None]],
        announce: Callable[[tuple[ServiceEndpoint | None, ServiceEndpoint | None]], None],
    ) -> None:
        self._watched = watched
        self._failback_after = failback_after
        self._retry_after = retry_after
        self._clock = clock
        self._record = record
        self._activate = activate
        self._announce = announce
        self.active: int | None = 0
        self._last_active = 0
        self._wake = asyncio.Event()
        self._orders: list[asyncio.Future[None]] = []
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def begin(self) -> None:
        """Get ready for a new event loop."""
        self._wake = asyncio.Event()

    def reconsider(self) -> None:
        """Say that the health of an endpoint has changed."""
        self._wake.set()

    def release(self, error: Callable[[], Exception]) -> None:
        """Let everyone who waits go, each with an error of its own."""
        for future in (*self._orders, *(future for _, future in self._waiters)):
            if not future.done():
                future.set_exception(error())
        self._orders.clear()

    def endpoint(self, place: int | None) -> ServiceEndpoint | None:
        """The endpoint at a place."""
        return None if place is None else self._watched[place].endpoint

    def name(self, place: int | None) -> str | None:
        """Its name."""
        return None if place is None else self._watched[place].endpoint.name

    async def wait_for(self, place: int, limit: timedelta | None) -> None:
        """Wait until an endpoint is active.

        Raises:
            FailoverTimeoutError: it was not, within the limit.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (place, future)
        self._waiters.append(waiter)
        try:
            async with self._clock.timeout(None if limit is None else limit.total_seconds()):
                await future
        except TimeoutError:
            assert limit is not None
            health = ", ".join(
                f"{each.endpoint.name} is {each.tracker.status.value}" for each in self._watched
            )
            raise FailoverTimeoutError(
                f"{self.name(place)} did not become active within {format_duration(limit)}: "
                f"active is {self.name(self.active) or 'no endpoint'}; {health}"
            ) from None
        finally:
            self._waiters.remove(waiter)

    async def fail_back(self) -> None:
        """Have the preferred healthy endpoint made active, by the task that makes all changes.

        Raises:
            FailoverFailed: there is none that is preferred, or the switch did not succeed.
        """
        order: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._orders.append(order)
        self._wake.set()
        await order

    async def decide_forever(self) -> None:
        """Make every change that health, time and operators ask for, until cancelled."""
        while True:
            self._wake.clear()
            while self._orders:
                order = self._orders[0]  # and stays there, to be released should this end meanwhile
                await self._obey(order)
                if order in self._orders:
                    self._orders.remove(order)
            ask_again_in = await self._follow_health()
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(ask_again_in):
                    await self._wake.wait()

    async def _follow_health(self) -> float | None:
        candidates = [each.candidate for each in self._watched]
        now = self._clock.monotonic()
        decision = decide(candidates, self.active, self._failback_after, now)
        if decision.kind == "stay":
            return decision.ask_again_in
        new = self.name(decision.target)
        if self.active is None:
            reason = f"{new} is healthy, and no endpoint was active"
        elif decision.kind == "failback":
            reason = f"{new} is preferred over {self.name(self.active)}, and healthy again"
        else:
            reason = f"{self.name(self.active)} is unhealthy"
            reason += ", and no other endpoint is healthy" if new is None else ""
        failed = await self._move(decision.target, decision.kind, reason)
        if failed is not None:
            return self._retry_after
        self._wake.set()  # decide anew: the next change may be a matter of time alone
        return None

    async def _obey(self, order: asyncio.Future[None]) -> None:
        if order.done():  # who gave it has gone
            return
        target = first_healthy([each.candidate for each in self._watched])
        error: FailoverFailed | None = None
        if self.active == 0 and target is not None:
            pass
        elif target is None or (self.active is not None and target >= self.active):
            active = self.name(self.active)
            error = FailoverFailed(f"no endpoint preferred over {active or 'none'} is healthy")
        else:
            try_again = await self._move(target, "failback", "an operator asked for it")
            if try_again is not None:
                error = FailoverFailed(f"the failback to {self.name(target)} failed: {try_again}")
                error.__cause__ = try_again
        if order.done():
            return
        if error is None:
            order.set_result(None)
        else:
            order.set_exception(error)

    async def _move(self, target: int | None, kind: EventKind, reason: str) -> Exception | None:
        """Change the active endpoint, last of all; returns why it could not be done."""
        old, new = self.name(self.active), self.name(target)
        if target is None:
            kind = "no_healthy_endpoint"
        else:
            was, will_be = self._watched[self._last_active], self._watched[target]
            try:
                await self._activate(was.endpoint, will_be.endpoint)
            except Exception as error:  # noqa: BLE001 - whatever it is, the switch has failed
                why = f"{reason}; but {str(error) or type(error).__name__}"
                self._record("failover_failed", old=old, new=new, reason=why)
                return error
            except asyncio.CancelledError:
                why = f"{reason}; but the monitoring ended in mid-switch"
                self._record("failover_failed", old=old, new=new, reason=why)
                raise
            self._last_active = target
        move = (self.endpoint(self.active), self.endpoint(target))
        self.active = target
        self._record(kind, old=old, new=new, reason=reason)
        self._announce(move)  # before the waiters: callbacks then run first
        for place, future in self._waiters:
            if place == target and not future.done():
                future.set_result(None)
        return None
