"""Simulated hosts: they crash, lose power, boot, pause and slow down, with all that is on them."""

from __future__ import annotations

import copy
from bisect import bisect_right, insort
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

from pytest_drdrill.durations import format_duration, parse_duration
from pytest_drdrill.simulation.disk import SimulatedDisk
from pytest_drdrill.simulation.drift import DriftingClock
from pytest_drdrill.simulation.place import MICROSECOND, moment_ahead, now_in
from pytest_drdrill.simulation.steps import Steps, earliest

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from pytest_drdrill.simulation.condition import State
    from pytest_drdrill.simulation.endpoint import SimulatedEndpoint
    from pytest_drdrill.simulation.region import SimulatedRegion
    from pytest_drdrill.simulation.world import SimulatedWorld

Keep: TypeAlias = Literal["fsynced", "prefix"]


class _Course(NamedTuple):
    """All that was ever told a host, and is planned for it."""

    up_from: Steps[int | None]  # from when on it is up; None: it is off
    paused: Steps[bool]
    factor: Steps[float]
    stops: list[tuple[int, Keep]]  # when it stops dead, and what its disk then keeps
    boots: list[int]  # when it is restarted


class SimulatedHost:
    """A machine of a simulated world; up, and as fast as ever, until told otherwise.

    How it fares is a function of time, and so is how all that lives on it fares: an endpoint on a
    host that is off or boots is silent, and what reached it is never answered; on one that is
    paused it is silent and goes on where it was; on a slow one its requests take longer. Whether a
    *process* is dead while its host lives is told the endpoint: ``endpoint.fail()``, which refuses,
    and costs no file a byte.

    Args:
        world: where it stands; ``SimulatedWorld.hosts`` makes it.
        name: what events and messages call it.
        place: the region that it is in, or None.
        boot_time: from a restart, or the return of its region, until it is up.
        capacity: bytes that its disk holds; None: any number.

    Attributes:
        name: as given.
        place: as given.
        boot_time: as given, as a timedelta.
        disk: its disk, which loses what was not fsynced when the host stops dead.
        clock: its own clock, which may run fast or slow and be set; goes on through every reboot.

    Raises:
        TypeError: a name that is no text, a duration without a unit, or no whole number of bytes.
        ValueError: an empty name, no duration, or a capacity below zero.
    """

    def __init__(
        self,
        world: SimulatedWorld,
        name: str,
        *,
        place: SimulatedRegion | None = None,
        boot_time: str | timedelta = "30s",
        capacity: int | None = None,
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name of a host must be text, not {name!r:.80}")
        if not name.strip():
            raise ValueError("a host needs a name")
        self.name = name
        self.place = place
        try:
            self.boot_time = parse_duration(boot_time)
        except (TypeError, ValueError) as error:
            raise type(error)(f"host {name!r}: boot_time: {error}") from None
        self._boot = self.boot_time // MICROSECOND
        self._world = world
        self._course = _Course(Steps(0), Steps(False), Steps(1.0), [], [])
        self._earlier = 0 if place is None else _losses_over(place, now_in(world))
        self.disk = SimulatedDisk(world, f"disk of {name}", capacity=capacity, host=self)
        self.clock = DriftingClock(world, name)

    def __repr__(self) -> str:
        return f"<SimulatedHost {self.name!r}>"

    @property
    def key(self) -> str:
        """Its kind and its name."""
        return f"host {self.name}"

    @property
    def endpoints(self) -> tuple[SimulatedEndpoint, ...]:
        """The endpoints that live on it."""
        return self._world.population.endpoints_in(self)

    # What a drill tells it.

    def crash(self, keep: Keep = "prefix") -> None:
        """Its operating system dies, as in a kernel panic: silent until it is restarted.

        The memory is gone, as in a loss of power: see ``lose_power``, which differs in what the
        disk keeps by default, since a system that wrote in the background has written a part.
        """
        self._stop(now_in(self._world), keep, "crashes")

    def crash_at(self, at: str | timedelta, keep: Keep = "prefix") -> None:
        """It crashes at a moment that is still to come.

        Args:
            at: how long after the world's beginning, such as ``"5m"``.
            keep: as of ``lose_power``.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, a moment that has passed, or no such way to keep.
        """
        self._stop(self._ahead("crash_at", at), keep, "crashes")

    def lose_power(self, keep: Keep = "fsynced") -> None:
        """It is off: silent until it is restarted, and what was written and not fsynced is gone.

        Args:
            keep: ``"fsynced"``: that, and nothing else; or ``"prefix"``: of the rest a part as
                well, of each file, in the order in which it was written and as much as the seed
                draws; the last write of it may be torn.

        Raises:
            ValueError: no such way to keep.
        """
        self._stop(now_in(self._world), keep, "loses power")

    def lose_power_at(self, at: str | timedelta, keep: Keep = "fsynced") -> None:
        """It loses power at a moment that is still to come; see ``lose_power`` and ``crash_at``.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, a moment that has passed, or no such way to keep.
        """
        self._stop(self._ahead("lose_power_at", at), keep, "loses power")

    def restart(self) -> None:
        """It boots, and is up after its boot time; one that runs shuts down in order for that."""
        self._boots(now_in(self._world))

    def restart_at(self, at: str | timedelta) -> None:
        """It boots at a moment that is still to come; see ``crash_at``.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, or a moment that has passed.
        """
        self._boots(self._ahead("restart_at", at))

    def pause(self) -> None:
        """Everything on it stands still, as after SIGSTOP or in a stalled virtual machine."""
        self._stands(now_in(self._world), paused=True)

    def pause_at(self, at: str | timedelta) -> None:
        """It pauses at a moment that is still to come; see ``crash_at``.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, or a moment that has passed.
        """
        self._stands(self._ahead("pause_at", at), paused=True)

    def resume(self) -> None:
        """It goes on where it was paused; what waits for it is answered late."""
        self._stands(now_in(self._world), paused=False)

    def resume_at(self, at: str | timedelta) -> None:
        """It goes on at a moment that is still to come; see ``crash_at``.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, or a moment that has passed.
        """
        self._stands(self._ahead("resume_at", at), paused=False)

    def slow(self, factor: float) -> None:
        """What is done on it takes so many times as long from now on; 1: as long as ever.

        Raises:
            TypeError: no number.
            ValueError: a factor of zero or less, or none that is finite.
        """
        if isinstance(factor, bool) or not isinstance(factor, int | float):
            raise TypeError(f"slow() takes a factor such as 4, not {factor!r:.80}")
        if not 0 < factor < float("inf"):
            raise ValueError(f"slow({factor!r}): a factor must be a number above zero")
        now = now_in(self._world)
        self._course.factor.set(now, float(factor))
        self._told(now, "slows down", f"by a factor of {factor:g}")

    # How it fares.

    @property
    def is_up(self) -> bool:
        """Whether it runs now: on, booted, and not paused."""
        return self.state_at(now_in(self._world)) == "well"

    def state_at(self, moment: int) -> State:
        """How what lives on it meets what reaches it at a moment, as far as that is the host's."""
        up_from = self._up_from(moment)
        if up_from is None or moment < up_from:
            return "gone"
        since, paused = next(self._course.paused.backwards(moment), (0, False))
        return "silent" if paused and since >= self._back_since(moment) else "well"

    def factor_at(self, moment: int) -> float:
        """How many times as long everything takes on it at a moment."""
        return self._course.factor.at(moment)

    def changes_after(self, moment: int) -> int | None:
        """The next moment at which it may fare otherwise, as far as is known; None: none."""
        course, up_from = self._course, self._up_from(moment)
        boots = up_from if up_from is not None and up_from > moment else None
        region = None if self.place is None else self.place.changes_after(moment)
        told = (course.up_from.after(moment), course.paused.after(moment))
        return earliest(boots, region, course.factor.after(moment), *told)

    def stops_until(self, moment: int) -> list[tuple[int, Keep]]:
        """When it stopped dead, up to a moment, and what its disk kept of what was not safe."""
        found = [each for each in self._course.stops if each[0] <= moment]
        if self.place is not None:
            lost = self.place.stops_until(moment)[self._earlier :]
            found += [(each, "fsynced") for each in lost]
        return sorted(found, key=_moment_of)

    def forgets_until(self, moment: int) -> int:
        """How many times, up to a moment, all was gone that was under way on it."""
        boots = bisect_right(self._course.boots, moment)
        return boots + len(self.stops_until(moment))

    def _up_from(self, moment: int) -> int | None:
        """When it was up, or will be, by all that has been told by a moment; None: it is off."""
        up_from = self._course.up_from.at(moment)
        if self.place is None or up_from is None:
            return up_from
        if self.place.state_at(moment) == "gone":
            return None
        if len(self.place.stops_until(moment)) <= self._earlier:
            return up_from
        restored = self.place.restored_before(moment)
        return up_from if restored is None else max(up_from, restored + self._boot)

    def _back_since(self, moment: int) -> int:
        """When its region was back for the last time: what was paused before has booted since."""
        restored = None if self.place is None else self.place.restored_before(moment)
        return 0 if restored is None else restored

    # Inside.

    def _ahead(self, called: str, at: str | timedelta) -> int:
        return moment_ahead(self._world, called, self.name, at)

    def _stop(self, moment: int, keep: Keep, event: str) -> None:
        if keep not in get_args(Keep):
            known = " or ".join(repr(each) for each in get_args(Keep))
            raise ValueError(f"what a disk keeps is {known}, not {keep!r}")
        self._course.up_from.set(moment, None)
        insort(self._course.stops, (moment, keep), key=_moment_of)
        # The disk looks at once, so that the trace has its loss where it belongs.
        self._told(moment, event, then=self.disk.settle)

    def _boots(self, moment: int) -> None:
        up_from = moment + self._boot
        self._course.up_from.set(moment, up_from)
        self._course.paused.set(moment, False)
        insort(self._course.boots, moment)
        self._told(moment, "boots", f"up after {format_duration(self.boot_time)}")

    def _stands(self, moment: int, *, paused: bool) -> None:
        self._course.paused.set(moment, paused)
        self._told(moment, "pauses" if paused else "resumes")

    def _told(
        self, moment: int, event: str, detail: str = "", then: Callable[[], object] | None = None
    ) -> None:
        self._world.plan(moment, self.name, event, detail, then)
        self._world.tell()  # of what is planned as well: whoever waits knew nothing of it

    # What its world keeps of it.

    def kept(self) -> Any:
        """A copy of how it is now, for a world that begins anew."""
        return copy.deepcopy(self._course), self.disk.kept(), self.clock.kept()

    def begin_anew(self, kept: Any) -> None:
        """Be again as it was when that copy was made."""
        course, disk, clock = kept
        self._course = copy.deepcopy(course)
        self.disk.begin_anew(disk)
        self.clock.begin_anew(clock)


def _losses_over(region: SimulatedRegion, moment: int) -> int:
    """How many times a region was lost and is back: a host that is made by then met none of it."""
    lost = len(region.stops_until(moment))
    return lost - 1 if region.state_at(moment) == "gone" else lost


def _moment_of(stop: tuple[int, Keep]) -> int:
    return stop[0]
