"""Simulated regions: they are lost, cut off and restored, with all that they hold."""

from __future__ import annotations

import copy
from bisect import insort
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from pytest_drdrill.replication import MemoryStore, Region
from pytest_drdrill.simulation.place import moment_ahead, now_in
from pytest_drdrill.simulation.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import timedelta

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.replication import ChangeStore
    from pytest_drdrill.simulation.condition import State
    from pytest_drdrill.simulation.endpoint import SimulatedEndpoint
    from pytest_drdrill.simulation.host import SimulatedHost
    from pytest_drdrill.simulation.store import DiskStore
    from pytest_drdrill.simulation.world import SimulatedWorld

RegionCondition: TypeAlias = Literal["well", "isolated", "lost"]


class _Kept(NamedTuple):
    """How a region was."""

    course: Steps[RegionCondition]
    losses: list[int]
    is_primary: bool
    lag_s: float
    served: tuple[SimulatedHost | None, Clock | None]
    store: ChangeStore


class SimulatedRegion(Region):
    """A region of a simulated world; well until told otherwise.

    It is a ``Region`` and goes wherever one does. What its store has flushed is there again when
    it is restored. Hosts and endpoints can be in it: they are lost, cut off and back with it, the
    hosts after their boot time and without what was not fsynced.

    Args:
        world: where it lies; ``SimulatedWorld.regions`` makes it.
        name: what events, messages and the report call it.
        is_primary: whether it takes the writes, to begin with.
        lag_s: seconds from the commit of a change elsewhere until it is visible here.

    Attributes:
        lag_s: as given.
    """

    place = None
    """A region is in nothing else."""
    server: SimulatedHost | None = None
    """The host that its store is on; where that is down or paused, so is the region's store."""

    def __init__(self, world: SimulatedWorld, name: str, *, is_primary: bool, lag_s: float) -> None:
        super().__init__(name, is_primary=is_primary, store=MemoryStore())
        self._world = world
        self.lag_s = lag_s
        self._course: Steps[RegionCondition] = Steps("well")
        self._losses: list[int] = []

    @property
    def key(self) -> str:
        """Its kind and its name."""
        return f"region {self.name}"

    @property
    def hosts(self) -> tuple[SimulatedHost, ...]:
        """The hosts that are in it."""
        return self._world.population.hosts_in(self)

    @property
    def endpoints(self) -> tuple[SimulatedEndpoint, ...]:
        """The endpoints that are in it, on a host or on none."""
        return self._world.population.endpoints_in(self)

    # What a drill tells it.

    def lose(self) -> None:
        """It is gone, with everything that is under way to or from it; nobody reaches it."""
        self._becomes(now_in(self._world), "lost", "is lost")

    def lose_at(self, at: str | timedelta) -> None:
        """It is lost at a moment that is still to come.

        Args:
            at: how long after the world's beginning, such as ``"5m"``.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, or a moment that has passed.
        """
        self._becomes(self._ahead("lose_at", at), "lost", "is lost")

    def isolate(self) -> None:
        """It is cut off from all other places, and goes on: clients within still reach it."""
        self._becomes(now_in(self._world), "isolated", "is isolated")

    def isolate_at(self, at: str | timedelta) -> None:
        """It is isolated from a moment on that is still to come; see ``lose_at``.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, or a moment that has passed.
        """
        self._becomes(self._ahead("isolate_at", at), "isolated", "is isolated")

    def restore(self) -> None:
        """It is back and can be reached; what it missed, nobody has told it yet."""
        self._becomes(now_in(self._world), "well", "is restored")

    def restore_at(self, at: str | timedelta) -> None:
        """It is back from a moment on that is still to come; see ``lose_at``.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, or a moment that has passed.
        """
        self._becomes(self._ahead("restore_at", at), "well", "is restored")

    def _ahead(self, called: str, at: str | timedelta) -> int:
        return moment_ahead(self._world, called, self.name, at)

    def _becomes(self, moment: int, condition: RegionCondition, event: str) -> None:
        self._course.set(moment, condition)
        if condition == "lost":
            insort(self._losses, moment)
        self._world.network.is_plain = False
        self._world.plan(moment, self.name, event, then=lambda: self._struck(condition))
        self._world.tell()

    def _struck(self, condition: RegionCondition) -> None:
        if condition != "well":
            self._world.network.cut(self.name, within=condition == "lost")
        self._world.tell()
        for host in self.hosts:
            host.disk.settle()

    def serve_from(self, host: SimulatedHost, *, fsync: bool = True) -> DiskStore:
        """Have its copy of the data on the disk of a host, and count its lease by the host's clock.

        Where the host is down, so is the region's store: nothing that is sent to it is answered.

        Args:
            host: the host.
            fsync: whether a change is safe on the disk before it is acknowledged.

        Returns:
            The store, which is empty, or holds what an earlier one has written there.

        Raises:
            ValueError: the host is in another region.
        """
        if host.place is not None and host.place is not self:
            raise ValueError(f"{host.name} is in {host.place.name}, so it can't serve {self.name}")
        from pytest_drdrill.simulation.store import DiskStore  # only where it was asked for

        store = DiskStore(host.disk, fsync=fsync)
        self.server, self.clock, self.store = host, host.clock, store
        self._world.record(self.name, "is served", f"from {host.name}")
        return store

    # How it fares.

    @property
    def condition(self) -> RegionCondition:
        """``"well"``, ``"isolated"`` or ``"lost"``."""
        return self.condition_at(now_in(self._world))

    def condition_at(self, moment: int) -> RegionCondition:
        """The same, of a moment."""
        return self._course.at(moment)

    def is_open_throughout(self, begin: int, end: int) -> bool:
        """Whether it was reached from elsewhere all the time from one moment to another."""
        return all(each == "well" for each in self._course.within(begin, end))

    def state_at(self, moment: int) -> State:
        """How what is in it meets what reaches it at a moment, as far as that is the region's."""
        return "gone" if self._course.at(moment) == "lost" else "well"

    def changes_after(self, moment: int) -> int | None:
        """The next moment at which that is known to change; None: none."""
        return self._course.after(moment)

    def factor_at(self, moment: int) -> float:  # noqa: ARG002 - hosts are slow, regions are not
        """How many times as long everything takes in it at a moment."""
        return 1.0

    def forgets_until(self, moment: int) -> int:
        """How many times, up to a moment, all was gone that was under way in it."""
        return len(self.stops_until(moment))

    def stops_until(self, moment: int) -> list[int]:
        """The moments at which it was lost, up to one: whatever was in memory was gone."""
        return [each for each in self._losses if each <= moment]

    def restored_before(self, moment: int) -> int | None:
        """When it was back after its last loss, up to a moment; None: it was never lost, or is."""
        lost = max(self.stops_until(moment), default=None)
        if lost is None or self._course.at(moment) == "lost":
            return None
        back = lost  # where it was restored at the very moment
        for since, condition in self._course.backwards(moment):
            if since <= lost or condition == "lost":
                break
            back = since
        return back

    # What its world keeps of it.

    def kept(self) -> Any:
        """A copy of how it is now, for a world that begins anew."""
        # What is on a disk, the disk keeps.
        store = self.store if self.server is not None else copy.deepcopy(self.store)
        course, losses = copy.deepcopy(self._course), list(self._losses)
        served = self.server, self.clock
        return _Kept(course, losses, self.is_primary, self.lag_s, served, store)

    def begin_anew(self, kept: Any) -> None:
        """Be again as it was when that copy was made."""
        self._course, self._losses = copy.deepcopy(kept.course), list(kept.losses)
        self.is_primary, self.lag_s = kept.is_primary, kept.lag_s
        self.server, self.clock = kept.served
        self.store = kept.store if self.server is not None else copy.deepcopy(kept.store)


class SimulatedRegions:
    """Regions that were made together, in order: iterable, and indexable by name or by place."""

    def __init__(self, regions: Iterable[SimulatedRegion]) -> None:
        self._regions = tuple(regions)

    def __iter__(self) -> Iterator[SimulatedRegion]:
        return iter(self._regions)

    def __len__(self) -> int:
        return len(self._regions)

    def __getitem__(self, which: str | int) -> SimulatedRegion:
        if isinstance(which, int):
            return self._regions[which]
        for region in self._regions:
            if region.name == which:
                return region
        names = ", ".join(each.name for each in self._regions)
        raise KeyError(f"no region is named {which!r}; there are {names}")
