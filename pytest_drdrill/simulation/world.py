"""A simulated world: virtual time, chance by a seed, who lives in it, and what happens."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from pytest_drdrill.clock import in_event_loop
from pytest_drdrill.simulation.clock import VirtualClock
from pytest_drdrill.simulation.errors import SimulationError
from pytest_drdrill.simulation.loop import VirtualLoop
from pytest_drdrill.simulation.place import now_in
from pytest_drdrill.simulation.population import Population
from pytest_drdrill.simulation.runner import VirtualRunner
from pytest_drdrill.simulation.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import timedelta
    from types import TracebackType

    from pytest_drdrill.simulation.backups import SimulatedBackups
    from pytest_drdrill.simulation.disk import SimulatedDisk
    from pytest_drdrill.simulation.endpoint import SimulatedEndpoint
    from pytest_drdrill.simulation.errors import RealIOError
    from pytest_drdrill.simulation.host import SimulatedHost
    from pytest_drdrill.simulation.network import SimulatedNetwork
    from pytest_drdrill.simulation.region import SimulatedRegion, SimulatedRegions

_Result = TypeVar("_Result")


class _Plan(NamedTuple):
    """Something that is to happen at a microsecond."""

    moment: int
    call: Callable[[], object]


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
        every_check: whether managers make every check. By default they pass over those that would
            find at once what the last one found; all else is the same, and takes less time.

    Attributes:
        seed: as given.
        every_check: as given.
        clock: its time.
        trace: what happened in it.
        population: all that is in it.

    Raises:
        TypeError: a seed of another type.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        on_event: Callable[[str, object], object] | None = None,
        every_check: bool = False,
    ) -> None:
        if type(seed) is not int:
            raise TypeError(f"a seed must be a whole number, not {seed!r}")
        self.seed = seed
        self.every_check = every_check
        self.clock = VirtualClock(VirtualLoop())
        self._on_event = on_event
        self.population = Population(self)
        self._plans: list[_Plan] = []
        self._lasting: tuple[object, list[_Plan]] | None = None
        self._begin()

    def _begin(self) -> None:
        self.trace = Trace()
        self._randoms: dict[str, random.Random] = {}
        self._runner = VirtualRunner(self.loop)

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

    # Who lives in it.

    def endpoints(
        self,
        *names: str,
        timeout: str | timedelta = "5s",
        place: SimulatedHost | SimulatedRegion | str | None = None,
        service_time: str | timedelta = "0s",
    ) -> list[SimulatedEndpoint]:
        """New endpoints, each preferred over those that were made after it.

        Args:
            names: of each one; unique in this world.
            timeout: how long one check of them may take.
            place: the host or the region that they are in, or its name; None: in none.
            service_time: how long a request takes while they are well.

        Raises:
            TypeError: no text, or a duration without a unit.
            ValueError: no name, one that is empty or used already, no such place, a timeout that is
                no duration above zero, or a service time that is no duration.
        """
        return self.population.make_endpoints(names, timeout, place, service_time)

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
        return self.population.make_regions(names, replication_lag)

    def hosts(
        self,
        *names: str,
        place: SimulatedRegion | str | None = None,
        boot_time: str | timedelta = "30s",
        capacity: int | None = None,
    ) -> list[SimulatedHost]:
        """New hosts, each with a disk and a clock of its own.

        Args:
            names: of each one; unique in this world.
            place: the region that they are in, or its name; None: in none.
            boot_time: from a restart, or the return of their region, until they are up.
            capacity: bytes that the disk of each holds; None: any number.

        Raises:
            TypeError: no text, a boot time without a unit, or no whole number of bytes.
            ValueError: no name, one that is empty or used already, no such region, no duration, or
                a capacity below zero.
        """
        return self.population.make_hosts(names, place, boot_time, capacity)

    def disk(
        self, name: str, *, capacity: int | None = None, checksums: bool = False
    ) -> SimulatedDisk:
        """A new disk that belongs to no host, as a place for backups is one.

        Args:
            name: of it; unique in this world.
            capacity: bytes that it holds; None: any number.
            checksums: whether it finds by itself that what it reads is damaged.

        Raises:
            TypeError: no text, or no whole number of bytes.
            ValueError: a name that is empty or used already, or a capacity below zero.
        """
        return self.population.make_disk(name, capacity, checksums=checksums)

    def backups(
        self,
        name: str = "backups",
        *,
        takes: str | timedelta = "0s",
        usable_after: str | timedelta = "0s",
        failure_rate: float = 0.0,
    ) -> SimulatedBackups:
        """What makes simulated backups, for a ``BackupSchedule``.

        Args:
            name: of it; unique in this world.
            takes: how long a backup takes.
            usable_after: how long it takes from then on until it can be restored, as its copy to
                another place does.
            failure_rate: the share of the backups that fail by chance.

        Raises:
            TypeError: no text, a duration without a unit, or a rate that is no number.
            ValueError: a name that is empty or used already, no duration, or no share between 0
                and 1.
        """
        return self.population.make_backups(name, takes, usable_after, failure_rate)

    @property
    def network(self) -> SimulatedNetwork:
        """What lies between all that is in it, and between that and the clients."""
        return self.population.network

    # What happens.

    def record(self, source: str, event: str, detail: object = "") -> None:
        """Write down that something happened, now."""
        self.trace.add(self.clock.monotonic(), source, event, detail)
        if self._on_event is not None:
            self._on_event(f"{source} {event}", detail)

    def plan(
        self,
        moment: int,
        source: str,
        event: str,
        detail: str = "",
        then: Callable[[], object] | None = None,
    ) -> None:
        """Have something written down when its time has come, which may be now.

        Args:
            moment: the microsecond since the world's beginning.
            source: to whom or what it happens.
            event: what.
            detail: more of it.
            then: called after that.
        """

        def happen() -> None:
            self.record(source, event, detail)
            if then is not None:
                then()

        self.plan_call(moment, happen)

    def plan_call(self, moment: int, call: Callable[[], object]) -> None:
        """Have a function called when the time has come, which may be now; after a restart too."""
        if moment <= now_in(self):
            call()
            return
        plan = _Plan(moment, call)
        self._plans.append(plan)
        self._arm(plan)

    def _arm(self, plan: _Plan) -> None:
        self.loop.call_at(plan.moment / 1e6, plan.call)

    def tell(self) -> None:
        """Have everybody look again who waits for an endpoint or a message."""
        self.population.tell()

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

        What was made and planned before the first restart stays, and fares and holds what it did
        then; what was made since is gone. Let no time pass before it: what a part was told at a
        later moment than the beginning comes over it at that moment again, without an event.
        """
        try:
            self.close()
        finally:
            self.clock.loop = VirtualLoop()
            if self._lasting is None:
                self._lasting = self.population.kept(), self._plans
            population, plans = self._lasting
            self._begin()
            self.population.begin_anew(population)
            self._plans = list(plans)
            for plan in plans:
                self._arm(plan)

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
    main: Callable[[SimulatedWorld], Coroutine[Any, Any, _Result]],
    *,
    seed: int = 0,
    every_check: bool = False,
) -> _Result:
    """Run an asynchronous function in a simulated world of its own; returns its result.

    Args:
        main: called with the world.
        seed: of all chance in it.
        every_check: whether managers make every check; see ``SimulatedWorld``.

    Raises:
        SimulationError: see ``SimulatedWorld.run``.
    """
    with SimulatedWorld(seed, every_check=every_check) as world:
        return world.run(main(world))


def _comes_from(error: BaseException, origin: BaseException) -> bool:
    """Whether an error is another one, or was raised because of it."""
    seen: BaseException | None = error
    while seen is not None:
        if seen is origin:
            return True
        seen = seen.__cause__ or seen.__context__
    return False
