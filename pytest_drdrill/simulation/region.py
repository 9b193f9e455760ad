"""Simulated regions: they are lost, cut off and restored as a drill tells them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Literal, TypeAlias

from pytest_drdrill.replication import MemoryStore, Region

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_drdrill.simulation.world import SimulatedWorld

RegionCondition: TypeAlias = Literal["well", "isolated", "lost"]


class SimulatedRegion(Region):
    """A region of a simulated world; well until told otherwise.

    It is a ``Region`` and goes wherever one does. What its store has flushed is there again when
    it is restored.

    Args:
        world: where it lies; ``SimulatedWorld.regions`` makes it.
        name: what events, messages and the report call it.
        is_primary: whether it takes the writes, to begin with.
        lag_s: seconds from the commit of a change elsewhere until it is visible here.

    Attributes:
        lag_s: as given.
        condition: ``"well"``, ``"isolated"`` or ``"lost"``.
    """

    def __init__(self, world: SimulatedWorld, name: str, *, is_primary: bool, lag_s: float) -> None:
        super().__init__(name, is_primary=is_primary, store=MemoryStore())
        self._world = world
        self.lag_s = lag_s
        self.condition: RegionCondition = "well"

    def lose(self) -> None:
        """It is gone, with everything that is under way to or from it; nobody reaches it."""
        self._becomes("lost", "is lost")

    def isolate(self) -> None:
        """It is cut off from all other places, and goes on: clients within still reach it."""
        self._becomes("isolated", "is isolated")

    def restore(self) -> None:
        """It is back and can be reached; what it missed, nobody has told it yet."""
        self._becomes("well", "is restored")

    def _becomes(self, condition: RegionCondition, event: str) -> None:
        self.condition = condition
        self._world.network.cut(self.name)
        self._world.record(self.name, event)

    # What its world keeps of it.

    def kept(self) -> SimulatedRegion:
        """A copy of how it is now, for a world that begins anew."""
        twin = copy.copy(self)
        twin.store = copy.deepcopy(self.store)
        return twin

    def restart(self, kept: SimulatedRegion) -> None:
        """Be again as it was when that copy was made."""
        self.condition, self.is_primary = kept.condition, kept.is_primary
        self.store = copy.deepcopy(kept.store)


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
