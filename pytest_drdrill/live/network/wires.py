"""What a scratch network is made of: namespaces, the links between them, and the way through.

Each place has one link, to a namespace in the middle that routes between all of them, and where a
rule of the routing loses what shall not arrive. So of this machine, nothing is touched but that it
has one link more, and its firewall sees nothing of what hosts send each other.
"""

from __future__ import annotations

import errno
import itertools
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_drdrill.faults import FaultError, FaultNotPermitted
from pytest_drdrill.faults.journal import Journal
from pytest_drdrill.faults.network import end_network, marks_of, network_name
from pytest_drdrill.faults.owed import Owed
from pytest_drdrill.live.network.links import Links, lacking_rights
from pytest_drdrill.live.network.namespace import Namespace
from pytest_drdrill.live.network.subnet import Subnet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_SETTINGS = Path("/proc/sys/net")
_ROUTER = -2
"""The number of the router's address, the last one of the subnet but for the broadcast's."""
_OUTSIDE, _FIRST = 1, 100
"""Priorities of rules: before those of the kernel's own tables, all of which leave room there."""

_PATIENCE_S = 30.0
_POLL_S = 0.002


class Wires:
    """A network that exists from when it is made until ``close``, or the end of this process.

    Args:
        hosts: the names of the hosts, for messages.

    Attributes:
        name: of its one link on this machine.
        addresses: of the drill's own process, and of each host in turn.
        namespaces: likewise.

    Raises:
        ComponentMissing: this machine has no ``ip``.
        FaultNotPermitted: this process may not make it, or the kernel lacks what it takes.
        FaultError: it could not be made, for another reason.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self.name = network_name()
        self.addresses: list[str] = []
        self.namespaces: list[Namespace] = []
        self._links = Links()
        self._priorities = itertools.count(_FIRST)
        self._subnet: Subnet | None = None
        self._router: Namespace | None = None
        what = f"the scratch network {self.name} of {', '.join(hosts)}"
        owed = Owed("end network", what, path=self.name, other=self._links.program)
        self._settled: Callable[[], None] = _nothing
        try:
            self._settled = Journal.own().owe(owed)
            self._make(len(hosts))
        except OSError as error:
            self.close()
            raise FaultError(f"no scratch network was made: {error}") from error
        except BaseException:
            self.close()
            raise

    @property
    def is_gone(self) -> bool:
        """Whether it was closed, and all that was cut in it has gone too."""
        return self._router is None

    def cut(self, ways: Iterable[tuple[int, int]], cuts: list[int]) -> None:
        """Lose whatever is sent from one place to another, from now on.

        Args:
            ways: pairs of places, by their number.
            cuts: gets what ``mend`` takes to undo it, before anything is lost.

        Raises:
            FaultNotPermitted: the kernel lacks what it takes.
            FaultError: it failed, half way maybe.
        """
        pairs = [(self.addresses[source], self.addresses[target]) for source, target in ways]
        cuts += (next(self._priorities) for _ in pairs)
        self._change(
            f"rule add priority {priority} from {source}/32 to {target}/32 blackhole"
            for priority, (source, target) in zip(cuts, pairs, strict=True)
        )

    def mend(self, priorities: Iterable[int]) -> None:
        """Lose it no longer; what is so already stays so.

        Raises:
            FaultError: it can't be undone.
        """
        assert self._router is not None
        there = {each["priority"] for each in self._links.ask(self._router, "rule", "show")}
        self._change(f"rule del priority {each}" for each in priorities if each in there)

    def close(self) -> None:
        """Kill what runs within, and remove it all; again, nothing happens.

        Raises:
            OSError: it can't be removed.
        """
        if self._router is not None:
            program = self._links.program
            self.namespaces[0].run(lambda: end_network(self.name, program))
            self.namespaces.append(self._router)
            self._router = None
        for each in self.namespaces:
            each.close()
        self.namespaces.clear()
        if self._subnet is not None:
            self._subnet.release()
        self._settled()

    def _change(self, lines: Iterable[str]) -> None:
        commands = list(lines)
        assert self._router is not None
        if commands:
            self._links.change(self._router, commands)

    def _make(self, count: int) -> None:
        self.namespaces.append(Namespace.current())
        self._router = _new_namespace()
        for _ in range(count):
            self.namespaces.append(_new_namespace())
        routes = self._links.ask(self.namespaces[0], "-4", "route", "show", "table", "all")
        self._subnet = Subnet(str(each["dst"]) for each in routes)
        self.addresses = [self._subnet.address(1 + number) for number in range(1 + count)]
        router = self._subnet.address(_ROUTER)
        self._router.run(_forward)
        self._change([f"rule add priority {_OUTSIDE} not from {self._subnet} blackhole"])
        for number, place in enumerate(self.namespaces):
            self._connect(number, place, router)
        for place in (self._router, *self.namespaces):
            self._wait_for_links(place)

    def _connect(self, number: int, place: Namespace, router: str) -> None:
        """Give a place its link to the router, its address, and the way to all others."""
        assert self._router is not None
        end, address = f"p{number}", self.addresses[number]
        there = f"link add {self.name} type veth peer name {end} netns {self._router.path}"
        self._links.change(place, [there])
        place.run(lambda: _without_ipv6(self.name))
        self._router.run(lambda: _without_ipv6(end))
        self._change(
            [
                f"link set {end} up",
                f"address add {router}/32 dev {end}",
                f"route add {address}/32 dev {end}",
            ]
        )
        own = ["link set lo up", *(f"address add {each}/32 dev lo" for each in marks_of(self.name))]
        self._links.change(
            place,
            [
                *(own if number else []),  # the first one is this machine
                f"address add {address}/32 dev {self.name}",
                f"link set {self.name} up",
                f"route add {router}/32 dev {self.name}",
                f"route add {self._subnet} via {router} dev {self.name} src {address}",
            ],
        )

    def _wait_for_links(self, place: Namespace) -> None:
        """Until what is sent there is sent: a link that is up loses all for a moment more."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            links = self._links.ask(place, "link", "show", "type", "veth")
            ours = [each for each in links if place is self._router or each["ifname"] == self.name]
            if all(each.get("operstate") == "UP" for each in ours):
                return
            if time.monotonic() > deadline:
                raise FaultError("a link of the scratch network was not up in time")
            time.sleep(_POLL_S)


