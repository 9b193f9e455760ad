"""Where things are: what a network tells apart, and what it takes with it when it is lost."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from pytest_drdrill.durations import format_duration, parse_duration

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from pytest_drdrill.simulation.clock import VirtualClock
    from pytest_drdrill.simulation.condition import State
    from pytest_drdrill.simulation.world import SimulatedWorld

MICROSECOND = timedelta(microseconds=1)
CLIENTS = "clients"
"""What is outside of every place: most clients, and who watches and promotes."""
OTHERS: Literal["others"] = "others"
"""The other side of a partition: everybody who is not on the first one."""


class Place(Protocol):
    """A region, a host or an endpoint of a simulated world."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def key(self) -> str:
        """Its kind and its name, which together are unique in a world."""
        ...

    @property
    def place(self) -> Place | None:
        """Where it is itself: a host or a region; None: in none."""
        ...

    def state_at(self, moment: int) -> State:
        """How it meets what reaches it at a moment, whatever it is in included."""
        ...

    def changes_after(self, moment: int) -> int | None:
        """The next moment at which that may change, as far as is known; None: none."""
        ...

    def kept(self) -> Any:
        """A copy of how it is now, for a world that begins anew."""
        ...

    def begin_anew(self, kept: Any) -> None:
        """Be again as it was when that copy was made."""
        ...


OUTSIDE = (CLIENTS,)
"""The keys of where that is."""


def keys_of(place: Place | None) -> tuple[str, ...]:
    """A place and all that it is in, the innermost first; None: where the clients are."""
    if place is None:
        return OUTSIDE
    found: list[str] = []
    while place is not None:
        found.append(place.key)
        place = place.place
    return tuple(found)


def shown_place(place: Place | None) -> str:
    """A place, as messages and traces call it."""
    return CLIENTS if place is None else place.name


def now_in(world: SimulatedWorld) -> int:
    """Microseconds since a world began."""
    return round(world.clock.monotonic() * 1e6)


def moment_ahead(world: SimulatedWorld, called: str, name: str, at: str | timedelta) -> int:
    """A moment that is still to come, given as the age of the world.

    Args:
        world: the world.
        called: the method that was asked, for the message.
        name: of what is planned for.
        at: how long after the world's beginning.

    Raises:
        TypeError: a duration without a unit.
        ValueError: no duration, or a moment that has passed.
    """
    moment = parse_duration(at) // MICROSECOND
    if moment < now_in(world):
        passed = format_duration(now_in(world) * MICROSECOND)
        raise ValueError(
            f"{called}({at!r}) of {name!r}: that moment has passed, the world is {passed} "
            "old by now"
        )
    return moment


Waiting: TypeAlias = "list[asyncio.Future[None]]"
"""Those who wait until something is told, of whatever it is the list of."""


async def wait_for_change(
    clock: VirtualClock, waiting: Waiting, now: int, moments: Sequence[int | None]
) -> None:
    """Wait for the first of some moments, where None is never, or until anything is told."""
    told: asyncio.Future[None] = clock.loop.create_future()
    waiting.append(told)
    known = [each for each in moments if each is not None]
    limit = (min(known) - now) / 1e6 if known else None
    try:
        with contextlib.suppress(TimeoutError):
            async with clock.timeout(limit):
                await told
    finally:
        waiting.remove(told)


def tell(waiting: Waiting) -> None:
    """Have those who wait look again."""
    for told in waiting:
        if not told.done():
            told.set_result(None)
