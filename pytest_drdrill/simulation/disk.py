"""Simulated disks: files that fill them, rot, and keep what was fsynced when the power is lost."""

from __future__ import annotations

import copy
import errno
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pytest_drdrill.durations import parse_duration
from pytest_drdrill.simulation.file import SimulatedFile
from pytest_drdrill.simulation.place import MICROSECOND, moment_ahead, now_in

if TYPE_CHECKING:
    from datetime import timedelta

    from pytest_drdrill.simulation.host import Keep, SimulatedHost
    from pytest_drdrill.simulation.world import SimulatedWorld


@dataclass(frozen=True, slots=True)
class _Rot:
    """Bits of a file that turn at a moment."""

    moment: int
    name: str
    bits: int


@dataclass
class _State:
    """All that a disk holds, and all that is known to become of it."""

    files: dict[str, SimulatedFile] = field(default_factory=dict)
    occupied: int = 0
    rots: list[_Rot] = field(default_factory=list)
    stopped: int = 0  # times that its host stopped dead, of those that have been taken into account


class Replay(Protocol):
    """What a program does when nothing is left to it but what the disk holds."""

    def __call__(self, *, lost: bool) -> object:
        """Hold what the disk holds."""
        ...


class SimulatedDisk:
    """A disk of a simulated world, with files; in no time, and without folders.

    What is written can be read at once, and is safe once it was fsynced: when the host stops dead,
    exactly that is left (or, where ``lose_power(keep="prefix")`` says so, a part of the rest). The
    death of a process costs nothing of it, so a drill with ``kill -9`` shows nothing of the kind.
    Errors are those of an operating system, by number and by text.

    Args:
        world: where it is; each host has one, and ``SimulatedWorld.disk`` makes one without.
        name: what events and messages call it.
        capacity: bytes that it holds; None: any number.
        checksums: whether it finds by itself that what it reads is damaged, as ZFS and btrfs do,
            and fails with ``EIO``; else it hands out damaged bytes, as most do, and whoever wants
            to know compares checksums of his own.
        host: whose it is, or None.

    Attributes:
        name: as given.
        checksums: as given.

    Raises:
        TypeError: a capacity that is no whole number.
        ValueError: one below zero.
    """

    def __init__(
        self,
        world: SimulatedWorld,
        name: str,
        *,
        capacity: int | None = None,
        checksums: bool = False,
        host: SimulatedHost | None = None,
    ) -> None:
        if capacity is not None and type(capacity) is not int:
            raise TypeError(f"the capacity of a disk is a whole number of bytes, not {capacity!r}")
        if capacity is not None and capacity < 0:
            raise ValueError(f"the capacity of a disk can't be below zero, as {capacity} is")
        self.name = name
        self.checksums = checksums
        self._world = world
        self._capacity = capacity
        self._host = host
        self._state = _State()
        self._settles = False
        self._told: list[Replay] = []

    def __repr__(self) -> str:
        return f"<SimulatedDisk {self.name!r}>"

    # What a program does with it.

    def write(self, name: str, data: bytes, at: int | None = None) -> None:
        """Write to a file, which is made where there is none; not safe before an ``fsync``.

        Args:
            name: of the file.
            data: what.
            at: the byte to begin at; None: at the end.

        Raises:
            OSError: the disk is full (``ENOSPC``), and nothing was written; or its host is not up
                (``EHOSTDOWN``).
            ValueError: a byte below zero.
        """
        state = self._reached()
        file = state.files.get(name) or SimulatedFile()
        begin = file.size if at is None else at
        if begin < 0:
            raise ValueError(f"write(at={at!r}): a file begins with byte 0")
        self._check_room(name, begin + len(data) - file.size)
        state.files[name] = file
        if data:
            file.write(begin, bytes(data))

    def replace(self, name: str, data: bytes) -> None:
        """Have a file hold something else, all or nothing, and safe when this returns.

        As a temporary file that is written, fsynced and renamed.

        Raises:
            OSError: as of ``write``.
        """
        state = self._reached()
        self._check_room(name, len(data))  # for a moment both are there
        state.files[name] = SimulatedFile(bytearray(data), size=len(data))

    def fsync(self, name: str) -> None:
        """Make what was written to a file safe.

        Raises:
            FileNotFoundError: no such file.
            OSError: its host is not up.
        """
        file = self._file(name)
        file.settle(file.unsafe)

    def read(self, name: str) -> bytes:
        """All that a file holds.

        Raises:
            FileNotFoundError: no such file.
            OSError: its host is not up; or its content is damaged and the disk has checksums
                (``EIO``).
        """
        file = self._file(name)
        if self.checksums and file.is_damaged():
            raise _failure(errno.EIO, name)
        return file.content()

    def remove(self, name: str) -> None:
        """Remove a file, at once and for good.

        Raises:
            FileNotFoundError: no such file.
            OSError: its host is not up.
        """
        self._file(name)
        del self._state.files[name]

    def names(self) -> list[str]:
        """The files, in the order in which they were made.

        Raises:
            OSError: its host is not up.
        """
        return list(self._reached().files)

    @property
    def free(self) -> int | None:
        """Bytes that are left; None: any number."""
        room = self._room()
        return None if room is None else max(0, room - self._state.occupied)

    # What a drill tells it.

    def fill(self, leave: int = 0) -> None:
        """Somebody else fills it, with what is none of its files here, until told otherwise.

        Args:
            leave: bytes that are left free.

        Raises:
            ValueError: it has no bounds, or fewer bytes than that are free.
        """
        if (room := self._room()) is None:
            raise ValueError(f"{self.name} has no capacity, so nothing fills it; make it with one")
        free = max(0, room)
        if not 0 <= leave <= free:
            raise ValueError(f"fill(leave={leave!r}): {free} bytes of {self.name} are free")
        self.empty()
        self._state.occupied = free - leave
        self._world.plan(now_in(self._world), self.name, "fills up", f"{leave} bytes are left")

    def empty(self) -> None:
        """What somebody else filled it with is gone."""
        if self._state.occupied:
            self._state.occupied = 0
            self._world.plan(now_in(self._world), self.name, "has room again")

    def rot(self, name: str, *, bits: int = 1) -> None:
        """Bits of a file turn, which the seed draws, and nobody is told.

        Of what is safe, that is: what only the memory holds does not rot.

        Raises:
            ValueError: no bit, or nothing of such a file is on the disk.
        """
        self.settle()
        file = self._state.files.get(name)
        if file is None or not file.safe:
            raise ValueError(
                f"{self.name} holds nothing of a file {name!r} that is safe and could rot"
            )
        self._decay(now_in(self._world), name, bits)

    def rot_at(self, at: str | timedelta, name: str, *, bits: int = 1) -> None:
        """They turn at a moment that is still to come, if the file is there by then.

        Args:
            at: how long after the world's beginning, such as ``"5m"``.
            name: of the file.
            bits: how many.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, a moment that has passed, or no bit.
        """
        self._decay(moment_ahead(self._world, "rot_at", self.name, at), name, bits)

    def rot_within(self, span: str | timedelta, name: str, *, bits: int = 1) -> None:
        """They turn at a moment of the time to come that the seed draws; see ``rot_at``.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, or no bit.
        """
        most = parse_duration(span) // MICROSECOND
        drawn = self._world.random(f"{self.name} rots").randint(0, most)
        self._decay(now_in(self._world) + drawn, name, bits)

    # What becomes of it.

    @property
    def losses(self) -> int:
        """How many times its host stopped dead by now: what a program held in memory is gone."""
        self.settle()
        return self._state.stopped

    def settle(self) -> None:
        """Have become of it what has become of it by now; whatever uses it does so first."""
        if self._settles:  # as a replay reads it, which is to find it as of that loss
            return
        self._settles = True
        try:
            self._catch_up()
        finally:
            self._settles = False

    def _catch_up(self) -> None:
        state, now = self._state, now_in(self._world)
        stops = [] if self._host is None else self._host.stops_until(now)[state.stopped :]
        if not (stops or state.rots):
            return
        due = sorted((each for each in state.rots if each.moment <= now), key=_moment_of)
        state.rots = [each for each in state.rots if each.moment > now]
        for moment, keep in stops:
            while due and due[0].moment <= moment:
                self._turn(due.pop(0))
            self._lose(keep)
        for each in due:
            self._turn(each)

    def _lose(self, keep: Keep) -> None:
        self._state.stopped += 1
        chance = self._world.random(f"{self.name} loses power")
        gone = 0
        for file in self._state.files.values():
            unsafe = file.unsafe
            kept = chance.randint(0, unsafe) if keep == "prefix" and unsafe else 0
            file.settle(kept)
            gone += unsafe - kept
        if gone:
            self._world.record(self.name, "loses what was not fsynced", f"{gone} bytes")
        for told in self._told:
            told(lost=True)

    def _turn(self, rot: _Rot) -> None:
        file = self._state.files.get(rot.name)
        if file is None or not file.safe:
            self._world.record(self.name, "has nothing to rot", rot.name)
            return
        whole = 8 * len(file.safe)
        drawn = self._world.random(f"{self.name} rots").sample(range(whole), min(rot.bits, whole))
        for bit in drawn:
            file.safe[bit // 8] ^= 1 << bit % 8
            file.rotten.add(bit // 8)
        self._world.record(self.name, "rots", f"{rot.name}, {len(drawn)} bits")

    def _decay(self, moment: int, name: str, bits: int) -> None:
        if type(bits) is not int or bits < 1:
            raise ValueError(f"bits that rot are a whole number from 1 on, not {bits!r}")
        self._state.rots.append(_Rot(moment, name, bits))
        self._world.plan_call(moment, self.settle)

    def on_loss(self, told: Replay) -> None:
        """Have a function called each time that all was lost that was in memory.

        It is called with ``lost=True``; with ``lost=False`` where the world has begun anew.
        """
        self._told.append(told)

    def peek(self, name: str) -> bytes:
        """What is read of a file, whether or not its host is up: for onlookers and for replays.

        Of a file that is not there, nothing.
        """
        self.settle()
        file = self._state.files.get(name)
        return b"" if file is None else file.content()

    # Inside.

    def _reached(self) -> _State:
        """All that it holds, as a program on its host finds it."""
        self.settle()
        if self._host is not None and not self._host.is_up:
            raise _failure(errno.EHOSTDOWN, self._host.name)
        return self._state

    def _file(self, name: str) -> SimulatedFile:
        file = self._reached().files.get(name)
        if file is None:
            raise _failure(errno.ENOENT, name)
        return file

    def _room(self) -> int | None:
        """Bytes that its files leave; None: any number."""
        self.settle()
        if self._capacity is None:
            return None
        return self._capacity - sum(file.size for file in self._state.files.values())

    def _check_room(self, name: str, wanted: int) -> None:
        free = self.free
        if free is not None and wanted > free:
            raise _failure(errno.ENOSPC, name)

    # What its world keeps of it.

    def kept(self) -> Any:
        """A copy of how it is now, for a world that begins anew."""
        return copy.deepcopy(self._state), list(self._told)

    def begin_anew(self, kept: Any) -> None:
        """Be again as it was when that copy was made."""
        state, told = kept
        self._state, self._told = copy.deepcopy(state), list(told)
        for each in self._told:
            each(lost=False)


def _moment_of(rot: _Rot) -> int:
    return rot.moment


def _failure(number: int, name: str) -> OSError:
    return OSError(number, os.strerror(number), name)