def _new_namespace() -> Namespace:
    try:
        return Namespace.new()
    except (AttributeError, FileNotFoundError):
        why = "it takes the network namespaces of Linux, which this system lacks"
    except PermissionError as error:
        why = lacking_rights(f"the kernel says {error.strerror!r}")
    except OSError as error:
        why = f"the kernel gives no network namespace: {error.strerror}"
    raise FaultNotPermitted("scratch_network", why)


def _forward() -> None:
    """Have a namespace route, from wherever: to lose one way only, it must not ask for the other.

    Raises:
        FaultNotPermitted: its settings can't be changed, as in most containers.
    """
    family = _SETTINGS / "ipv4"
    for name, value in (
        ("ip_forward", "1"),
        ("conf/all/rp_filter", "0"),  # of the links that are there
        ("conf/default/rp_filter", "0"),  # and of those to come
    ):
        try:
            (family / name).write_text(value)
        except OSError as error:
            if error.errno not in {errno.EROFS, errno.EACCES, errno.EPERM}:
                raise
            said = f"{family / name} can't be written to: {error.strerror}"
            raise FaultNotPermitted("scratch_network", lacking_rights(said)) from None


def _without_ipv6(link: str) -> None:
    """Nothing is sent by a link of its own accord, where there is IPv6."""
    with suppress(OSError):
        (_SETTINGS / "ipv6" / "conf" / link / "disable_ipv6").write_text("1")


def _nothing() -> None:
    pass
