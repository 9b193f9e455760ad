"""A private network of hosts on this machine, cut below TCP: packets are lost without a word."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import TYPE_CHECKING, Literal, TypeAlias

from pytest_drdrill.faults import Fault, FaultError, UndoStack
from pytest_drdrill.live.closing import Closing
from pytest_drdrill.live.network.host import NetworkHost
from pytest_drdrill.live.network.subnet import MOST_HOSTS
from pytest_drdrill.live.network.wires import Wires
from pytest_drdrill.text import NAME_LIMIT, named, one_line, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    Place: TypeAlias = NetworkHost | str

DRILL = "drill"
"""What the drill's own process is called in a network."""
OTHERS: Literal["others"] = "others"
"""All places but those of the other side."""


class ScratchNetwork(Closing):
    """Hosts with addresses of their own, which reach one another and the drill's own process.

    What the ``scratch_network`` fixture makes; in a script, a context manager::

        with ScratchNetwork("primary", "standby") as net:
            primary, standby = net.hosts
            with primary.within():
                server.start([..., "--listen", primary.address], ready)
            with net.partition(primary):
                ...

    Each host is a network namespace; another one between them routes, and loses what a fault says.
    Nothing leads out of the network, and nothing from outside of this machine leads in. It has one
    link on this machine; other links, rules and firewalls stay as they are. A firewall that turns
    away what comes to this machine may keep hosts from the drill's own process, never the other
    way round.

    A packet that is lost is not refused, reset or acknowledged, as where a cable is pulled: who
    sends it hears nothing. So TCP keepalives and ``TCP_USER_TIMEOUT`` fire, which no proxy can
    show. Connections stay, on both sides; once healed, they go on with the next retransmission,
    for which TCP may wait as long again as the partition took. Faults combine, and are undone in
    any order.

    It takes root (``CAP_SYS_ADMIN`` and ``CAP_NET_ADMIN``) and the program ``ip`` of iproute2. It
    is gone at the end of the drill, with all that runs within it, and so it is where this process
    is killed. Not for several threads at once.

    Args:
        hosts: their names, such as ``"primary"``.
        stack: where its faults are put to be undone.
        announce: told of each fault as it strikes and as it is undone, e.g. for a drill's timeline.

    Attributes:
        name: of its link on this machine, by chance.
        hosts: in the order of their names.
        drill: where the drill's own process is, as a host named ``"drill"``.

    Raises:
        ComponentMissing: this machine has no ``ip``.
        FaultNotPermitted: this process may not make it, or the kernel lacks what it takes.
        FaultError: it could not be made, for another reason.
        TypeError: a name that is no text.
        ValueError: no name, one twice, too many, or one that means something else.
    """

    def __init__(
        self,
        *hosts: str,
        stack: UndoStack | None = None,
        announce: Callable[[str, str], None] | None = None,
    ) -> None:
        _check_names(hosts)
        self._stack = UndoStack() if stack is None else stack
        self._announce = announce
        self._undos: list[Callable[[], None]] = []
        self._wires = Wires(hosts)
        self.name = self._wires.name
        places = zip((DRILL, *hosts), self._wires.addresses, self._wires.namespaces, strict=True)
        self._places = [NetworkHost(*each) for each in places]
        self.drill, *others = self._places
        self.hosts = tuple(others)

    def __getitem__(self, name: str) -> NetworkHost:
        """A host by its name; ``"drill"`` is where the drill's own process is.

        Raises:
            ValueError: there is no such host.
        """
        return self._place(name)

    def close(self) -> None:
        """End all that runs within it, and remove it; again, nothing happens.

        Raises:
            FaultError: it could not be removed; it is tried again when this process has ended.
        """
        try:
            self._wires.close()
        except OSError as error:
            raise FaultError(
                f"the scratch network {self.name} could not be removed: {error.strerror or error}"
            ) from error
        for each in self._places:
            each.leave()
        self.heal()

    def partition(
        self,
        a: Place | Iterable[Place],
        b: Place | Iterable[Place] = OTHERS,
        *,
        one_way: bool = False,
    ) -> Fault:
        """Nothing passes between two sides, and nobody is told.

        It holds when this returns, for connections that are open too.

        Args:
            a: a host, by its name or itself, or several of them; ``"drill"`` is the drill's own
                process.
            b: likewise; by default all others. Who is on neither side reaches both.
            one_way: only what ``a`` sends to ``b`` is lost; what ``b`` sends arrives, and the
                answer to it does not.

        Returns:
            The fault: ``undo()`` heals it, and so does the end of a ``with`` block.

        Raises:
            FaultError: the network is gone.
            FaultNotPermitted: the kernel lacks what it takes.
            ValueError: no such host, or one that is on both sides.
        """
        first = self._group(a)
        second = [each for each in self._places if each not in first]
        if not (isinstance(b, str) and b == OTHERS):
            second = self._group(b)
        _check_sides(first, second)
        if self._wires.is_gone:
            raise FaultError(f"the scratch network {self.name} is gone, so there is nothing to cut")
        ways = [*product(first, second), *(() if one_way else product(second, first))]
        join = "to" if one_way else "and"
        sides = f"{_names(first)} {join} {OTHERS if b == OTHERS else _names(second)}"
        return self._strike(f"partition of {sides}, in the scratch network {self.name}", ways)

    def heal(self) -> None:
        """Undo all partitions that there are now."""
        for undo in reversed(self._undos):
            undo()
        self._undos.clear()

    def _strike(self, what: str, ways: Iterable[tuple[NetworkHost, NetworkHost]]) -> Fault:
        number = {id(each): place for place, each in enumerate(self._places)}
        cuts: list[int] = []
        struck = False

        def put_right() -> None:
            nonlocal struck
            if not self._wires.is_gone:  # and its rules with it
                self._wires.mend(cuts)
            if struck:
                struck = False
                self._tell("fault undone", what)

        # Before the fault: an interrupt between the two must not leave it in force.
        early = self._stack.push(what, put_right)
        self._undos.append(early)
        try:
            self._wires.cut(((number[id(a)], number[id(b)]) for a, b in ways), cuts)
        except FaultError:
            early()
            raise
        struck = True
        self._tell("fault", what)
        return Fault(what, early)

    def _place(self, given: object) -> NetworkHost:
        for each in self._places:
            if given is each or given == each.name:
                return each
        names = named([each.name for each in self._places])
        raise ValueError(f"{shown(given)} is no host of this scratch network; there are {names}")

    def _group(self, given: object) -> list[NetworkHost]:
        if not isinstance(given, Iterable) or isinstance(given, str):
            return [self._place(given)]
        found = [self._place(each) for each in given]
        return [each for each in self._places if each in found]

    def _tell(self, event: str, what: str) -> None:
        if self._announce is not None:
            self._announce(event, what)


def _names(places: Iterable[NetworkHost]) -> str:
    return one_line("+".join(each.name for each in places), NAME_LIMIT)


def _check_names(names: tuple[str, ...]) -> None:
    if not names:
        raise ValueError('a scratch network takes the names of its hosts, such as "primary"')
    if len(names) > MOST_HOSTS:
        raise ValueError(f"a scratch network has at most {MOST_HOSTS} hosts, not {len(names)}")
    for each in names:
        if not isinstance(each, str):
            raise TypeError(f"the name of a host is a text, not {shown(each)}")
        if not each.strip() or each in {DRILL, OTHERS}:
            raise ValueError(
                f"{shown(each)} is no name of a host; any text is but '{DRILL}' and '{OTHERS}', "
                "which mean the drill's own process and all others"
            )
    if len(set(names)) < len(names):
        twice = next(each for each in names if names.count(each) > 1)
        raise ValueError(f"{shown(twice)} names two hosts of one scratch network")


def _check_sides(first: list[NetworkHost], second: list[NetworkHost]) -> None:
    if not first or not second:
        raise ValueError("a partition has a host on each side")
    both = [each.name for each in first if each in second]
    if both:
        raise ValueError(f"{shown(both[0])} is on both sides of the partition")
