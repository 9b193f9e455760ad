"""Shipping: one secondary follows the primary, change by change, through every interruption."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal, Protocol

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.replication.errors import DivergedError, StaleEpochError
from pytest_drdrill.replication.events import Rejoin
from pytest_drdrill.replication.network import MessageLostError
from pytest_drdrill.replication.tasks import Tasks

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.replication.changes import Change
    from pytest_drdrill.replication.network import Network
    from pytest_drdrill.replication.region import Replica
    from pytest_drdrill.replication.settings import Settings

INTERRUPTED = (OSError, StaleEpochError, DivergedError)
"""What ends a stream, which is then begun anew: no connection, a full disk; all else is a bug."""

_MOST_SILENCES = 10
"""Doublings of the patience for changes: of 30 s they make eight hours and a half."""


class _SilentChangesError(MessageLostError):
    """Of changes nothing was heard: they were lost, or take longer than they were waited for."""


class ShippingHost(Protocol):
    """What a shipper tells to whoever made it."""

    def flushed(self) -> None:
        """A secondary has flushed more than before."""
        ...

    def interrupted(self) -> None:
        """A secondary does not follow for the time being."""
        ...

    def check_primary(self) -> None:
        """Make sure that the primary has what it wrote.

        Raises:
            DivergedError: it has lost changes.
        """
        ...

    def failing(self, name: str, why: str) -> None:
        """A secondary has lost changes, or its store takes none."""
        ...

    def recovered(self, name: str) -> None:
        """A secondary has taken changes, or holds everything."""
        ...

    def attached(self, rejoin: Rejoin) -> None:
        """A secondary follows from now on, and had to give up or take so much for it."""
        ...


class Shipper:
    """Sends the primary's log to one secondary, in order, at least once.

    Many batches are under way at a time, up to the window. The first that fails ends the stream;
    the next one begins where the secondary says that its copy ends, after a wait that grows with
    each failure in a row and is drawn from the seed.

    Args:
        primary: the region that sends.
        secondary: the one that follows.
        epoch: the primary's.
        network: what lies between them.
        clock: the clock.
        settings: of the replication.
        chance: from which the waits are drawn.
        host: told of progress.
        failed: told of what broke it.

    Attributes:
        acked: the position up to which the secondary has said that it flushed.
        level_at: when the secondary was last known to hold everything.
        following: whether its copy is known to be a prefix of the primary's log.
    """

    def __init__(  # noqa: PLR0913 - wired once, by keyword
        self,
        *,
        primary: Replica,
        secondary: Replica,
        epoch: int,
        network: Network,
        clock: Clock,
        settings: Settings,
        chance: random.Random,
        host: ShippingHost,
        failed: Callable[[BaseException], None],
    ) -> None:
        self.primary = primary
        self.secondary = secondary
        self.acked = 0
        self.level_at = clock.monotonic()
        self.following = False
        self._epoch = epoch
        self._network = network
        self._clock = clock
        self._settings = settings
        self._chance = chance
        self._host = host
        self._sent = 0
        self._tries = 0
        self._silences = 0
        self._slowest = 0.0
        self._wake = asyncio.Event()
        self._interruption: Exception | None = None
        self._tasks = Tasks(failed)
        self._batches = Tasks(failed)

    @property
    def name(self) -> str:
        """The secondary's name."""
        return self.secondary.name

    def start(self) -> None:
        """Follow from now on, in the background."""
        self._tasks.start(self._follow_forever(), f"replication to {self.name}")

    async def end(self) -> None:
        """Stop; what is under way is not waited for."""
        await self._tasks.end()
        await self._batches.end()

    def written(self) -> None:
        """Say that the primary's log has grown."""
        self._wake.set()

    async def attach(self) -> Rejoin:
        """Make the secondary's copy a prefix of the primary's log.

        What it holds beyond that is taken back; where a log does not reach back so far, it takes a
        snapshot.

        Raises:
            ConnectionError: it can't be reached.
            StaleEpochError: the primary has been superseded.
            DivergedError: the primary has lost changes.
            OSError: a store can't be written.
        """
        ours, theirs = self.primary.store, self.secondary
        await self._ask()
        history = theirs.promise(self._epoch)
        self._host.check_primary()
        shared = ours.history.common(history)
        if shared < self.acked:
            self._host.failing(self.name, _lost(shared, self.acked))
        surplus: Sequence[Change] = ()
        how: Literal["resumed", "rewound", "re-cloned"]
        if shared >= max(ours.oldest, theirs.store.oldest):
            surplus = theirs.rewind(self._epoch, shared)
            how = "rewound" if surplus else "resumed"
        else:
            diverged = history.position > shared
            surplus = theirs.store.changes(max(shared, theirs.store.oldest)) if diverged else ()
            snapshot = ours.snapshot()
            await self._carry_changes()
            theirs.load(self._epoch, snapshot)
            how, shared = "re-cloned", snapshot.history.position
        rejoin = Rejoin(self.name, how, shared, tuple(surplus))
        self._host.attached(rejoin)  # it is so, even if the answer never comes
        await self._answer()
        self._sent = self.acked = shared
        self.following = True
        self._flushed(shared)
        if shared == ours.history.position:
            self._host.recovered(self.name)
        return rejoin

    async def heartbeat(self) -> None:
        """Ask the secondary how far it is; one that has lost what it had flushed begins anew.

        Raises:
            ConnectionError: no answer.
        """
        flushed = self.acked
        await self._ask()
        position = self.secondary.store.history.position
        await self._answer()
        if not self.following:  # of a copy that is not known to be a prefix it says nothing
            return
        if position < min(flushed, self.acked):
            self._lost_its_copy(position)
        elif position == self.primary.store.history.position:
            self.level_at = self._clock.monotonic()

    async def _follow_forever(self) -> None:
        while True:
            try:
                if not self.following:
                    await self.attach()
                await self._stream()
            except INTERRUPTED as error:
                if isinstance(error, OSError) and not isinstance(error, ConnectionError):
                    self._host.failing(self.name, f"its store takes no changes: {error}")
                # Where questions are lost as well it is an outage, which ends, and no long way.
                silent = isinstance(error, _SilentChangesError)
                self._silences = min(self._silences + 1, _MOST_SILENCES) if silent else 0
                self.following = False
                self._interruption = None
                self._host.interrupted()
                await self._batches.end()
                await self._clock.sleep(self._wait())

    def _lost_its_copy(self, position: int) -> None:
        why = _lost(position, self.acked)
        self._host.failing(self.name, why)
        self.following, self.acked = False, position
        self._interruption = DivergedError(why)
        self._wake.set()

    async def _stream(self) -> None:
        log, settings = self.primary.store, self._settings
        while True:
            self._wake.clear()
            while self._sent < log.history.position:
                room = settings.window - (self._sent - self.acked)
                if room < 1:
                    break
                batch = log.changes(self._sent, min(settings.batch, room))
                self._sent = batch[-1].position
                self._batches.start(self._deliver(batch), f"changes to {self.name}")
            await self._wake.wait()
            if self._interruption is not None:
                raise self._interruption

    async def _deliver(self, batch: Sequence[Change]) -> None:
        try:
            await self._carry_changes()
            position = self.secondary.receive(self._epoch, batch)
            await self._answer()
        except INTERRUPTED as error:
            self._interruption = self._interruption or error
        else:
            self._tries = self._silences = 0
            self._flushed(position)
            self._host.recovered(self.name)
        self._wake.set()

    async def _carry_changes(self) -> None:
        """Send changes; how long that takes only experience tells, so patience grows with it."""
        clock, began = self._clock, self._clock.monotonic()
        patience = max(self._settings.write_timeout, 2 * self._slowest)
        patience *= 2.0**self._silences
        try:
            async with clock.timeout(patience):
                await self._network.carry(self.primary.name, self.name, changes=True)
        except TimeoutError:
            waited = format_seconds(patience)
            raise _SilentChangesError(f"nothing was heard of changes for {waited}") from None
        self._slowest = max(self._slowest, clock.monotonic() - began)

    async def _ask(self) -> None:
        await self._network.carry(self.primary.name, self.name)

    async def _answer(self) -> None:
        await self._network.carry(self.name, self.primary.name)

    def _flushed(self, position: int) -> None:
        # An answer that comes late says less than one that overtook it.
        self.acked = max(self.acked, position)
        if self.acked == self.primary.store.history.position:
            self.level_at = self._clock.monotonic()
        self._host.flushed()

    def _wait(self) -> float:
        """Doubled with each failure, up to the most; of that a half at least, by chance."""
        longest = min(self._settings.retry * 2.0**self._tries, self._settings.max_retry)
        self._tries = min(self._tries + 1, 60)
        return longest * (0.5 + self._chance.random() / 2)


def _lost(position: int, flushed: int) -> str:
    return f"it has lost changes that it had flushed: it holds {position} of {flushed}"
