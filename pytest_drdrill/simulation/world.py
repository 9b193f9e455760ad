"""A simulated world: virtual time, chance by a seed, who lives in it, and what happens."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pytest_drdrill.clock import in_event_loop
from pytest_drdrill.simulation.clock import VirtualClock
from pytest_drdrill.simulation.endpoint import SimulatedEndpoint
from pytest_drdrill.simulation.errors import SimulationError
from pytest_drdrill.simulation.loop import VirtualLoop
from pytest_drdrill.simulation.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import timedelta
    from types import TracebackType

    from pytest_drdrill.simulation.condition import Condition
    from pytest_drdrill.simulation.errors import RealIOError
    from pytest_drdrill.simulation.network import SimulatedNetwork
    from pytest_drdrill.simulation.region import SimulatedRegion, SimulatedRegions

_Result = TypeVar("_Result")


class SimulatedWorld:
    """A world of its own: a virtual loop and its clock, a seed, a trace.

    A context manager, so that a ``@given`` test has one for each example; ``simulate`` does the
    same around a single function::

        with SimulatedWorld(seed=7) as world:
            primary, standby = world.endpoints("primary", "standby")
            world.run(main(primary, standby))

    Args:
        seed: of all chance in it; a whole number.
        on_event: told of each event as it is traced: what happened, to whom, and the detail.

    Attributes:
        seed: as given.
        clock: its time.
        trace: what happened in it.

    Raises:
        TypeError: a seed of another type.
    """

    def __init__(
        self, seed: int = 0, *, on_event: Callable[[str, object], object] | None = None
    ) -> None:
        if type(seed) is not int:
            raise TypeError(f"a seed must be a whole number, not {seed!r}")
        self.seed = seed
        self.clock = VirtualClock(VirtualLoop())
        self._on_event = on_event
        self._endpoints: dict[str, SimulatedEndpoint] = {}
        self._lasting: dict[str, Condition] | None = None
        self._regions: dict[str, SimulatedRegion] = {}
        self._lasting_regions: dict[str, SimulatedRegion] | None = None
        self._network: SimulatedNetwork | None = None
        self._begin()

    def _begin(self) -> None:
        self.trace = Trace()
        self._randoms: dict[str, random.Random] = {}
        self._runner = asyncio.Runner(loop_factory=lambda: self.loop)

    @property
    def loop(self) -> VirtualLoop:
        """Its event loop."""
        return self.clock.loop

    def random(self, name: str) -> random.Random:
        """The chance of one entity, which draws from no other's: same seed and name, same draws."""
        found = self._randoms.get(name)
        if found is None:
            found = self._randoms[name] = random.Random(f"{self.seed}:{name}")  # noqa: S311 - no secret
        return found

    def endpoints(self, *names: str, timeout: str | timedelta = "5s") -> list[SimulatedEndpoint]:
        """New endpoints, each preferred over those that were made after it.

        Args:
            names: of each one; unique in this world.
            timeout: how long one check of them may take.

        Raises:
            TypeError: no text, or a timeout without a unit.
            ValueError: no name, one that is empty or used already, or a timeout that is no duration
                above zero.
        """
        if not names:
            raise ValueError("endpoints() needs a name for each endpoint that it makes")
        made: dict[str, SimulatedEndpoint] = {}
        for name in names:
            if name in self._endpoints or name in made:
                raise ValueError(f"an endpoint is named {name!r} already; a name must be unique")
            priority = len(self._endpoints) + len(made)
            made[name] = SimulatedEndpoint(self, name, priority=priority, timeout=timeout)
        self._endpoints |= made
        return list(made.values())

    def regions(self, *names: str, replication_lag: str | timedelta = "0s") -> SimulatedRegions:
        """New regions, the first of which is the primary.

        Args:
            names: of each one; unique in this world.
            replication_lag: from the commit of a change in one of them until it is visible in
                another, always.

        Raises:
            TypeError: no text, or a lag without a unit.
            ValueError: no name, one that is empty or used already, or a lag that is no duration.
        """
        from pytest_drdrill.durations import parse_duration
        from pytest_drdrill.simulation.region import SimulatedRegion, SimulatedRegions

        if not names:
            raise ValueError("regions() needs a name for each region that it makes")
        try:
            lag = parse_duration(replication_lag).total_seconds()
        except (TypeError, ValueError) as error:
            raise type(error)(f"replication_lag: {error}") from None
        made: dict[str, SimulatedRegion] = {}
        for name in names:
            if name in self._regions or name in made:
                raise ValueError(f"a region is named {name!r} already; a name must be unique")
            made[name] = SimulatedRegion(self, name, is_primary=not made, lag_s=lag)
        self._regions |= made
        return SimulatedRegions(made.values())

    @property
    def network(self) -> SimulatedNetwork:
        """What lies between its regions, and between them and everybody else."""
        if self._network is None:
            from pytest_drdrill.simulation.network import SimulatedNetwork  # only for regions

            self._network = SimulatedNetwork(self._regions, self.clock)
        return self._network

    def record(self, source: str, event: str, detail: object = "") -> None:
        """Write down that something happened, now."""
        self.trace.add(self.clock.monotonic(), source, event, detail)
        if self._on_event is not None:
            self._on_event(f"{source} {event}", detail)

    def run(self, main: Coroutine[Any, Any, _Result]) -> _Result:
        """Run a coroutine in virtual time; returns its result.

        Tasks that it leaves running stand still until the next run, and are cancelled at the end.

        Raises:
            DeadlockError: all wait, and nothing can ever come.
            LivelockError: tasks go on and on in no time.
            HorizonError: more than a year of virtual time has passed.
            RealIOError: something asked for real I/O, whoever may have caught that.
            SimulationError: called while an event loop runs.
        """
        if in_event_loop():
            main.close()
            raise SimulationError(
                "a simulated world runs on an event loop of its own, and one runs here already; "
                "call it from synchronous code"
            )
        try:
            result = self._runner.run(main)
        except Exception as error:
            escaped = self._forget_escape()
            if escaped is not None and not _comes_from(error, escaped):
                error.add_note(f"besides: {escaped}")
            raise
        if (escaped := self._forget_escape()) is not None:
            raise escaped
        return result

    def _forget_escape(self) -> RealIOError | None:
        escaped, self.loop.escaped = self.loop.escaped, None
        return escaped

    def restart(self) -> None:
        """Begin anew: at the epoch, with a fresh loop, the same seed and an empty trace.

        Endpoints and regions that were made before the first restart stay, and fare and hold what
        they did then; those that were made since are gone.
        """
        try:
            self.close()
        finally:
            self.clock.loop = VirtualLoop()
            if self._lasting is None:
                self._lasting = {name: each.condition for name, each in self._endpoints.items()}
                self._lasting_regions = {name: each.kept() for name, each in self._regions.items()}
            self._restart_regions(self._lasting_regions or {})
            self._endpoints = {name: self._endpoints[name] for name in self._lasting}
            for name, condition in self._lasting.items():
                self._endpoints[name].restart(condition)
            self._begin()

    def _restart_regions(self, lasting: dict[str, SimulatedRegion]) -> None:
        for name in [each for each in self._regions if each not in lasting]:
            del self._regions[name]
        for name, kept in lasting.items():
            self._regions[name].restart(kept)
        if self._network is not None:
            self._network.restart()

    def close(self) -> None:
        """Cancel what is left running, wait for it and close the loop; twice is no error.

        Raises:
            SimulationError: it does not end.
        """
        try:
            self._runner.close()
        except SimulationError:  # which names the tasks; asyncio need not complain of each
            for task in asyncio.all_tasks(self.loop):
                task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001
            raise
        finally:
            self.loop.close()
        if (escaped := self._forget_escape()) is not None:  # after the last run
            raise escaped

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except SimulationError as late:
            if error is None:
                raise
            error.add_note(f"while its tasks were ended: {late}")  # and the first one stands


def simulate(
    main: Callable[[SimulatedWorld], Coroutine[Any, Any, _Result]], *, seed: int = 0
) -> _Result:
    """Run an asynchronous function in a simulated world of its own; returns its result.

    Args:
        main: called with the world.
        seed: of all chance in it.

    Raises:
        SimulationError: see ``SimulatedWorld.run``.
    """
    with SimulatedWorld(seed) as world:
        return world.run(main(world))


def _comes_from(error: BaseException, origin: BaseException) -> bool:
    """Whether an error is another one, or was raised because of it."""
    seen: BaseException | None = error
    while seen is not None:
        if seen is origin:
            return True
        seen = seen.__cause__ or seen.__context__
    return False
