"""Which endpoint is active: decided as health changes, moved to, and told to those who wait."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_duration
from pytest_drdrill.failover.decision import decide, first_healthy
from pytest_drdrill.failover.endpoint import HealthStatus
from pytest_drdrill.failover.errors import FailoverFailed, FailoverTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.failover.checks import WatchedEndpoint
    from pytest_drdrill.failover.endpoint import ServiceEndpoint
    from pytest_drdrill.failover.events import EventKind, Record
    from pytest_drdrill.failover.takeover import Takeover


_MOST_DOUBLINGS = 6


class Switching:
    """The active endpoint of a manager, and every change of it, one at a time.

    Endpoints are known by their place in the order of preference.

    Args:
        watched: the endpoints with their health, the preferred one first.
        failback_after: seconds of health after which a preferred one gets traffic back, or None.
        retry_after: seconds after which a switch that failed is tried again.
        clock: the clock.
        record: where events go.
        takeover: makes an endpoint take over.
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
        takeover: Takeover,
        announce: Callable[[tuple[ServiceEndpoint | None, ServiceEndpoint | None]], None],
    ) -> None:
        self._watched = watched
        self._failback_after = failback_after
        self._retry_after = retry_after
        self._clock = clock
        self._record = record
        self._takeover = takeover
        self._announce = announce
        self.active: int | None = 0
        self._unfinished: int | None = None
        self._failed_failbacks = 0
        self._no_failback_before = 0.0
        self._wake = asyncio.Event()
        self._orders: list[asyncio.Future[None]] = []
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def begin(self) -> None:
        """Get ready for a new event loop."""
        self._wake = asyncio.Event()
        self._takeover.begin()

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

    async def decide_forever(self, first_done: Callable[[], None]) -> None:
        """Make every change that health, time and operators ask for, until cancelled."""
        while True:
            self._wake.clear()
            while self._orders:
                order = self._orders[0]  # and stays there, to be released should this end meanwhile
                await self._obey(order)
                if order in self._orders:
                    self._orders.remove(order)
            ask_again_in = await self._follow_health()
            first_done()
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(ask_again_in):
                    await self._wake.wait()

    async def _follow_health(self) -> float | None:
        candidates = [each.candidate for each in self._watched]
        now = self._clock.monotonic()
        decision = decide(
            candidates, self.active, self._failback_after, now, self._no_failback_before
        )
        if decision.kind == "stay":
            if self._takeover.is_complete(self.endpoint(self.active)):
                return decision.ask_again_in
            if not await self._complete():
                return self._retry_after
            self._wake.set()  # time has passed: decide anew
            return None
        new = self.name(decision.target)
        if self.active is None:
            reason = f"{new} is healthy, and no endpoint was active"
        elif decision.kind == "failback":
            reason = f"{new} is preferred over {self.name(self.active)}, and healthy again"
        else:
            reason = f"{self.name(self.active)} is unhealthy"
            reason += ", and no other endpoint is healthy" if new is None else ""
        failed = await self._move(decision.target, decision.kind, reason)
        if failed is not None and decision.kind == "failover":
            return self._retry_after
        # Decide anew: the next change may be a matter of time alone, and what a failed failback has
        # begun is to be undone at once.
        self._wake.set()
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

    async def _complete(self) -> bool:
        """Have the active endpoint lead and serve alone, as it may not; returns whether it does."""
        active, unfinished = self.name(self.active), self._unfinished
        why = "the traffic goes to whom the manager names"
        if unfinished not in (None, self.active):
            why = f"the switch to {self.name(unfinished)} that was begun is undone"
        if await self._take_over(self.active, old=active, reason=why) is not None:
            return False
        self._unfinished = None
        if unfinished not in (None, self.active):
            self._record("failover_undone", old=self.name(unfinished), new=active)
        return True

    async def _move(self, target: int | None, kind: EventKind, reason: str) -> Exception | None:
        """Change the active endpoint, last of all; returns why it could not be done."""
        old, new = self.name(self.active), self.name(target)
        self._unfinished = self.active if target is None else target
        error = await self._take_over(target, old=old, reason=reason)
        if kind == "failback":
            self._count_failback(failed=error is not None)
        if error is not None:
            return error
        self._unfinished = None
        if target is None:
            kind = "no_healthy_endpoint"
        move = (self.endpoint(self.active), self.endpoint(target))
        self.active = target
        self._record(kind, old=old, new=new, reason=reason)
        self._announce(move)  # before the waiters: callbacks then run first
        for place, future in self._waiters:
            if place == target and not future.done():
                future.set_result(None)
        return None

    async def _take_over(
        self, target: int | None, *, old: str | None, reason: str
    ) -> Exception | None:
        new = self.name(target)

        def usable() -> bool:
            if target is None:
                return True
            return self._watched[target].tracker.status is not HealthStatus.UNHEALTHY

        try:
            await self._takeover.to(self.endpoint(target), usable)
        except FailoverFailed as error:
            self._record("failover_failed", old=old, new=new, reason=f"{reason}; but {error}")
            return error
        except asyncio.CancelledError:
            why = f"{reason}; but the monitoring ended in mid-switch"
            self._record("failover_failed", old=old, new=new, reason=why)
            raise
        return None

    def _count_failback(self, *, failed: bool) -> None:
        """Make automatic failbacks rarer while they fail: each may interrupt the service."""
        if not failed:
            self._failed_failbacks, self._no_failback_before = 0, 0.0
            return
        wait = self._retry_after * 2 ** min(self._failed_failbacks, _MOST_DOUBLINGS)
        self._failed_failbacks += 1
        self._no_failback_before = self._clock.monotonic() + wait
