"""What lies between the places of a world: how long messages take, and which ones are lost."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from pytest_drdrill.simulation.links import Link, Links, link_of
from pytest_drdrill.simulation.messages import RegionMessages
from pytest_drdrill.simulation.partition import Partition
from pytest_drdrill.simulation.place import (
    CLIENTS,
    OTHERS,
    keys_of,
    moment_ahead,
    now_in,
    shown_place,
)
from pytest_drdrill.simulation.steps import earliest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from pytest_drdrill.simulation.latency import Latency
    from pytest_drdrill.simulation.place import Place
    from pytest_drdrill.simulation.world import SimulatedWorld

    Named: TypeAlias = Place | str | None
    Group: TypeAlias = Named | Iterable[Named]


class SimulatedNetwork:
    """The network of a world; a ``Network`` of the replication, and what every request travels by.

    By itself it costs no time and loses nothing. Its ends are regions, hosts and endpoints, each by
    its name or itself, and ``"clients"`` (or None): whoever is in no such place, as are monitors
    and who promotes. What is told of a region holds for all that is in it, unless something is told
    of the host or the endpoint itself.

    A message that is lost, by chance or in a partition, is silence: its sender hears of it never,
    and has only its own patience. So is one whose way was cut at any moment while it was under way.
    Chance is drawn for each direction of each pair of ends by itself.

    To and from a region that was *told* to be lost or isolated, a message of a replication is
    refused at once, and one under way breaks off. Changes take the replication lag of the region
    that they go to, or the latency where that is longer, and overtake each other never. Where a
    region is served from a host, the messages are the host's: what is told of it holds for them,
    and a client within the region reaches it over the network too.

    Args:
        world: whose network it is.

    Attributes:
        is_plain: whether nothing was told it yet: every message passes, at once.
    """

    def __init__(self, world: SimulatedWorld) -> None:
        self.is_plain = True
        self._world = world
        self._links = Links(world.random)
        self._partitions: list[Partition] = []
        self._messages = RegionMessages(world, self)

    # What a drill tells it.

    def link(
        self,
        a: Group,
        b: Group,
        *,
        latency: Latency | str | timedelta | None = None,
        loss: float | None = None,
        one_way: bool = False,
    ) -> None:
        """Messages between two places, or each two of two groups, fare so from now on.

        Args:
            a: a place or a group of them.
            b: likewise; of a place and itself it says what lies between the things in it.
            latency: how long one is under way, each way; a ``Latency``, or a duration for one that
                is always the same. None: as it was.
            loss: the probability that one is lost, each way. None: as it was.
            one_way: only from ``a`` to ``b``.

        Raises:
            TypeError: a duration without a unit, or a loss that is no number.
            ValueError: no such place, no duration, or a loss that is no probability.
        """
        told = link_of(latency, loss)
        ours, theirs = self._group(a), self._group(b)
        ways = [*product(ours, theirs), *(() if one_way else product(theirs, ours))]
        for source, target in ways:
            self._links.tell(keys_of(source)[0], keys_of(target)[0], told)
        self._told(_named(ours, theirs, one_way=one_way), told)

    def everywhere(
        self, *, latency: Latency | str | timedelta | None = None, loss: float | None = None
    ) -> None:
        """Messages between any two places fare so from now on, where no link says otherwise.

        Args:
            latency: as of ``link``.
            loss: as of ``link``.

        Raises:
            TypeError: a duration without a unit, or a loss that is no number.
            ValueError: no duration, or a loss that is no probability.
        """
        told = link_of(latency, loss)
        self._links.tell_everywhere(told)
        self._told("everywhere", told)

    def _told(self, where: str, link: Link) -> None:
        self.is_plain = False
        now = now_in(self._world)
        self._world.plan(now, "network", "changes", f"{where}: {link}", then=self._world.tell)

    def partition(self, a: Group, b: Group = OTHERS, *, one_way: bool = False) -> Partition:
        """Cut two groups of places from each other from now on, until healed.

        Args:
            a: a place or a group of them.
            b: likewise; by default all others, clients included.
            one_way: only what ``a`` sends to ``b`` is lost; what ``b`` sends arrives, and the
                answer to it does not.

        Returns:
            The partition: ``heal()`` ends it, and so does the end of a ``with`` block.

        Raises:
            ValueError: no such place, or one that is on both sides.
        """
        return self._cut_off(now_in(self._world), a, b, one_way=one_way)

    def partition_at(
        self, at: str | timedelta, a: Group, b: Group = OTHERS, *, one_way: bool = False
    ) -> Partition:
        """Cut them from each other from a moment on that is still to come; see ``partition``.

        Args:
            at: how long after the world's beginning, such as ``"5m"``.
            a: as of ``partition``.
            b: likewise.
            one_way: likewise.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, a moment that has passed, no such place, or one on both sides.
        """
        moment = moment_ahead(self._world, "partition_at", "the network", at)
        return self._cut_off(moment, a, b, one_way=one_way)

    def _cut_off(self, moment: int, a: Group, b: Group, *, one_way: bool) -> Partition:
        ours, theirs = self._group(a), None if b == OTHERS else self._group(b)
        first = frozenset(keys_of(each)[0] for each in ours)
        second = None if theirs is None else frozenset(keys_of(each)[0] for each in theirs)
        if not first or second == frozenset():
            raise ValueError("a partition has two sides, and one of them is empty")
        if second is not None and (both := first & second):
            raise ValueError(f"a partition has two sides, and {min(both)} is on both of them")
        names = _named(ours, theirs, one_way=one_way)
        made = Partition(self._world, (first, second), names, one_way=one_way, since=moment)
        self._partitions.append(made)
        self.is_plain = False
        made.begin()
        return made

    def heal(self) -> None:
        """Every partition is over, those that are planned included."""
        for each in self._partitions:
            each.heal()

    # Who is who.

    def place_of(self, given: Named) -> Place | None:
        """A place by its name or itself; None: where the clients are.

        Raises:
            ValueError: no such place, or several of that name.
        """
        if given is None or given == CLIENTS:
            return None
        known = self._world.population.places
        if isinstance(given, str):
            found = [each for each in known if each.name == given]
            if len(found) == 1:
                return found[0]
            if found:
                kinds = " and ".join(each.key for each in found)
                raise ValueError(f"{given!r} names {kinds}; hand over the one that is meant")
        elif any(given is each for each in known):
            return given
        names = ", ".join([CLIENTS, *(each.name for each in known)])
        raise ValueError(f"{given!r:.80} is no place of this world; there are {names}")

    def _group(self, given: Group) -> list[Place | None]:
        if not isinstance(given, Iterable) or isinstance(given, str):
            return [self.place_of(given)]
        # As they were made, whatever their order: a set has one by hash, another in each process.
        order = [None, *self._world.population.places]
        return sorted((self.place_of(each) for each in given), key=order.index)

    # How a message fares.

    async def travel(self, source: Sequence[str], target: Sequence[str]) -> None:
        """Let one message pass; returns when it has arrived, or never.

        Args:
            source: where it comes from, and all that is in, the innermost first.
            target: where it goes, likewise.
        """
        sent, delay, lost = now_in(self._world), *self.draw(source, target)
        if delay:
            await self._world.clock.sleep(delay / 1e6)
        if lost or self.is_cut(source, target, sent, now_in(self._world)):
            await self._world.clock.loop.create_future()  # of which nobody will ever hear

    def draw(self, source: Sequence[str], target: Sequence[str]) -> tuple[int, bool]:
        """How many microseconds the next message takes, and whether it is lost."""
        return self._links.draw(source, target)

    def is_cut(self, source: Sequence[str], target: Sequence[str], begin: int, end: int) -> bool:
        """Whether the way was cut at any moment from one to another, both included."""
        for region in self._world.population.regions:
            crosses = (region.key in source) is not (region.key in target)
            if crosses and not region.is_open_throughout(begin, end):
                return True
        return self.is_split(source, target, begin, end)

    def is_split(self, source: Sequence[str], target: Sequence[str], begin: int, end: int) -> bool:
        """The same, by a partition alone."""
        return any(
            each.holds(begin, end) and each.separates(source, target) for each in self._partitions
        )

    def fixed(self, source: Sequence[str], target: Sequence[str]) -> int | None:
        """How many microseconds a message takes that nothing cuts off; None: that is chance."""
        latency, loss = self._links.between(source, target)
        return None if loss else latency.fixed

    def changes_after(self, moment: int) -> int | None:
        """The next moment at which a way may be cut, or open again; None: none is known."""
        if self.is_plain:
            return None
        regions = (each.changes_after(moment) for each in self._world.population.regions)
        return earliest(*regions, *(each.changes_after(moment) for each in self._partitions))

    # How a message of a replication fares.

    async def carry(self, source: str | None, target: str | None, *, changes: bool = False) -> None:
        """Let one message pass between regions; returns when it has arrived, or never.

        Raises:
            ConnectionRefusedError: a region was told to be lost or isolated.
            ConnectionResetError: one was told so while the message was under way.
            RealIOError: one of its ends is no simulated region.
        """
        await self._messages.carry(source, target, changes=changes)

    def cut(self, name: str, *, within: bool) -> None:
        """Lose what is under way to or from a region, and what is within it only if told so."""
        self._messages.cut(name, within=within)

    def tell(self) -> None:
        """Have those look again who wait for one of the ends of a message."""
        self._messages.tell()

    # What its world keeps of it.

    def kept(self) -> Any:
        """A copy of how it is now, for a world that begins anew."""
        partitions = [(each, each.kept()) for each in self._partitions]
        return _Kept(self.is_plain, self._links.kept(), partitions)

    def begin_anew(self, kept: Any) -> None:
        """Be again as it was when that copy was made; nothing is under way."""
        self.is_plain = kept.is_plain
        self._links.begin_anew(kept.links)
        for each, was in kept.partitions:
            each.begin_anew(was)
        self._partitions = [each for each, _ in kept.partitions]
        self._messages.begin_anew()


def _named(ours: list[Place | None], theirs: list[Place | None] | None, *, one_way: bool) -> str:
    """Two groups, as the trace names them."""
    first = "+".join(shown_place(each) for each in ours)
    second = OTHERS if theirs is None else "+".join(shown_place(each) for each in theirs)
    return f"{first} {'to' if one_way else 'and'} {second}"


class _Kept(NamedTuple):
    """How a network was."""

    is_plain: bool
    links: tuple[dict[tuple[str, str], Link], Link]
    partitions: list[tuple[Partition, Any]]
