"""How messages fare between two ends that nothing cuts off: how long they take, how many arrive."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from pytest_drdrill.simulation.latency import Latency, latency_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from datetime import timedelta


class Link(NamedTuple):
    """How messages fare from one place to another; None: as everywhere else."""

    latency: Latency | None = None
    loss: float | None = None

    def over(self, before: Link) -> Link:
        """This, and of what it leaves open, what was so before."""
        latency = before.latency if self.latency is None else self.latency
        return Link(latency, before.loss if self.loss is None else self.loss)

    def __str__(self) -> str:
        parts = [] if self.latency is None else [f"latency {self.latency}"]
        parts += [] if self.loss is None else [f"loss {self.loss:g}"]
        return ", ".join(parts) or "as it was"


_NOTHING = Link(Latency.constant("0s"), 0.0)


class Links:
    """What was told of all of them; the nearest to two ends that says something holds.

    Args:
        chance: of the entity of a name.
    """

    def __init__(self, chance: Callable[[str], random.Random]) -> None:
        self._chance = chance
        self._told: dict[tuple[str, str], Link] = {}
        self._everywhere = _NOTHING
        self._resolved: dict[tuple[str, str], tuple[Latency, float]] = {}

    def tell(self, source: str, target: str, link: Link) -> None:
        """Have messages from one place to another fare so from now on."""
        self._told[source, target] = link.over(self._told.get((source, target), Link()))
        self._resolved.clear()

    def tell_everywhere(self, link: Link) -> None:
        """Have those fare so of which nothing else was told."""
        self._everywhere = link.over(self._everywhere)
        self._resolved.clear()

    def between(self, source: Sequence[str], target: Sequence[str]) -> tuple[Latency, float]:
        """Latency and loss between two ends.

        Args:
            source: a place and all that it is in, the innermost first.
            target: likewise.
        """
        ends = (source[0], target[0])
        found = self._resolved.get(ends)
        if found is None:
            link = Link()
            pairs = product(enumerate(source), enumerate(target))
            for (_, ours), (_, other) in sorted(pairs, key=_distance):
                link = link.over(self._told.get((ours, other), Link()))
            link = link.over(_NOTHING if source[0] == target[0] else self._everywhere)
            assert link.latency is not None
            found = self._resolved[ends] = (link.latency, link.loss or 0.0)
        return found

    def draw(self, source: Sequence[str], target: Sequence[str]) -> tuple[int, bool]:
        """How many microseconds a message takes, and whether it is lost on its way."""
        latency, loss = self.between(source, target)
        if not loss and latency.fixed is not None:
            return latency.fixed, False
        chance = self._chance(f"network from {source[0]} to {target[0]}")
        return latency.draw(chance), bool(loss) and chance.random() < loss

    def kept(self) -> tuple[dict[tuple[str, str], Link], Link]:
        """A copy of how they are now, for a world that begins anew."""
        return dict(self._told), self._everywhere

    def begin_anew(self, kept: tuple[dict[tuple[str, str], Link], Link]) -> None:
        """Be again as they were when that copy was made."""
        told, self._everywhere = kept
        self._told, self._resolved = dict(told), {}


def link_of(latency: Latency | str | timedelta | None, loss: object) -> Link:
    """What was told, checked.

    Raises:
        TypeError: a duration without a unit, or a loss that is no number.
        ValueError: no duration, or a loss that is no probability.
    """
    if loss is not None:
        if isinstance(loss, bool) or not isinstance(loss, int | float):
            raise TypeError(f"a loss is a probability such as 0.01, not {loss!r:.80}")
        if not 0 <= loss <= 1:
            raise ValueError(f"a loss is a probability from 0 to 1, not {loss!r}")
        loss = float(loss)
    return Link(None if latency is None else latency_of(latency), loss)


def _distance(pair: tuple[tuple[int, str], tuple[int, str]]) -> tuple[int, int]:
    """How far two places lie from the ends themselves, towards what these are in."""
    (ours, _), (theirs, _) = pair
    return ours + theirs, ours
