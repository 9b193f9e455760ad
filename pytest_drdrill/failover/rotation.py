"""Which endpoints share the traffic: decided as health changes, applied through a switch."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_duration
from pytest_drdrill.failover.decision import RESOLUTION, is_trusted
from pytest_drdrill.failover.endpoint import HealthStatus
from pytest_drdrill.failover.errors import FailoverError, FailoverFailed, FailoverTimeoutError
from pytest_drdrill.failover.takeover import run_step

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import timedelta

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.failover.checks import WatchedEndpoint
    from pytest_drdrill.failover.endpoint import ServiceEndpoint
    from pytest_drdrill.failover.events import Record
    from pytest_drdrill.failover.protocols import WeightedSwitch

_OUT = -1
"""The weight of an endpoint that is deactivated; 0 is that of one which drains."""


@dataclass(slots=True)
class _Member:
    """One endpoint of the rotation.

    ``applied`` is the weight that the switch is known to give it, None where nobody knows;
    ``named`` the last one that was known; ``drains_until`` the monotonic second at which an
    operator's draining of it ends, None where nobody drains it.
    """

    watched: WatchedEndpoint
    weight: int
    applied: int | None = None
    named: int = _OUT
    drains_until: float | None = None

    @property
    def endpoint(self) -> ServiceEndpoint:
        return self.watched.endpoint

    @property
    def is_down(self) -> bool:
        return self.watched.tracker.status is HealthStatus.UNHEALTHY


class Rotation:
    """The endpoints that share the traffic, and every change of that.

    Args:
        watched: the endpoints with their health.
        weights: the weight of each one, in the same order.
        minimum_healthy: with fewer healthy ones, health does not count.
        drain_time: seconds from the begin of a draining to its end.
        retry_after: seconds after which what failed is tried again.
        step_timeout: seconds that each call of the switch may take.
        switch: sends the traffic.
        clock: the clock.
        record: where events go.
        announce: told of each change after it was made.
    """

    def __init__(  # noqa: PLR0913 - wired once, by keyword
        self,
        *,
        watched: Sequence[WatchedEndpoint],
        weights: Sequence[int],
        minimum_healthy: int,
        drain_time: float,
        retry_after: float,
        step_timeout: float,
        switch: WeightedSwitch,
        clock: Clock,
        record: Record,
        announce: Callable[[tuple[tuple[ServiceEndpoint, ...], tuple[ServiceEndpoint, ...]]], None],
    ) -> None:
        self._members = [
            _Member(each, weight) for each, weight in zip(watched, weights, strict=True)
        ]
        self._minimum_healthy = minimum_healthy
        self._drain_time = drain_time
        self._retry_after = retry_after
        self._step_timeout = step_timeout
        self._switch = switch
        self._clock = clock
        self._record = record
        self._announce = announce
        self.panics = False
        self._wake = asyncio.Event()
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    # What a conductor does.

    def begin(self) -> None:
        """Get ready for a new event loop; the switch will be told everything anew."""
        self._wake = asyncio.Event()
        for each in self._members:
            each.applied = None

    def reconsider(self) -> None:
        """Say that the health of an endpoint has changed."""
        self._wake.set()

    def release(self, error: Callable[[], Exception]) -> None:
        """Let everyone who waits go, each with an error of its own."""
        for _, future in self._waiters:
            if not future.done():
                future.set_exception(error())

    async def decide_forever(self, first_done: Callable[[], None]) -> None:
        """Make every change that health, time and operators ask for, until cancelled."""
        while True:
            self._wake.clear()
            ask_again_in = await self._follow_health()
            first_done()
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(ask_again_in):
                    await self._wake.wait()

    # What is known, and what a caller can do.

    @property
    def serving(self) -> tuple[ServiceEndpoint, ...]:
        """The endpoints that get new requests."""
        return tuple(each.endpoint for each in self._members if each.named > 0)

    def weight(self, place: int) -> int:
        """The weight of an endpoint now: 0 while it drains or gets no traffic."""
        return max(self._members[place].named, 0)

    def serves(self, place: int) -> bool:
        """Whether an endpoint gets new requests."""
        return self._members[place].named > 0

    async def drain(self, place: int) -> None:
        """Send no new requests to an endpoint, and none at all after the drain time; see there."""
        member = self._members[place]
        left = [
            each
            for each in self._members
            if each is not member and each.drains_until is None and not each.is_down
        ]
        if len(left) < self._minimum_healthy:
            raise FailoverError(
                f"draining {member.endpoint.name} would leave {len(left)} healthy, and the minimum "
                f"is {self._minimum_healthy}"
            )
        if member.drains_until is None:
            member.drains_until = self._clock.monotonic() + self._drain_time
            self._wake.set()
        await self._wait(lambda: member.applied == _OUT or member.drains_until is None, None, "")
        if member.drains_until is None:
            raise FailoverError(f"the draining of {member.endpoint.name} was called off")

    def resume(self, place: int) -> None:
        """Have the health of an endpoint decide again."""
        self._members[place].drains_until = None
        self._settle_waiters()
        self._wake.set()

    async def wait_for(self, place: int, limit: timedelta | None, *, serving: bool) -> None:
        """Wait until an endpoint gets new requests, or gets none.

        Raises:
            FailoverTimeoutError: that did not come in time.
        """
        name = self._members[place].endpoint.name
        what = f"{name} is still {'out of' if serving else 'in'} rotation"
        await self._wait(lambda: self.serves(place) is serving, limit, what)

    async def _wait(self, holds: Callable[[], bool], limit: timedelta | None, what: str) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (holds, future)
        self._waiters.append(waiter)
        self._settle_waiters()
        try:
            async with self._clock.timeout(None if limit is None else limit.total_seconds()):
                await future
        except TimeoutError:
            assert limit is not None
            health = ", ".join(
                f"{each.endpoint.name} is {each.watched.tracker.status.value}"
                for each in self._members
            )
            raise FailoverTimeoutError(f"{what} after {format_duration(limit)}: {health}") from None
        finally:
            self._waiters.remove(waiter)

    def _settle_waiters(self) -> None:
        for holds, future in self._waiters:
            if not future.done() and holds():
                future.set_result(None)

    # Inside.

    def _wanted(self, now: float) -> list[int]:
        """The weight that each endpoint should have; says so where a panic begins or ends."""
        offered = [each for each in self._members if each.drains_until is None]
        up = [each for each in offered if not each.is_down]
        # One that flaps is still better than too few.
        trusted = [each for each in up if each.named > 0 or is_trusted(each.watched.candidate, now)]
        used = trusted if len(trusted) >= self._minimum_healthy else up
        panics = len(used) < self._minimum_healthy
        if panics:
            used = offered
        if panics is not self.panics:
            self.panics = panics
            reason = f"{len(up)} of {len(offered)} are healthy, and the minimum is "
            reason += str(self._minimum_healthy)
            self._record("panic_started" if panics else "panic_ended", reason=reason)
        chosen = {id(each) for each in used}
        wanted: list[int] = []
        for each in self._members:
            if id(each) in chosen:
                wanted.append(each.weight)
            elif (
                each.drains_until is not None
                and not each.is_down
                and each.named != _OUT
                and each.drains_until - now >= RESOLUTION
            ):
                wanted.append(0)
            else:
                wanted.append(_OUT)
        return wanted

    async def _follow_health(self) -> float | None:
        now = self._clock.monotonic()
        changes = [
            (each, wanted)
            for each, wanted in zip(self._members, self._wanted(now), strict=True)
            if each.applied != wanted
        ]
        if not changes:
            return self._next_change(now)
        # All at once: a switch that is slow with one must not keep traffic on another that is dead.
        done = await asyncio.gather(*(self._change(each, wanted) for each, wanted in changes))
        if not all(done):
            return min(self._retry_after, self._next_change(now) or self._retry_after)
        self._wake.set()  # time has passed: decide anew
        return None

    def _next_change(self, now: float) -> float | None:
        """Seconds until time alone may change what is wanted."""
        moments = [
            moment
            for each in self._members
            for moment in (each.drains_until, each.watched.candidate.suppressed_until)
            if moment is not None and moment - now >= RESOLUTION
        ]
        return min(moments) - now if moments else None

    async def _change(self, member: _Member, wanted: int) -> bool:
        """Have the switch give an endpoint another weight; returns whether it does."""
        switch, endpoint, was = self._switch, member.endpoint, member.applied
        name = endpoint.name
        member.applied = None  # whatever comes of it
        try:
            if wanted == _OUT:
                await self._step(f"deactivating {name}", lambda: switch.deactivate(endpoint))
            else:
                what = f"setting the weight of {name} to {wanted}"
                await self._step(what, lambda: switch.set_weight(endpoint, wanted))
                if was is None or was == _OUT:
                    await self._step(f"activating {name}", lambda: switch.activate(endpoint))
        except FailoverFailed as error:
            self._record("switch_failed", endpoint=name, reason=str(error))
            return False
        member.applied = wanted
        old, before = self.serving, member.named
        member.named = wanted
        if wanted > 0 and before <= 0:
            self._record("endpoint_added", endpoint=name, reason=f"with a weight of {wanted}")
        elif wanted == 0:
            self._record("endpoint_draining", endpoint=name)
        elif wanted == _OUT and before != _OUT:
            reason = "it is drained" if member.drains_until is not None else "it is unhealthy"
            self._record("endpoint_removed", endpoint=name, reason=reason)
        if self.serving != old:
            self._announce((old, self.serving))
        self._settle_waiters()
        return True

    async def _step(self, what: str, call: Callable[[], Awaitable[object]]) -> None:
        await run_step(what, call, self._step_timeout, self._clock)
