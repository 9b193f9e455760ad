"""Partitions: groups of places that do not reach each other, from a moment on until healed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pytest_drdrill.simulation.place import moment_ahead, now_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from types import TracebackType

    from pytest_drdrill.simulation.world import SimulatedWorld


class Partition:
    """A cut between two groups of places; ``SimulatedNetwork.partition`` makes it.

    What one of them sends to the other is lost, and nobody is told. A context manager, which heals
    it on exit.

    Args:
        world: where it is.
        sides: the keys of the places on each side; None: everybody who is not on the other one.
        names: of the two sides, for the trace.
        one_way: whether what the second side sends to the first still arrives.
        since: from which microsecond on it holds.
    """

    def __init__(
        self,
        world: SimulatedWorld,
        sides: tuple[frozenset[str], frozenset[str] | None],
        names: str,
        *,
        one_way: bool,
        since: int,
    ) -> None:
        self._world = world
        self._first, self._second = sides
        self._names = names
        self._one_way = one_way
        self._since = since
        self._until: int | None = None
        self._has_begun = False

    def __repr__(self) -> str:
        return f"<Partition of {self._names}>"

    @property
    def names(self) -> str:
        """The two sides, and which way nothing passes."""
        return self._names

    def begin(self) -> None:
        """Have the trace say when it begins."""
        self._world.plan_call(self._since, self._begun)

    def _begun(self) -> None:
        if self.holds(self._since, self._since):  # and was not healed before
            self._has_begun = True
            self._world.record("network", "is cut", self._names)
            self._world.tell()

    def heal(self) -> None:
        """It is over; what was lost stays lost. Twice is no error."""
        self._ends(now_in(self._world))

    def heal_at(self, at: str | timedelta) -> None:
        """It is over from a moment on that is still to come, or as soon as it is healed.

        One that is over already stays so.

        Args:
            at: how long after the world's beginning, such as ``"5m"``.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, or a moment that has passed.
        """
        self._ends(moment_ahead(self._world, "heal_at", "the partition", at))

    def _ends(self, moment: int) -> None:
        if self._until is not None and self._until <= now_in(self._world):
            return
        self._until = moment
        self._world.plan_call(moment, self._told)

    def _told(self) -> None:
        # And was not told otherwise since, nor healed before it began.
        if self._has_begun and self._until == now_in(self._world):
            self._has_begun = False  # said once is enough
            self._world.record("network", "is healed", self._names)
            self._world.tell()

    def holds(self, begin: int, end: int) -> bool:
        """Whether it holds at any moment from one to another, both included."""
        until = self._until
        return self._since <= end and (until is None or until > max(begin, self._since))

    def changes_after(self, moment: int) -> int | None:
        """The next moment at which it is known to begin or to end; None: none."""
        known = (self._since, self._until)
        return min((each for each in known if each is not None and each > moment), default=None)

    def separates(self, source: Sequence[str], target: Sequence[str]) -> bool:
        """Whether nothing passes from one place to another while it holds.

        Args:
            source: a place and all that it is in, the innermost first.
            target: likewise.
        """
        ends = (self._side_of(source), self._side_of(target))
        return ends == (1, 2) or (ends == (2, 1) and not self._one_way)

    def _side_of(self, keys: Sequence[str]) -> int | None:
        # The innermost decides: a host can be on the other side than the rest of its region.
        for key in keys:
            if key in self._first:
                return 1
            if self._second is not None and key in self._second:
                return 2
        return 2 if self._second is None else None

    # What its world keeps of it.

    def kept(self) -> Any:
        """Until when it holds and whether it has begun, for a world that begins anew."""
        return self._until, self._has_begun

    def begin_anew(self, kept: Any) -> None:
        """Be again as it was then."""
        self._until, self._has_begun = kept

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.heal()
