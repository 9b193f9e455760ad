"""A simulated endpoint: it fails, recovers, slows down and flaps as it is told, and answers so."""

from __future__ import annotations

import contextlib
import copy
import re
from datetime import timedelta
from typing import TYPE_CHECKING, get_args

from pytest_drdrill.durations import format_duration, parse_duration
from pytest_drdrill.failover import ServiceEndpoint
from pytest_drdrill.simulation.condition import Condition, Failure

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from pytest_drdrill.simulation.world import SimulatedWorld

_MICROSECOND = timedelta(microseconds=1)
_SHOWN: dict[Failure, str] = {
    "refused": "it refuses connections",
    "silent": "it is silent",
}


class SimulatedEndpoint(ServiceEndpoint):
    """An endpoint of a simulated world; healthy, and answering at once, until told otherwise.

    It is a ``ServiceEndpoint`` and goes wherever one does. How it fares is a function of time: what
    is told holds from that moment until something else is told, and a healthy one costs nothing.
    The ways to fail are ``"refused"``, as of a process that is dead while its host lives: a request
    is refused at once, and one that is under way is cut off; and ``"silent"``, as of a process that
    hangs or a host without power: a request gets no answer, until its client gives up or the
    endpoint comes back and answers late.

    Args:
        world: where it lives; ``SimulatedWorld.endpoints`` makes it.
        name: what events, messages and the report call it.
        priority: the lower one is preferred.
        timeout: how long one check may take.

    Raises:
        TypeError: an argument of another type, or a timeout without a unit.
        ValueError: an empty name, or a timeout that is no duration above zero.
    """

    def __init__(
        self,
        world: SimulatedWorld,
        name: str,
        *,
        priority: int | None = None,
        timeout: str | timedelta = "5s",
    ) -> None:
        # A name that DNS keeps for tests (RFC 6761): whoever should ask for it in truth finds none.
        host = re.sub(r"[^0-9A-Za-z]+", "-", name).strip("-") if isinstance(name, str) else ""
        super().__init__(name, f"http://{host or 'endpoint'}.test", priority, timeout=timeout)
        self._world = world
        self._condition = Condition()
        self._waiting: list[asyncio.Future[None]] = []

    # What a drill tells it.

    def fail(self, how: Failure = "refused") -> None:
        """It fails from now on.

        Raises:
            ValueError: no such way to fail.
        """
        self._condition.fail(self._now(), _way(how))
        self._changed("fails", _SHOWN[how])

    def fail_at(self, at: str | timedelta, how: Failure = "refused") -> None:
        """It fails from a moment on that is still to come.

        Args:
            at: how long after the world's beginning, such as ``"5m"``.
            how: ``"refused"`` or ``"silent"``.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, a moment that has passed, or no such way to fail.
        """
        self._condition.fail(self._ahead("fail_at", at), _way(how))
        self._plan(at, "fails", _SHOWN[how])

    def recover(self) -> None:
        """It is well from now on: answers again, at its usual speed, and no longer flaps."""
        self._condition.recover(self._now())
        self._changed("recovers")

    def recover_at(self, at: str | timedelta) -> None:
        """It is well from a moment on that is still to come; see ``fail_at``.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, or a moment that has passed.
        """
        self._condition.recover(self._ahead("recover_at", at))
        self._plan(at, "recovers")

    def slow(self, by: str | timedelta) -> None:
        """Every request that begins from now on takes so long, until it recovers.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration.
        """
        delay = parse_duration(by)
        self._condition.slow(self._now(), delay // _MICROSECOND)
        self._changed("slows down", f"by {format_duration(delay)}")

    def flap(self, period: str | timedelta, how: Failure = "refused") -> None:
        """It fails and comes back, over and over, until told otherwise.

        Args:
            period: from one failure to the next, of which it fails for the first half.
            how: ``"refused"`` or ``"silent"``.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, one of less than two microseconds, or no such way to fail.
        """
        span = parse_duration(period)
        if span < 2 * _MICROSECOND:
            raise ValueError(f"flap({period!r}): a period needs two halves; write such as '1m'")
        self._condition.fail(self._now(), _way(how), span // _MICROSECOND)
        self._changed("flaps", f"every {format_duration(span)}, {_SHOWN[how]} for the first half")

    # What a client meets.

    @property
    def is_up(self) -> bool:
        """Whether it would answer a request that begins now."""
        return self._condition.failure(self._now()) is None

    async def request(self) -> None:
        """One request of a client: returns with the answer, or waits for one for ever.

        Raises:
            ConnectionRefusedError: nobody listens.
            ConnectionResetError: it died with the request under way.
        """
        condition, now = self._condition, self._now()
        failure, left = condition.failure(now), condition.delay(now)
        if failure == "refused":
            raise ConnectionRefusedError(f"{self.name} refuses connections")
        while failure is not None or left > 0:
            # It works on the request for as long as it is well, and not while it is silent.
            change = condition.changes_after(now)
            ends = None if failure is not None else now + left
            await self._wait_for_change(now, [each for each in (change, ends) if each is not None])
            then = self._now()
            if failure is None:
                left -= then - now
            now, failure = then, condition.failure(then)
            if failure == "refused":
                raise ConnectionResetError(f"{self.name} died with the request under way")

    async def _wait_for_change(self, now: int, moments: list[int]) -> None:
        """Wait for the first of these moments, or until the endpoint is told anything."""
        clock = self._world.clock
        told: asyncio.Future[None] = clock.loop.create_future()
        self._waiting.append(told)
        limit = (min(moments) - now) / 1e6 if moments else None
        try:
            with contextlib.suppress(TimeoutError):
                async with clock.timeout(limit):
                    await told
        finally:
            self._waiting.remove(told)

    # What its world keeps of it.

    @property
    def condition(self) -> Condition:
        """How it fares, as a function of time."""
        return self._condition

    def restart(self, condition: Condition) -> None:
        """Begin anew in a world that does, faring as a condition says, which stays as it is."""
        self._condition, self._waiting = copy.deepcopy(condition), []

    # Inside.

    def _now(self) -> int:
        return round(self._world.clock.monotonic() * 1e6)

    def _ahead(self, called: str, at: str | timedelta) -> int:
        moment = parse_duration(at) // _MICROSECOND
        if moment < self._now():
            passed = format_duration(self._now() * _MICROSECOND)
            raise ValueError(
                f"{called}({at!r}) of {self.name!r}: that moment has passed, the world is {passed} "
                "old by now"
            )
        return moment

    def _changed(self, event: str, detail: str = "") -> None:
        self._world.record(self.name, event, detail)
        self._tell_waiting()

    def _plan(self, at: str | timedelta, event: str, detail: str = "") -> None:
        """Have the trace say so when the time has come; the endpoint itself needs nothing."""
        record: Callable[..., None] = self._world.record
        loop = self._world.clock.loop
        loop.call_at(parse_duration(at).total_seconds(), record, self.name, event, detail)
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        for told in self._waiting:
            if not told.done():
                told.set_result(None)


def _way(how: Failure) -> Failure:
    if how not in get_args(Failure):
        known = " or ".join(repr(each) for each in get_args(Failure))
        raise ValueError(f"an endpoint can fail in the ways {known}, not {how!r}")
    return how
