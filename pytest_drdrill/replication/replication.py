"""Replication between regions: one takes the writes, the others follow, any can take over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pytest_drdrill.clock import Clock, RealClock
from pytest_drdrill.replication import client
from pytest_drdrill.replication import settings as checks
from pytest_drdrill.replication.engine import Engine
from pytest_drdrill.replication.errors import ReplicationError, ReplicationFailed
from pytest_drdrill.replication.network import LocalNetwork, Network
from pytest_drdrill.replication.switchover import Switchover

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable
    from datetime import timedelta
    from types import TracebackType

    from pytest_drdrill.replication.alerts import AlertCallback
    from pytest_drdrill.replication.changes import Change, Key, Value
    from pytest_drdrill.replication.events import (
        Acknowledgement,
        Lag,
        Promotion,
        Rejoin,
        ReplicationEvent,
    )
    from pytest_drdrill.replication.region import Region
    from pytest_drdrill.replication.settings import ReplicationMode


class CrossRegionReplication:
    """Keeps copies of the data of one region, the primary, in others, and lets them take over.

    A change has a position, a sequence number without gaps, and the epoch of the primary that took
    it. Secondaries apply changes in order; what is sent twice is applied once. A write is
    acknowledged when the primary has it and, in ``"semi-synchronous"`` mode, ``acknowledgements``
    secondaries have flushed it, in ``"synchronous"`` mode all of those that follow. A region that
    a promotion left behind does not follow until it rejoins, and is not waited for; where none is
    left to follow, writes go on and the event ``unprotected`` says so. A secondary that has lost
    changes, or whose store takes none, as on a full disk, is an event and an alert, and is tried
    again and again.

    At no instant do two regions acknowledge writes: a primary does so only with a lease, which it
    is given from outside of all regions and has to be given again and again, and only in the
    latest epoch that it has promised. A promotion first has the old primary promise a later epoch
    or, where that does not answer, waits until its lease is over.

    ``async with replication`` starts and stops it. All methods and callbacks run in the event loop
    in which it was started. It meets time only through its clock, and regions only through its
    network, so it does the same in virtual time as in real time.

    Args:
        regions: at least two, each with its own name, exactly one with ``is_primary``.
        mode: ``"asynchronous"``, ``"semi-synchronous"`` or ``"synchronous"``.
        acknowledgements: secondaries that a semi-synchronous write waits for. Where it asks for
            several and fewer follow, as after a promotion, it waits for those: a fallback, from the
            first write that is acknowledged so.
        fallback_after: how long a write waits for its secondaries before all of them are
            acknowledged without, until the secondaries have caught up; None: never. It breaks an
            RPO of zero.
        write_timeout: how long a write waits for its secondaries; then it is indeterminate. So
            long it waits at most before that, where backpressure holds it up.
        lease: how long a primary that nobody reaches goes on to take writes, and so the time that
            a promotion may have to wait. Regions that do not share the clock of this program must
            agree with it on how long that is, but for the margin.
        lease_margin: how much longer than the lease a promotion waits, for a primary whose clock is
            slow: one that loses 200 ppm takes writes for 2 ms after a lease of 10 s.
        heartbeat_interval: how often every two regions ask each other whether they are there.
        connection_timeout: after how long without an answer a connection counts as lost. A message
            of which nothing is heard for so long counts as lost too, a heartbeat after a third of
            it; of changes it is the ``write_timeout``, and more where they are known to take long.
        max_lag: the lag of a secondary above which an alert is raised; None: none.
        max_backlog: backpressure: changes by which a follower may be behind before further writes
            wait; None: no limit.
        retry_interval: the first wait before a broken stream is begun anew. It doubles with each
            failure in a row; of each a half at most is left out, by chance.
        max_retry_interval: the longest of these waits.
        batch: changes sent in one message at most.
        window: changes under way to a secondary at most.
        network: what lies between the regions; by default they are all in this process.
        clock: the clock to live by; the real one by default.
        seed: of the chance in its waits.
        on_event: called with each ``ReplicationEvent`` as it happens. It must not raise.

    Raises:
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: fewer than two regions, a name used twice, not exactly one primary, another
            mode, a number below one, or a duration that is none or zero.
    """

    def __init__(  # noqa: PLR0913 - settings with defaults, by keyword from the third on
        self,
        regions: Iterable[Region],
        mode: ReplicationMode = "asynchronous",
        *,
        acknowledgements: int = 1,
        fallback_after: str | timedelta | None = None,
        write_timeout: str | timedelta = "30s",
        lease: str | timedelta = "10s",
        lease_margin: str | timedelta = "0s",
        heartbeat_interval: str | timedelta = "1s",
        connection_timeout: str | timedelta = "5s",
        max_lag: str | timedelta | None = None,
        max_backlog: int | None = None,
        retry_interval: str | timedelta = "500ms",
        max_retry_interval: str | timedelta = "10s",
        batch: int = 1000,
        window: int = 100_000,
        network: Network | None = None,
        clock: Clock | None = None,
        seed: int | str = 0,
        on_event: Callable[[ReplicationEvent], None] | None = None,
    ) -> None:
        found = checks.regions_of(regions)
        chosen, secondaries = checks.mode(mode), len(found) - 1
        needed = checks.count("acknowledgements", acknowledgements, secondaries)
        required = {"asynchronous": 0, "semi-synchronous": needed, "synchronous": secondaries}
        given = checks.Settings(
            mode=chosen,
            required=required[chosen],
            lease=checks.seconds("lease", lease),
            lease_margin=checks.span("lease_margin", lease_margin),
            heartbeat=checks.seconds("heartbeat_interval", heartbeat_interval),
            lost_after=checks.seconds("connection_timeout", connection_timeout),
            write_timeout=checks.seconds("write_timeout", write_timeout),
            fallback_after=checks.optional_seconds("fallback_after", fallback_after),
            max_lag=checks.optional_seconds("max_lag", max_lag),
            max_backlog=None if max_backlog is None else checks.count("max_backlog", max_backlog),
            retry=checks.seconds("retry_interval", retry_interval),
            max_retry=checks.seconds("max_retry_interval", max_retry_interval),
            batch=checks.count("batch", batch),
            window=checks.count("window", window),
            seed=seed,
        )
        self._engine = Engine(
            found,
            given,
            LocalNetwork() if network is None else network,
            RealClock() if clock is None else clock,
            on_event,
        )

    # What is known.

    @property
    def regions(self) -> tuple[Region, ...]:
        """The regions, as they were given."""
        return self._engine.regions

    @property
    def primary(self) -> Region:
        """The region that takes the writes."""
        return next(each for each in self.regions if each.name == self._engine.primary)

    @property
    def mode(self) -> ReplicationMode:
        """The mode that was asked for."""
        return self._engine.parts.settings.mode

    @property
    def is_degraded(self) -> bool:
        """Whether writes are acknowledged in a weaker mode than the one asked for."""
        leadership = self._engine.current
        return leadership is not None and (leadership.degraded or leadership.too_few)

    @property
    def is_replicating(self) -> bool:
        """Whether it runs: from a start to its stop, or to a failure."""
        return self._engine.is_running

    @property
    def events(self) -> tuple[ReplicationEvent, ...]:
        """Everything that happened since the replication was made, in order."""
        return tuple(self._engine.events)

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop it was started in, until it is stopped, broken or not; else None."""
        return self._engine.loop

    @property
    def failure(self) -> ReplicationFailed | None:
        """What broke it, until it is stopped; None for one that is sound or does not run."""
        return self._engine.failure

    def lag(self, name: str) -> Lag:
        """How far a secondary is behind, in changes, bytes and time.

        Raises:
            ValueError: no such region.
            ReplicationError: it does not follow: it is the primary, or has not rejoined.
        """
        engine = self._engine
        engine.known(name)
        leadership = engine.leadership
        if name not in leadership.shippers:
            raise ReplicationError(f"{name} does not follow {engine.primary}, so it has no lag")
        connected = engine.watch.is_connected(name, engine.primary)
        return leadership.lag(name, connected=connected)

    # Beginning and end.

    def add_alert_callback(self, callback: AlertCallback) -> None:
        """Have a function called with each ``ReplicationAlert``: lag, connections, failures.

        It is awaited if it is asynchronous. One that raises is recorded as a ``callback_failed``
        event and does not stop the others.

        Raises:
            TypeError: it can't be called.
        """
        if not callable(callback):
            raise TypeError(f"an alert callback must be callable with an alert: {callback!r:.80}")
        self._engine.alerts.add(callback)

    async def start_replication(self) -> None:
        """Start; returns when the secondaries that can be reached follow.

        What a secondary holds and the primary lacks is given up, with an event that says so.

        Raises:
            NotReplicatingError: there is no running asyncio event loop.
            ReplicationError: it runs already.
            RegionUnreachableError: the primary can't be reached.
        """
        await self._engine.start()

    async def stop_replication(self) -> None:
        """Stop; what is under way is not waited for, alerts included. Twice is no error.

        Raises:
            NotReplicatingError: called from another event loop than the one of the start.
            ReplicationError: called from a callback, which would wait for itself.
            ReplicationFailed: it had broken; everything is stopped all the same.
        """
        await self._engine.stop()

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start_replication()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it; a failure of its own does not hide the one that ends the block."""
        try:
            await self.stop_replication()
        except ReplicationFailed as late:
            if error is None:
                raise
            error.add_note(f"besides: {late}: {late.__cause__!r}")

    # Data.

    async def write(self, key: Key, value: Value, *, region: str | None = None) -> Acknowledgement:
        """Write on the current primary; returns when it is acknowledged.

        Args:
            key: text or a whole number.
            value: text, bytes or a number.
            region: the client is inside this region and writes there, whoever the primary is, as
                a client does that was cut off together with it; None: it is outside of all.

        Raises:
            TypeError: a key or a value of another type.
            ValueError: no such region.
            RegionUnreachableError: it can't be reached; nothing was written.
            WriteRefusedError: it is not the primary, is fenced, can't store the write, or the
                followers are too far behind; nothing was written.
            IndeterminateWriteError: it was written and never acknowledged, or nothing at all was
                heard of it.
        """
        return await client.write(self._engine, key, value, region)

    async def read(self, key: Key, *, region: str | None = None) -> Value | None:
        """The value of a key on the current primary; None where there is none.

        Args:
            key: text or a whole number.
            region: read the copy of this region instead, however old, as a client inside it.

        Raises:
            TypeError: a key of another type.
            ValueError: no such region.
            RegionUnreachableError: it can't be reached.
            WriteRefusedError: the primary is fenced, so that another one may know better.
        """
        return await client.read(self._engine, key, region)

    async def keys(self, *, region: str | None = None) -> list[Key]:
        """Every key on the current primary, in the order in which they were first written.

        Args:
            region: as of ``read``.

        Raises:
            ValueError: no such region.
            RegionUnreachableError: it can't be reached.
            WriteRefusedError: the primary is fenced, so that another one may know better.
        """
        return await client.keys(self._engine, region)

    # Roles.

    async def promote_region_to_primary(self, name: str | None = None) -> Promotion:
        """Make a secondary the primary, now, with what has come to it by now.

        For an emergency: what is acknowledged and has not come to it, or was lost there, is lost,
        and the outcome says what that is. The old primary is fenced first; where it does not
        answer, that takes until its lease is over. It does not follow until it rejoins.
        ``failback`` loses nothing. Cancelled midway, it leaves nobody to take writes until the next
        promotion.

        Args:
            name: which one; by default the most advanced of those that can be reached.

        Raises:
            ValueError: no such region.
            PromotionFailed: it is the primary already, or none can be reached.
        """
        if name is not None:
            self._engine.known(name)
        self._engine.check_running()
        async with self._engine.switching:
            return await self._switchover().promote(name)

    async def rejoin(self, name: str) -> Rejoin:
        """Have a region that was left behind follow the primary; returns how it came back.

        It gives up what the primary does not have, and that is reported.

        Raises:
            ValueError: no such region.
            ReplicationError: it is the primary.
            RegionUnreachableError: it can't be reached, or the primary can't.
        """
        self._engine.known(name)
        self._engine.check_running()
        async with self._engine.switching:
            return await self._engine.rejoin(name)

    async def wait_caught_up(self, name: str, timeout: str | timedelta | None = "10m") -> None:  # noqa: ASYNC109 - a limit for people, on our clock
        """Wait until a secondary holds all that the primary has when this is called.

        In the end it is asked once more, since it may have lost what it had flushed.

        Args:
            name: of the secondary.
            timeout: how long to wait at most; None: for ever.

        Raises:
            ValueError: no such region, or no duration.
            CatchUpTimeoutError: it did not, within that time.
            ReplicationError: it does not follow, or the primary changed.
        """
        self._engine.known(name)
        limit = checks.optional_seconds("timeout", timeout)
        await self._engine.wait_caught_up(name, limit)

    async def failback(self, name: str, timeout: str | timedelta = "10m") -> Promotion:  # noqa: ASYNC109 - likewise
        """Make a region the primary without losing anything; the primary follows it from then on.

        The region rejoins first if it does not follow, and catches up while the primary goes on.
        Only then is the primary fenced, and what it still took is drained; meanwhile writes are
        refused. Where that fails, or is cancelled, the primary goes on in a new epoch; a
        cancellation waits for that.

        Args:
            name: which one.
            timeout: how long catching up, and then the drain, may take.

        Raises:
            ValueError: no such region, or no duration.
            RegionUnreachableError: it can't rejoin.
            CatchUpTimeoutError: it did not catch up; the primary was not touched.
            PromotionFailed: it is the primary already, or it or changes of it were lost in the
                drain.
        """
        self._engine.known(name)
        self._engine.check_running()
        limit = checks.seconds("timeout", timeout)
        discarded: tuple[Change, ...] = ()
        if name != self._engine.primary:
            if name not in self._engine.leadership.shippers:
                discarded = (await self.rejoin(name)).discarded
            # Without the lock: a promotion in an emergency need not wait for this.
            await self._engine.wait_caught_up(name, limit)
        async with self._engine.switching:
            return await self._switchover().fail_back(name, limit, discarded)

    def _switchover(self) -> Switchover:
        return Switchover(self._engine, self._engine.control, self._engine.parts)
