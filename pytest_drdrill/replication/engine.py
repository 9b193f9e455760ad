"""What runs between a start and a stop: the epochs of a replication and the tasks around them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

from pytest_drdrill.replication.acknowledged import AcknowledgedWrites
from pytest_drdrill.replication.alerts import Alerts
from pytest_drdrill.replication.control import Control
from pytest_drdrill.replication.errors import (
    CatchUpTimeoutError,
    NotReplicatingError,
    RegionUnreachableError,
    ReplicationError,
    ReplicationFailed,
    SilentRegionError,
)
from pytest_drdrill.replication.events import ALONE, EventKind, Rejoin, ReplicationEvent
from pytest_drdrill.replication.leadership import Leadership, Owed, Parts
from pytest_drdrill.replication.network import MessageLostError, PatientNetwork
from pytest_drdrill.replication.region import Region, Replica
from pytest_drdrill.replication.shipping import INTERRUPTED
from pytest_drdrill.replication.tasks import Tasks
from pytest_drdrill.replication.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.replication.network import Network
    from pytest_drdrill.replication.settings import Settings
    from pytest_drdrill.replication.shipping import Shipper


class Engine:
    """The regions of a replication, and which of them leads whom; the host of a ``Switchover``.

    Args:
        regions: all of them, one of which is the primary.
        settings: checked.
        network: what lies between them.
        clock: the clock.
        on_event: told of each event, or None.

    Attributes:
        primary: name of the region that takes the writes.
        events: all that happened.
        loop: the event loop that it runs in, or None.
        error: what broke it, or None.
        switching: held by whoever changes who leads or follows.
    """

    def __init__(
        self,
        regions: Iterable[Region],
        settings: Settings,
        network: Network,
        clock: Clock,
        on_event: Callable[[ReplicationEvent], None] | None,
    ) -> None:
        self._regions = {each.name: each for each in regions}
        self._replicas = {name: Replica(each) for name, each in self._regions.items()}
        self.primary = next(name for name, each in self._regions.items() if each.is_primary)
        patient = PatientNetwork(network, clock, settings.lost_after)
        self.alerts = Alerts(lambda reason: self.record("callback_failed", reason=reason))
        self.parts = Parts(
            patient, clock, settings, self.record, self._chance, self._broken, self.alerts.tell
        )
        self._on_event = on_event
        self.events: list[ReplicationEvent] = []
        self.control = Control(self._replicas, self.parts)
        self.watch = Watch(
            list(self._regions), self.parts, lambda: self.leadership, self.alerts.tell
        )
        self._tasks: Tasks | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._leadership: Leadership | None = None
        self._owed = Owed(AcknowledgedWrites())
        self._left_behind: set[str] = set()
        self.switching = asyncio.Lock()
        self.error: BaseException | None = None

    # What is known.

    @property
    def regions(self) -> tuple[Region, ...]:
        """All of them, as they were given."""
        return tuple(self._regions.values())

    @property
    def is_running(self) -> bool:
        """Whether it was started, and neither stopped nor broken."""
        return self._tasks is not None and self.error is None

    @property
    def failure(self) -> ReplicationFailed | None:
        """What broke it, until it is stopped, as the error that says so; else None."""
        return None if self._tasks is None or self.error is None else _failed(self.error)

    @property
    def leadership(self) -> Leadership:
        """The primary in its epoch, with those who follow.

        Raises:
            NotReplicatingError: it does not run, or runs in another loop.
            ReplicationFailed: it broke.
        """
        self.check_running()
        if self._leadership is None:
            raise NotReplicatingError("the replication is about to start or to stop")
        return self._leadership

    @property
    def current(self) -> Leadership | None:
        """The same; None where it does not run."""
        return self._leadership

    def replica(self, name: str) -> Replica:
        """A region as it acts."""
        return self._replicas[name]

    def known(self, name: object) -> None:
        """Make sure that a region is one of these.

        Raises:
            ValueError: it is not.
        """
        if name not in self._regions:
            raise ValueError(f"no region is named {name!r:.80}; there are {list(self._regions)}")

    def check_running(self) -> None:
        """Make sure that it runs, in this loop.

        Raises:
            NotReplicatingError: it does not.
            ReplicationFailed: it broke.
        """
        if self._tasks is None:
            raise NotReplicatingError(
                "the replication does not run; use `async with replication`, or start_replication()"
            )
        self._check_loop()
        if self.error is not None:
            raise _failed(self.error)

    def _check_loop(self) -> None:
        if asyncio.get_running_loop() is not self.loop:
            raise NotReplicatingError(
                "the replication runs in another event loop; use it in the one it began in"
            )

    # Beginning and end.

    async def start(self) -> None:
        """Begin an epoch of the primary; see ``CrossRegionReplication.start_replication``."""
        if self._tasks is not None:
            raise ReplicationError("this replication runs already; stop it before a new start")
        self.loop = asyncio.get_running_loop()
        self.error, self.switching = None, asyncio.Lock()
        self._tasks = Tasks(self._broken)
        self.alerts.begin()
        left = self._left_behind
        try:
            epoch = self.control.next_epoch()
            others = [name for name in self._regions if name != self.primary and name not in left]
            try:
                await self.control.grant(self._replicas[self.primary], epoch)
            except ConnectionError as error:
                raise RegionUnreachableError(
                    f"the primary, {self.primary}, can't be reached: {error}"
                ) from None
            except OSError as error:
                raise ReplicationError(
                    f"the primary, {self.primary}, can't store its epoch: {error}"
                ) from error
            why = f"{self.parts.settings.mode}, epoch {epoch}"
            self.record("replication_started", self.primary, reason=why)
            leadership = self.install(self.primary, epoch, (), self._owed)
            # Writes that come meanwhile wait for all of them.
            shippers = [leadership.shipper(self._replicas[name]) for name in others]
            leadership.shippers.update((each.name, each) for each in shippers)
            for shipper in shippers:
                await self._follow(leadership, shipper)
            if not shippers:
                self.record("unprotected", self.primary, reason=ALONE)
            self._tasks.start(self.control.renew_forever(), "replication lease")
            self._tasks.start(self.alerts.tell_forever(), "replication alerts")
            self.watch.start(self._tasks)
        except BaseException:
            self._left_behind = left
            if self._tasks is not None:
                await self._end("the replication did not start")
            raise

    async def stop(self) -> None:
        """End everything; see ``CrossRegionReplication.stop_replication``."""
        if self._tasks is None:
            return
        self._check_loop()
        if asyncio.current_task() in self._tasks:
            raise ReplicationError("a callback can't stop the replication that waits for its end")
        await self._end("the replication was stopped")
        if self.error is not None:
            raise _failed(self.error)

    async def _end(self, why: str) -> None:
        tasks, leadership = self._tasks, self._leadership
        assert tasks is not None
        self.control.give_up()
        self._leadership = None  # from here on nothing is acknowledged, and nobody takes over
        if leadership is not None:
            self._owed = leadership.owed
        try:
            await tasks.end()
            if leadership is not None:
                await leadership.end(why)
        finally:
            self._tasks = self.loop = self._leadership = None
            self.record("replication_stopped", self.primary, reason=why)

    def _broken(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error
            self.control.give_up()
            if self._leadership is not None:
                self._leadership.give_up(f"the replication broke: {error!r}")
            self.record("replication_failed", reason=repr(error))

    # Who leads, who follows.

    def install(self, name: str, epoch: int, followers: Iterable[str], owed: Owed) -> Leadership:
        """Begin an epoch: its primary, and who follows; the lease is another matter."""
        others = [each for each in self._regions if each != name]
        leadership = Leadership(self._replicas[name], epoch, self.parts, others, owed)
        for each in self._regions.values():
            each.is_primary = each.name == name
        self.primary, self._leadership = name, leadership
        self._left_behind = set(others) - set(followers)
        for follower in followers:
            leadership.follow(leadership.shipper(self._replicas[follower]))
        return leadership

    async def _follow(self, leadership: Leadership, shipper: Shipper) -> None:
        """Have a region follow, at once if it can be reached; else that goes on to be tried."""
        with contextlib.suppress(*INTERRUPTED):
            await shipper.attach()
        if self._leadership is not leadership:
            raise NotReplicatingError("the replication was stopped before it had started")
        leadership.follow(shipper)
        self._left_behind.discard(shipper.name)

    async def rejoin(self, name: str) -> Rejoin:
        """Have a region follow that was left behind; see ``CrossRegionReplication.rejoin``."""
        if name == self.primary:
            raise ReplicationError(f"{name} is the primary; there is nobody for it to follow")
        leadership = self.leadership
        before = leadership.shippers.get(name)
        shipper = leadership.shipper(self._replicas[name])
        try:
            if before is not None:  # it is waited for as before, until the new one is in its place
                await before.end()
            rejoin = await shipper.attach()
        except BaseException as error:
            if before is not None:
                before.start()
            if not isinstance(error, INTERRUPTED):
                raise
            raise RegionUnreachableError(f"{name} can't rejoin: {error}") from None
        leadership.follow(shipper)
        self._left_behind.discard(name)
        self.record("rejoined", name, other=self.primary, reason=rejoin.how)
        return rejoin

    async def wait_caught_up(self, name: str, limit: float | None) -> None:
        """Wait for a follower; see ``CrossRegionReplication.wait_caught_up``."""
        leadership, goal = self.leadership, self.leadership.position
        try:
            async with self.parts.clock.timeout(limit):
                while True:
                    shipper = leadership.shippers.get(name)
                    if shipper is None:
                        raise ReplicationError(f"{name} does not follow {self.primary}")
                    if shipper.following and shipper.acked >= goal:
                        with contextlib.suppress(ConnectionError):  # and then it may have lost them
                            await shipper.heartbeat()
                            if shipper.following and shipper.acked >= goal:
                                return
                        await self.parts.clock.sleep(self.parts.settings.retry)
                        leadership.check_going()
                    else:
                        await leadership.progress()
        except TimeoutError:
            behind = goal - leadership.shippers[name].acked
            how = f"{behind} changes behind" if behind > 0 else "silent on what it holds"
            raise CatchUpTimeoutError(f"{name} was still {how} after {limit:g} s") from None

    # Who speaks to whom.

    async def reach(self, region: str | None) -> tuple[Leadership, Replica]:
        """The way of a client to the primary from outside, or to its own region from within.

        Raises:
            ValueError: no such region.
            RegionUnreachableError: there is none.
            SilentRegionError: no answer, so that nobody knows whether there is one.
        """
        self.check_running()
        if region is not None:
            self.known(region)
        replica = self._replicas[self.primary if region is None else region]
        try:
            await self.parts.network.carry(region, replica.name)
        except MessageLostError as error:
            raise SilentRegionError(f"{replica.name} does not answer: {error}") from None
        except ConnectionError as error:
            raise RegionUnreachableError(f"{replica.name} can't be reached: {error}") from None
        return self.leadership, replica  # of the moment of the arrival

    async def answer(self, replica: Replica, region: str | None) -> None:
        """The way back.

        Raises:
            RegionUnreachableError: there is none.
        """
        try:
            await self.parts.network.carry(replica.name, region)
        except ConnectionError as error:
            raise RegionUnreachableError(f"{replica.name} gave no answer: {error}") from None

    # What everybody uses.

    def _chance(self, name: str) -> random.Random:
        return random.Random(f"{self.parts.settings.seed}:{name}")  # noqa: S311 - no secret

    def record(
        self,
        kind: EventKind,
        region: str | None = None,
        *,
        other: str | None = None,
        reason: str = "",
    ) -> None:
        """Write an event down, now, and tell who asked."""
        clock = self.parts.clock
        event = ReplicationEvent(clock.now(), clock.monotonic(), kind, region, other, reason)
        self.events.append(event)
        if self._on_event is not None:
            self._on_event(event)


def _failed(error: BaseException) -> ReplicationFailed:
    failure = ReplicationFailed(f"the replication broke: {error!r}")
    failure.__cause__ = error
    return failure
