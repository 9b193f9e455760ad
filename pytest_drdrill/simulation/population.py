"""Who lives in a simulated world: made and found by name, and as they were when it begins anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pytest_drdrill.durations import parse_duration
from pytest_drdrill.simulation.endpoint import SimulatedEndpoint
from pytest_drdrill.simulation.place import CLIENTS, OTHERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import timedelta

    from pytest_drdrill.simulation.backups import SimulatedBackups
    from pytest_drdrill.simulation.disk import SimulatedDisk
    from pytest_drdrill.simulation.host import SimulatedHost
    from pytest_drdrill.simulation.network import SimulatedNetwork
    from pytest_drdrill.simulation.place import Place
    from pytest_drdrill.simulation.region import SimulatedRegion, SimulatedRegions
    from pytest_drdrill.simulation.world import SimulatedWorld


_Where = TypeVar("_Where", bound="SimulatedRegion | SimulatedHost")
_Each = TypeVar("_Each", bound="Place")


class _Kept(NamedTuple):
    """Everybody, in the order in which they were made, with how they were."""

    places: list[tuple[Place, Any]]
    disks: list[tuple[SimulatedDisk, Any]]
    backups: list[tuple[SimulatedBackups, SimulatedBackups]]
    network: Any


class Population:
    """All that is in a world; its modules load with the first of each kind.

    Args:
        world: the world.
    """

    def __init__(self, world: SimulatedWorld) -> None:
        self._world = world
        self._endpoints: dict[str, SimulatedEndpoint] = {}
        self._regions: dict[str, SimulatedRegion] = {}
        self._hosts: dict[str, SimulatedHost] = {}
        self._disks: dict[str, SimulatedDisk] = {}
        self._backups: dict[str, SimulatedBackups] = {}
        self._network: SimulatedNetwork | None = None

    # Making.

    def make_endpoints(
        self,
        names: Sequence[str],
        timeout: str | timedelta,
        place: SimulatedHost | SimulatedRegion | str | None,
        service_time: str | timedelta,
    ) -> list[SimulatedEndpoint]:
        """See ``SimulatedWorld.endpoints``."""
        around: list[SimulatedRegion | SimulatedHost] = list(self._regions.values())
        around += self._hosts.values()
        where = self._place(place, around, "host or region")
        made: dict[str, SimulatedEndpoint] = {}
        for name in _fresh(names, self._endpoints, "endpoint"):
            made[name] = SimulatedEndpoint(
                self._world,
                name,
                priority=len(self._endpoints) + len(made),
                timeout=timeout,
                place=where,
                service_time=service_time,
            )
        self._endpoints |= made
        return list(made.values())

    def make_regions(self, names: Sequence[str], lag: str | timedelta) -> SimulatedRegions:
        """See ``SimulatedWorld.regions``."""
        from pytest_drdrill.simulation.region import SimulatedRegion, SimulatedRegions

        try:
            lag_s = parse_duration(lag).total_seconds()
        except (TypeError, ValueError) as error:
            raise type(error)(f"replication_lag: {error}") from None
        made: dict[str, SimulatedRegion] = {}
        for name in _fresh(names, self._regions, "region"):
            made[name] = SimulatedRegion(self._world, name, is_primary=not made, lag_s=lag_s)
        self._regions |= made
        return SimulatedRegions(made.values())

    def make_hosts(
        self,
        names: Sequence[str],
        place: SimulatedRegion | str | None,
        boot_time: str | timedelta,
        capacity: int | None,
    ) -> list[SimulatedHost]:
        """See ``SimulatedWorld.hosts``."""
        from pytest_drdrill.simulation.host import SimulatedHost

        region = self._place(place, list(self._regions.values()), "region")
        made: dict[str, SimulatedHost] = {}
        for name in _fresh(names, self._hosts, "host"):
            made[name] = SimulatedHost(
                self._world, name, place=region, boot_time=boot_time, capacity=capacity
            )
        self._hosts |= made
        return list(made.values())

    def make_disk(self, name: str, capacity: int | None, *, checksums: bool) -> SimulatedDisk:
        """See ``SimulatedWorld.disk``."""
        from pytest_drdrill.simulation.disk import SimulatedDisk

        (name,) = _fresh([name], self._disks, "disk")
        made = SimulatedDisk(self._world, name, capacity=capacity, checksums=checksums)
        self._disks[name] = made
        return made

    def make_backups(
        self, name: str, takes: str | timedelta, usable_after: str | timedelta, failure_rate: float
    ) -> SimulatedBackups:
        """See ``SimulatedWorld.backups``."""
        from pytest_drdrill.simulation.backups import SimulatedBackups

        made = SimulatedBackups(
            self._world, name, takes=takes, usable_after=usable_after, failure_rate=failure_rate
        )
        if name in self._backups:
            raise ValueError(f"backups are named {name!r} already; a name must be unique")
        self._backups[name] = made
        return made

    # Finding.

    @property
    def network(self) -> SimulatedNetwork:
        """See ``SimulatedWorld.network``."""
        if self._network is None:
            from pytest_drdrill.simulation.network import SimulatedNetwork

            self._network = SimulatedNetwork(self._world)
        return self._network

    @property
    def regions(self) -> Iterable[SimulatedRegion]:
        """Every region."""
        return self._regions.values()

    @property
    def places(self) -> list[Place]:
        """Every region, host and endpoint."""
        return [*self._regions.values(), *self._hosts.values(), *self._endpoints.values()]

    def region(self, name: str) -> SimulatedRegion | None:
        """A region by its name; None: there is none."""
        return self._regions.get(name)

    def hosts_in(self, region: SimulatedRegion) -> tuple[SimulatedHost, ...]:
        """The hosts of a region."""
        return tuple(each for each in self._hosts.values() if each.place is region)

    def endpoints_in(self, place: Place) -> tuple[SimulatedEndpoint, ...]:
        """The endpoints of a host, or of a region and of the hosts in it."""
        return tuple(
            each
            for each in self._endpoints.values()
            if each.place is not None and place in (each.place, each.place.place)
        )

    def tell(self) -> None:
        """Have everybody look again who waits for an endpoint or a message."""
        for endpoint in self._endpoints.values():
            endpoint.tell()
        if self._network is not None:
            self._network.tell()

    # Beginning anew.

    def kept(self) -> Any:
        """A copy of how everybody is now."""
        places = [(each, each.kept()) for each in self.places]
        disks = [(each, each.kept()) for each in self._disks.values()]
        backups = [(each, each.kept()) for each in self._backups.values()]
        return _Kept(places, disks, backups, self.network.kept())

    def begin_anew(self, kept: Any) -> None:
        """Have those be as they were who were there when that copy was made, and nobody else."""
        for place, was in kept.places:
            place.begin_anew(was)
        for disk, was in kept.disks:
            disk.begin_anew(was)
        there = {each.key for each, _ in kept.places}
        _keep_only(self._regions, there)
        _keep_only(self._hosts, there)
        _keep_only(self._endpoints, there)
        self._disks = {each.name: each for each, _ in kept.disks}
        for backups, were in kept.backups:
            backups.begin_anew(were)
        self._backups = {each.name: each for each, _ in kept.backups}
        if self._network is not None:
            self._network.begin_anew(kept.network)

    # Inside.

    def _place(self, given: object, among: Sequence[_Where], kind: str) -> _Where | None:
        """One of some places by its name or itself."""
        if given is None:
            return None
        found = [each for each in among if each is given or each.name == given]
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(f"{given!r} names several places; hand over the one that is meant")
        names = ", ".join(each.name for each in among) or "none"
        raise ValueError(f"{given!r:.80} is no {kind} of this world; there are: {names}")


def _fresh(names: Sequence[str], known: Mapping[str, object], kind: str) -> Iterator[str]:
    """The names, each of which must be new."""
    if not names:
        raise ValueError(f"{kind}s() needs a name for each {kind} that it makes")
    seen: set[str] = set()
    for name in names:
        if kind != "disk" and name in (CLIENTS, OTHERS):
            raise ValueError(
                f"no {kind} can be named {name!r}, by which the network means a group of its own"
            )
        if name in known or name in seen:
            article = "an" if kind == "endpoint" else "a"
            raise ValueError(f"{article} {kind} is named {name!r} already; a name must be unique")
        seen.add(name)
        yield name


def _keep_only(known: dict[str, _Each], keys: set[str]) -> None:
    for name in [name for name, each in known.items() if each.key not in keys]:
        del known[name]
