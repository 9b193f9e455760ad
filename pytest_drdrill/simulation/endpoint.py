"""A simulated endpoint: it fails, recovers, slows down and flaps as it is told, and answers so."""

from __future__ import annotations

import copy
import math
import re
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pytest_drdrill.durations import format_duration, parse_duration
from pytest_drdrill.failover import ServiceEndpoint
from pytest_drdrill.simulation.condition import SHOWN, Condition, checked
from pytest_drdrill.simulation.place import (
    MICROSECOND,
    OUTSIDE,
    keys_of,
    moment_ahead,
    now_in,
    tell,
    wait_for_change,
)
from pytest_drdrill.simulation.prospect import AT_ONCE, NEVER, Prospect
from pytest_drdrill.simulation.sent import Sent
from pytest_drdrill.simulation.steps import earliest

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from pytest_drdrill.simulation.condition import Failure, State
    from pytest_drdrill.simulation.host import SimulatedHost
    from pytest_drdrill.simulation.lull import Lull
    from pytest_drdrill.simulation.network import Named
    from pytest_drdrill.simulation.place import Waiting
    from pytest_drdrill.simulation.region import SimulatedRegion
    from pytest_drdrill.simulation.world import SimulatedWorld

_Answer = TypeVar("_Answer")


class SimulatedEndpoint(ServiceEndpoint):
    """An endpoint of a simulated world; healthy, and answering at once, until told otherwise.

    It is a ``ServiceEndpoint`` and goes wherever one does. How it fares is a function of time: what
    is told holds from that moment until something else is told, and a healthy one costs nothing.
    The ways to fail are ``"refused"``, as of a process that is dead while its host lives: a request
    is refused at once, and one that is under way is cut off; and ``"silent"``, as of a process that
    hangs or a host without power: a request gets no answer, until its client gives up or the
    endpoint comes back and answers late.

    One that is on a host, or in a region, fares no better than that: see ``SimulatedHost`` and
    ``SimulatedRegion``. Requests and their answers travel by the network of the world.

    Args:
        world: where it lives; ``SimulatedWorld.endpoints`` makes it.
        name: what events, messages and the report call it.
        priority: the lower one is preferred.
        timeout: how long one check may take.
        place: the host or the region that it is in, or None.
        service_time: how long a request takes while it is well.

    Attributes:
        place: as given.

    Raises:
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: an empty name, a timeout that is no duration above zero, or no service time.
    """

    def __init__(  # noqa: PLR0913 - made by its world, by keyword
        self,
        world: SimulatedWorld,
        name: str,
        *,
        priority: int | None = None,
        timeout: str | timedelta = "5s",
        place: SimulatedHost | SimulatedRegion | None = None,
        service_time: str | timedelta = "0s",
    ) -> None:
        # A name that DNS keeps for tests (RFC 6761): whoever should ask for it in truth finds none.
        host = re.sub(r"[^0-9A-Za-z]+", "-", name).strip("-") if isinstance(name, str) else ""
        super().__init__(name, f"http://{host or 'endpoint'}.test", priority, timeout=timeout)
        try:
            usual = parse_duration(service_time) // MICROSECOND
        except (TypeError, ValueError) as error:
            raise type(error)(f"endpoint {name!r}: service_time: {error}") from None
        self.place = place
        self._world = world
        self._network = world.network
        self._keys = keys_of(self)
        self._condition = Condition(usual)
        self._refused = Prospect(f"{name} refuses connections", None)
        self._waiting: Waiting = []
        self._lulls: list[Lull] = []
        self._sent = Sent()

    @property
    def key(self) -> str:
        """Its kind and its name."""
        return f"endpoint {self.name}"

    # What a drill tells it.

    def fail(self, how: Failure = "refused") -> None:
        """It fails from now on.

        Raises:
            ValueError: no such way to fail.
        """
        self._condition.fail(now_in(self._world), checked(how))
        self._changed("fails", SHOWN[how])

    def fail_at(self, at: str | timedelta, how: Failure = "refused") -> None:
        """It fails from a moment on that is still to come.

        Args:
            at: how long after the world's beginning, such as ``"5m"``.
            how: ``"refused"`` or ``"silent"``.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, a moment that has passed, or no such way to fail.
        """
        self._condition.fail(moment_ahead(self._world, "fail_at", self.name, at), checked(how))
        self._plan(at, "fails", SHOWN[how])

    def recover(self) -> None:
        """It is well from now on: answers again, at its usual speed, and no longer flaps."""
        self._condition.recover(now_in(self._world))
        self._changed("recovers")

    def recover_at(self, at: str | timedelta) -> None:
        """It is well from a moment on that is still to come; see ``fail_at``.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, or a moment that has passed.
        """
        self._condition.recover(moment_ahead(self._world, "recover_at", self.name, at))
        self._plan(at, "recovers")

    def slow(self, by: str | timedelta) -> None:
        """Every request that begins from now on takes so long, until it recovers.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration.
        """
        delay = parse_duration(by)
        self._condition.slow(now_in(self._world), delay // MICROSECOND)
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
        if span < 2 * MICROSECOND:
            raise ValueError(f"flap({period!r}): a period needs two halves; write such as '1m'")
        self._condition.fail(now_in(self._world), checked(how), span // MICROSECOND)
        self._changed("flaps", f"every {format_duration(span)}, {SHOWN[how]} for the first half")

    # What a client meets.

    @property
    def is_up(self) -> bool:
        """Whether it would answer a client's request that begins now, if none is lost by chance."""
        now = now_in(self._world)
        cut = (self._network.is_cut(*way, now, now) for way in self._ways(OUTSIDE))
        return self.state_at(now) == "well" and not any(cut)

    def state_at(self, moment: int) -> State:
        """How it meets what reaches it at a moment: as what it is in does, unless that is well."""
        around = "well" if self.place is None else self.place.state_at(moment)
        return (self._condition.failure(moment) or "well") if around == "well" else around

    def changes_after(self, moment: int) -> int | None:
        """The next moment at which that may change, as far as is known; None: none."""
        around = None if self.place is None else self.place.changes_after(moment)
        return earliest(self._condition.changes_after(moment), around)

    def prospect(self, source: Named = None) -> Prospect | None:
        """How a request fares that begins now, where nothing changes meanwhile.

        Args:
            source: where it comes from; None: from the clients.

        Returns:
            None: that is a matter of chance, or of a refusal that is under way for a while.

        Raises:
            ValueError: no such place.
        """
        network = self._network
        there = OUTSIDE if source is None else keys_of(network.place_of(source))
        now, state = now_in(self._world), self.state_at(now_in(self._world))
        under_way = 0
        if not network.is_plain:
            fixed = [network.fixed(*way) for way in self._ways(there)]
            if None in fixed:
                return None
            if any(network.is_cut(*way, now, now) for way in self._ways(there)):
                return NEVER
            under_way = sum(each for each in fixed if each is not None)
        if state == "refused":
            return None if under_way else self._refused
        if state != "well":
            return NEVER
        takes = self._work_at(now) + under_way
        return Prospect("", takes) if takes else AT_ONCE

    def alike_until(self) -> int | None:
        """The microsecond before which every request fares as one does that begins now.

        That is as far as is known, and holds unless the world is told anything. None: for ever.
        """
        now = now_in(self._world)
        around = None if self.place is None else self.place.changes_after(now)
        return earliest(
            self._condition.constant_until(now), around, self._network.changes_after(now)
        )

    def _work_at(self, moment: int) -> int:
        """How long it works on a request that it takes at a moment."""
        delay = self._condition.delay(moment)
        return delay if self.place is None else math.ceil(delay * self.place.factor_at(moment))

    @overload
    async def request(self, perform: None = None, *, source: Named = None) -> None: ...
    @overload
    async def request(self, perform: Callable[[], _Answer], *, source: Named = None) -> _Answer: ...
    async def request(
        self, perform: Callable[[], _Answer] | None = None, *, source: Named = None
    ) -> _Answer | None:
        """One request of a client: returns with the answer, or waits for one for ever.

        A client that gives up takes nothing back: what is to be performed is so when the request
        is taken, be that late.

        Args:
            perform: what it does once it has taken the request; called then, be it that its answer
                gets lost, or that nobody waits for it any more. What it returns or raises is the
                answer.
            source: where the client is, a place or its name; None: in none.

        Raises:
            ConnectionRefusedError: nobody listens.
            ConnectionResetError: it died with the request under way.
            ValueError: no such place.
        """
        network = self._network
        there = OUTSIDE if source is None else keys_of(network.place_of(source))
        try:
            answer: _Answer | None = None
            if perform is None:
                await self._travel(there, self._keys)
                await self._serve()
            elif self.prospect(source) is AT_ONCE:  # nobody gives up in no time
                answer = perform()
            else:
                answer = await self._sent.send(self._take(perform, there))
        except Exception:  # which is an answer too; no cancellation, as of who gives up
            await network.travel(self._keys, there)
            raise
        if not network.is_plain:
            await network.travel(self._keys, there)
        return answer

    async def _take(self, perform: Callable[[], _Answer], there: tuple[str, ...]) -> _Answer:
        """What becomes of a request up to its answer."""
        await self._travel(there, self._keys)
        await self._serve()
        return perform()

    async def _serve(self) -> None:
        """What becomes of a request that has arrived: a function of time, and of nothing else.

        It works on it for as long as it is well, and not while it is silent.
        """
        now = now_in(self._world)
        left = float(self._condition.delay(now))
        state, forgot = self.state_at(now), self._forgets_until(now)
        if state == "refused":
            raise ConnectionRefusedError(self._refused.refusal)
        while state != "well" or left > 0:
            if state == "gone":
                await self._never()
            factor = 1.0 if self.place is None else self.place.factor_at(now)
            ends = now + math.ceil(left * factor) if state == "well" else None
            moments = (self.changes_after(now), ends)
            await wait_for_change(self._world.clock, self._waiting, now, moments)
            then = now_in(self._world)
            if ends is not None:
                left = 0.0 if then >= ends else left - (then - now) / factor
            if self._forgets_until(then) != forgot:  # however soon it was back
                await self._never()
            now, state = then, self.state_at(then)
            if state == "refused":
                raise ConnectionResetError(f"{self.name} died with the request under way")

    async def hold(self, held: Callable[[], None], *, source: Named = None) -> None:
        """Hold an idle connection of a client; returns when it breaks.

        It breaks when the endpoint fails by refusing connections, as those of a process do that
        dies. One that is silent keeps it, as a process does that hangs, and a host without power
        never says that it is gone, nor does one that is cut off: no client can tell, so neither
        does this.

        Args:
            held: called once it stands.
            source: where the client is, a place or its name; None: in none.

        Raises:
            ConnectionRefusedError: nobody listens.
            ValueError: no such place.
        """
        there = OUTSIDE if source is None else keys_of(self._network.place_of(source))
        await self._travel(there, self._keys)
        now = now_in(self._world)
        stands, forgot = False, self._forgets_until(now)
        if self.state_at(now) == "refused":
            await self._travel(self._keys, there)
            raise ConnectionRefusedError(self._refused.refusal)
        while (state := self.state_at(now)) != "refused":
            if state == "gone" or self._forgets_until(now) != forgot:
                await self._never()
            if state == "well" and not stands:
                await self._travel(self._keys, there)
                stands = True
                held()
            else:
                moments = (self.changes_after(now),)
                await wait_for_change(self._world.clock, self._waiting, now, moments)
            now = now_in(self._world)
        await self._travel(self._keys, there)

    async def _travel(self, source: tuple[str, ...], target: tuple[str, ...]) -> None:
        if not self._network.is_plain:
            await self._network.travel(source, target)

    async def _never(self) -> None:
        """Wait for what nobody remembers any more."""
        await self._world.clock.loop.create_future()

    def _ways(self, there: tuple[str, ...]) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
        """The way of a request and that of its answer."""
        return (there, self._keys), (self._keys, there)

    def _forgets_until(self, moment: int) -> int:
        """How many times all that it knew was gone, up to a moment."""
        return 0 if self.place is None else self.place.forgets_until(moment)

    # Who need not ask, and when that ends.

    @property
    def world(self) -> SimulatedWorld:
        """Where it lives."""
        return self._world

    def end_when_told(self, lull: Lull) -> None:
        """Have a lull end when the endpoint, or anything around it, is told anything."""
        self._lulls = [each for each in self._lulls if not each.done()]
        self._lulls.append(lull)

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "request":  # a test's own, which knows better when anything changes
            self.tell()

    # What its world keeps of it.

    def kept(self) -> Any:
        """A copy of how it is now, for a world that begins anew."""
        own = {name: value for name, value in vars(self).items() if name == "request"}
        return copy.deepcopy(self._condition), own

    def begin_anew(self, kept: Any) -> None:
        """Be again as it was when that copy was made; nobody waits for it."""
        condition, own = kept
        self._condition, self._waiting, self._lulls = copy.deepcopy(condition), [], []
        self._sent = Sent()
        vars(self).pop("request", None)  # a test's own, of what has ended
        vars(self).update(own)

    # Inside.

    def _changed(self, event: str, detail: str = "") -> None:
        self._world.record(self.name, event, detail)
        self.tell()

    def _plan(self, at: str | timedelta, event: str, detail: str = "") -> None:
        """Have the trace say so when the time has come; the endpoint itself needs nothing."""
        self._world.plan(parse_duration(at) // MICROSECOND, self.name, event, detail)
        self.tell()

    def tell(self) -> None:
        """Have those look again who wait for it, and ask again who need not."""
        tell(self._waiting)
        for lull in self._lulls:
            lull.end()
        self._lulls = []
