"""A TCP proxy between a client and a server, which breaks the network between them for real."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self, TypeAlias

from pytest_drdrill.durations import format_duration, parse_duration
from pytest_drdrill.faults import Fault, FaultError, UndoFailed, UndoStack
from pytest_drdrill.live.door import HOST
from pytest_drdrill.live.host_port import read_host_port, read_port
from pytest_drdrill.live.line import Condition
from pytest_drdrill.live.rates import parse_rate
from pytest_drdrill.live.relay import Relay
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from types import TracebackType

    from pytest_drdrill.live.link import Link, Side

Direction: TypeAlias = Literal["both", "to_server", "to_client"]

_DIRECTIONS: dict[str, tuple[int, ...]] = {"both": (0, 1), "to_server": (0,), "to_client": (1,)}
_ARROWS = {"both": "", "to_server": " to the server", "to_client": " to the client"}


class FaultProxy:
    """Forwards TCP connections to a server, untouched until a fault is applied.

    What the ``fault_proxy`` fixture makes; in a script, a context manager::

        with FaultProxy("127.0.0.1", 5432) as proxy:
            connection = connect(proxy.host, proxy.port)
            with proxy.latency("80ms", jitter="20ms"):
                ...

    It listens on 127.0.0.1 only, and works in a thread and an event loop of its own, so that sync
    and async drills use it alike: a fault is in force when its method returns. Faults combine, and
    are undone in any order: latencies add up, the smallest bandwidth decides, one blackhole of
    several is enough. What is under way when latency or bandwidth change takes what the line takes
    from then on. Any protocol on TCP goes through it as it is, TLS too. A connection costs two
    descriptors of this process; a drill that computes without a pause holds the proxy up for
    milliseconds, as they share an interpreter.

    What clients see differs from a direct connection in two ways. Where the server does not listen,
    their connection is made, and reset at once. And the proxy's own kernel acknowledges what they
    send, in a blackhole too, so that TCP keepalives and ``TCP_USER_TIMEOUT`` never fire: a drill of
    those needs a network that is cut below TCP, a ``ScratchNetwork``.

    Args:
        target_host: the server; a name is resolved once, at the start.
        target_port: its port.
        port: to listen on; 0: any that is free.
        seed: of the jitter.
        stack: where its faults are put to be undone.
        announce: told of each fault as it strikes and as it is undone, e.g. for a drill's timeline.

    Attributes:
        target: the server, as ``host:port``.
        host: where clients connect, always 127.0.0.1.
        port: likewise, once it is started.

    Raises:
        TypeError: a host that is no text, or a port that is no whole number.
        ValueError: a port out of range, or no host.
    """

    def __init__(  # noqa: PLR0913 - two, and settings with defaults, by keyword
        self,
        target_host: str,
        target_port: int,
        *,
        port: int = 0,
        seed: int = 0,
        stack: UndoStack | None = None,
        announce: Callable[[str, str], None] | None = None,
    ) -> None:
        self._target = read_host_port(target_host, read_port(target_port))
        self.target = str(self._target)
        self.host = HOST
        self.port = read_port(port, lowest=0)
        self._seed = seed
        self._stack = UndoStack() if stack is None else stack
        self._announce = announce
        self._undos: list[Callable[[], None]] = []
        self._relay: Relay | None = None

    def start(self) -> None:
        """Listen, and forward what comes; the server need not be up.

        Raises:
            FaultError: the server's name is unknown, the port is taken, or it runs already.
        """
        if self._relay is not None:
            raise FaultError(f"the proxy to {self.target} runs already, on {self.address}")
        self._relay = Relay(self._target, self.port, self._seed)
        self.port = self._relay.port

    def stop(self) -> None:
        """Undo its faults, break its connections off, and give the port up; may be called again.

        Raises:
            UndoFailed: a fault could not be undone; the rest was done all the same.
            FaultError: the proxy itself had failed, as for lack of descriptors, so that what its
                clients saw is no evidence.
        """
        failures: list[Exception] = []
        steps = [*reversed(self._undos)]
        if self._relay is not None:
            steps.append(self._relay.stop)
        for step in steps:
            try:
                step()
            except Exception as error:  # noqa: BLE001 - the rest has to be done still
                failures.append(error)
        self._undos.clear()
        self._relay = None
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise UndoFailed(f"the proxy to {self.target} was stopped with failures", failures)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """Where clients connect, as ``host:port``."""
        return f"{self.host}:{self.port}"

    @property
    def connections(self) -> int:
        """How many are open now, at both ends."""
        return 0 if self._relay is None else len(self._relay.links)

    @property
    def accepted(self) -> int:
        """How many were made since the start; by it a drill can tell that its client comes here."""
        return 0 if self._relay is None else self._relay.accepted

    # -- faults ---------------------------------------------------------------------------------

    def latency(
        self,
        delay: str | timedelta,
        *,
        jitter: str | timedelta = "0s",
        direction: Direction = "both",
    ) -> Fault:
        """Slow network: everything takes longer, each way, to the millisecond.

        Nothing is overtaken. At most 4 MiB of a connection are under way in one direction, as a
        TCP window would have it; a sender of more waits. Connecting itself takes no longer.

        Args:
            delay: how much longer, in each direction that is concerned.
            jitter: by how much that is more or less, evenly spread, drawn for whatever is sent.
            direction: ``"to_server"``, ``"to_client"`` or ``"both"``.

        Raises:
            FaultError: the proxy does not run.
            TypeError: a duration without a unit.
            ValueError: no duration, one of zero, a jitter above it, or no such direction.
        """
        takes, varies = _span("delay", delay), _span("jitter", jitter)
        if not takes:
            raise ValueError("a latency of 0s is none")
        if varies > takes:
            raise ValueError(f"the jitter, {jitter!r}, is more than the latency, {delay!r}")
        around = f" ± {format_duration(varies)}" if varies else ""
        condition = Condition(delay=takes.total_seconds(), jitter=varies.total_seconds())
        return self._shape(f"latency of {format_duration(takes)}{around}", condition, direction)

    def bandwidth(self, rate: str, *, direction: Direction = "both") -> Fault:
        """Narrow network: so much passes in a second, of all connections together, in turns.

        Args:
            rate: such as ``"1MB/s"``, ``"64KiB/s"`` or ``"10Mbit/s"``, each way.
            direction: ``"to_server"``, ``"to_client"`` or ``"both"``.

        Raises:
            FaultError: the proxy does not run.
            TypeError: a rate without a unit.
            ValueError: no rate, one of zero, or no such direction.
        """
        condition = Condition(rate=parse_rate(rate))
        return self._shape(f"bandwidth of {rate.strip()}", condition, direction)

    def blackhole(self, *, direction: Direction = "both") -> Fault:
        """Partition: nothing passes, and nobody is told.

        Senders notice nothing until their buffers are full. New connections are not made, on Linux:
        their clients wait until they give up. Undone, the partition heals as TCP heals it: all that
        was sent arrives, late, in order and once, and so do the ends and resets of connections that
        were closed meanwhile. Here it does at once; the retransmissions of a real network back off,
        so that there the silence may last up to twice as long.

        What fits the buffers is acknowledged by the kernel of this machine, so TCP keepalives never
        fire: only timeouts of the application notice.

        Args:
            direction: ``"both"``; or one of ``"to_server"`` and ``"to_client"``, an asymmetric
                partition, such as one in which requests arrive and are carried out, and no answer
                comes back.

        Raises:
            FaultError: the proxy does not run.
            ValueError: no such direction.
        """
        lines = _lines_of(direction)
        fault = object()

        def strike(relay: Relay) -> None:
            # The lines first: whoever gets in before the door falls silent is cut off already.
            for index in lines:
                relay.lines[index].tell(fault, Condition(cut=True))
            relay.cuts.add(fault)
            relay.see_to_door()

        def undo(relay: Relay) -> None:
            relay.cuts.discard(fault)
            for index in lines:
                relay.lines[index].lift(fault)
            relay.see_to_door()

        return self._strike(f"blackhole{_ARROWS[direction]}", strike, undo)

    def reset(self, *, new: bool = False) -> Fault:
        """Connections break off: each open one is reset, at both ends.

        Nothing is left to be undone then: clients may connect anew, unless ``new`` says otherwise.

        Args:
            new: until the fault is undone, new connections too are reset as soon as they are made.

        Raises:
            FaultError: the proxy does not run; or no connection is open, and new ones are left
                alone, so there is nothing to break.
        """
        fault = object()

        def strike(relay: Relay) -> None:
            if not relay.reset_all() and not new:
                raise FaultError(
                    f"no connection is open through the proxy to {self.target}, so there is "
                    "nothing to break; reset(new=True) breaks new ones"
                )
            if new:
                relay.resets.add(fault)

        if not new:
            what = self._what("reset of the open connections")
            relay = self._running()
            relay.call(lambda: strike(relay))
            self._tell("fault", what)
            return Fault(what, lambda: None)  # it is over

        def undo(relay: Relay) -> None:
            relay.resets.discard(fault)

        return self._strike("reset of all connections, new ones too", strike, undo)

    def refuse(self) -> Fault:
        """Server process down: new connections are refused; those that are open stay so.

        Together with ``reset()`` it is what clients see of a server that was killed. Where there is
        a blackhole too, they hear nothing, not even that.

        Raises:
            FaultError: the proxy does not run; and when it is undone, if somebody else listens on
                the port by now.
        """
        fault = object()

        def strike(relay: Relay) -> None:
            relay.refusals.add(fault)
            relay.see_to_door()

        def undo(relay: Relay) -> None:
            relay.refusals.discard(fault)
            relay.see_to_door()

        return self._strike("refusal of new connections", strike, undo)

    def half_open(self, *, lost_by: Side = "server") -> Fault:
        """Half-open connections: one end has lost each open one, and the other doesn't know.

        As after a power cut of the one, or where a firewall has forgotten them. The end that has
        lost them sees a reset; what the other one sends goes nowhere, and it hears nothing until
        the fault is undone: then it is reset too. New connections are sound.

        Args:
            lost_by: the end that has lost them, ``"server"`` or ``"client"``.

        Raises:
            FaultError: the proxy does not run, or no connection is open.
            ValueError: no such end.
        """
        if lost_by not in {"server", "client"}:
            raise ValueError(f"lost_by must be 'server' or 'client', not {shown(lost_by)}")
        forgotten: list[Link] = []

        def strike(relay: Relay) -> None:
            forgotten.extend(link for link in tuple(relay.links) if link.forget(lost_by))
            if not forgotten:
                raise FaultError(
                    f"no connection is open through the proxy to {self.target}, so there is "
                    "nothing to lose"
                )

        def undo(_: Relay) -> None:
            for link in forgotten:
                link.reset()
            forgotten.clear()

        return self._strike(f"open connections lost by the {lost_by} alone", strike, undo)

    def _shape(self, what: str, condition: Condition, direction: Direction) -> Fault:
        lines = _lines_of(direction)
        fault = object()

        def strike(relay: Relay) -> None:
            for index in lines:
                relay.lines[index].tell(fault, condition)

        def undo(relay: Relay) -> None:
            for index in lines:
                relay.lines[index].lift(fault)

        return self._strike(what + _ARROWS[direction], strike, undo)

    def _strike(
        self, what: str, strike: Callable[[Relay], None], undo: Callable[[Relay], None]
    ) -> Fault:
        relay = self._running()
        what = self._what(what)
        struck = False

        def put_right() -> None:
            relay.call(lambda: undo(relay))
            if struck:
                self._tell("fault undone", what)

        # Before the fault: an interrupt between the two must not leave it in force.
        early = self._stack.push(what, put_right)
        self._undos.append(early)
        try:
            relay.call(lambda: strike(relay))
        except FaultError:
            early()
            raise
        struck = True
        self._tell("fault", what)
        return Fault(what, early)

    def _running(self) -> Relay:
        if self._relay is None:
            raise FaultError(
                f"the proxy to {self.target} does not run, so there is nothing to break: "
                "start() it, or use it in its `with` block"
            )
        return self._relay

    def _what(self, fault: str) -> str:
        return f"{fault}, through the proxy {self.address} to {self.target}"

    def _tell(self, event: str, what: str) -> None:
        if self._announce is not None:
            self._announce(event, what)


def _lines_of(direction: str) -> tuple[int, ...]:
    lines = _DIRECTIONS.get(direction) if isinstance(direction, str) else None
    if lines is None:
        known = ", ".join(map(repr, _DIRECTIONS))
        raise ValueError(f"direction must be one of {known}, not {shown(direction)}")
    return lines


def _span(name: str, value: str | timedelta) -> timedelta:
    try:
        return parse_duration(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
