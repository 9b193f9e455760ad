"""The canary: a client that writes through a disaster; what users saw, and what they lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, Self

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.measure.canary_client import close, functions_of
from pytest_drdrill.measure.canary_result import put_on_record, result_of
from pytest_drdrill.measure.canary_settings import INDETERMINATE, read_settings, take_name
from pytest_drdrill.measure.client_watch import ClientWatch
from pytest_drdrill.measure.read_back import compare
from pytest_drdrill.measure.reader import Reader
from pytest_drdrill.measure.verdicts import DrillUsageError, NotRecovered, PreconditionNotMet
from pytest_drdrill.measure.warm_up import warm_up
from pytest_drdrill.measure.write_stream import WriteStream
from pytest_drdrill.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from types import TracebackType

    from pytest_drdrill.measure.canary_client import CanaryClient
    from pytest_drdrill.measure.canary_result import CanaryResult
    from pytest_drdrill.measure.client_view import ClientView
    from pytest_drdrill.measure.drill import Drill
    from pytest_drdrill.measure.outage import Outage
    from pytest_drdrill.measure.read_back import ReadBack
    from pytest_drdrill.measure.verdicts import DrillFailure
    from pytest_drdrill.measure.write_stream import Ended


_NOT_VERIFIABLE = {
    "new": "before its block: write `async with canary(...) as c:` around the disaster",
    "running": "while it still writes: leave its `async with` block first",
    "verified": "a second time: keep what the first call returned",
}
"""When `verify` was called too early or too late, by the state of the canary."""


class Canary:
    """A background client that writes through a disaster; what the ``canary`` fixture makes.

    The block of its ``async with`` holds the disaster. It is entered once the system was seen to
    work, and left once it works again, as ``RTOTimer.until`` would wait for it; ``verify`` then
    reads everything back and feeds both timers::

        async with Canary(drill, write=store.put, read_all=store.items) as c:
            with drill.rto.outage():
                ...
        result = await c.verify()

    The outage that users saw runs from the disaster to the first acknowledged write of the run that
    held: of those that were sent after the disaster and after the last one that ended badly. With a
    ``hold``, the first run that lasted so long; else the one that went on to the end of the block.
    The canary watches every outage that opens in its block, which thus is measured by ``verify``
    and not by the outage's own exit; where ``until`` watches as well, the later recovery decides.
    A write that hung since before the disaster says nothing of it, nor does one whose answer may
    have come while the event loop stood still.

    The loss is that of the write ledger (see ``RPOTimer``). A write that raised is failed, unless
    what it raised leaves its outcome open: then, as one that was cancelled or gave no answer in
    time, it is indeterminate. One that was read back with another value did not survive.

    Args:
        drill: whose clock, timers and timeline it uses.
        client: what to write through and to read back with, in place of the next two; closed by
            ``verify``, or else by ``close``, which the ``canary`` fixture sees to.
        write: called with a key and a value, both text, and returns when the system has confirmed
            them; False says that it refused. Asynchronous, or plain: then it runs in threads, one
            for each write under way, and so must be safe there; in virtual time it runs inline.
        read_all: called without arguments; gives a mapping of keys to values, or pairs of both,
            among them those of the canary, text or UTF-8. Plain or asynchronous as well.
        read: called with a key, through the disaster and at the same rate: gives its value, or None
            where there is none. What readers saw is told apart, and is no part of the outage; a
            value that was not written is found as corruption. Default: nothing is read meanwhile.
        interval: from the start of one write to the start of the next, at a fixed rate.
        timeout: how long one write may take; it is then given up.
        concurrency: how many writes may be under way; while so many hang, those due are skipped.
        warm_up: how many writes in a row have to be acknowledged before the block begins; those
            are also read back.
        warm_up_timeout: how long that may take.
        read_timeout: how long ``read_all`` may take.
        hold: how long the recovery must hold; default: the ``hold`` of the ``rto`` marker.
        patience: how long the end of the block waits for the recovery; default: as ``until``.
        indeterminate: classes of exceptions that leave the outcome of a write open; by default
            timeouts and connections that broke. Any exception whose attribute ``leaves_open`` is
            true does so as well.
        name: shown on the timeline, and the beginning of its keys.
        on_event: told of each event of its own: what, and the detail.

    Attributes:
        name: as given, with a number where the drill had one of that name.
        loop: the event loop that it runs in, or None while it does not run.
        client_loop: the one that its client was used in, or None where none is left to be closed.

    Raises:
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: a duration or a number that makes no sense.
    """

    def __init__(  # noqa: PLR0913 - each has a meaning of its own, and all but three a default
        self,
        drill: Drill,
        client: CanaryClient | None = None,
        *,
        write: Callable[[str, str], Any] | None = None,
        read_all: Callable[[], Any] | None = None,
        read: Callable[[str], Any] | None = None,
        interval: str | timedelta = "50ms",
        timeout: str | timedelta = "1s",
        concurrency: int = 1,
        warm_up: int = 3,
        warm_up_timeout: str | timedelta = "10s",
        read_timeout: str | timedelta = "30s",
        hold: str | timedelta | None = None,
        patience: str | timedelta | None = None,
        indeterminate: type[Exception] | tuple[type[Exception], ...] = INDETERMINATE,
        name: str = "canary",
        on_event: Callable[[str, str], object] | None = None,
    ) -> None:
        __tracebackhide__ = True
        writes, reads_all = functions_of(client, write, read_all)
        self._settings = read_settings(
            name=name,
            write=writes,
            read_all=reads_all,
            read=read,
            indeterminate=indeterminate,
            interval=interval,
            timeout=timeout,
            concurrency=concurrency,
            warm_up=warm_up,
            warm_up_timeout=warm_up_timeout,
            read_timeout=read_timeout,
            hold=hold,
            patience=patience,
        )
        self.name = self._settings.name
        self.loop: asyncio.AbstractEventLoop | None = None
        self.client_loop: asyncio.AbstractEventLoop | None = None
        self._client = client
        self._drill = drill
        self._clock = drill.clock
        self._on_event = on_event
        self._state: Literal["new", "running", "ended", "verified"] = "new"
        self._verdict: DrillFailure | None = None
        self._reader: Reader | None = None
        self._halted_at = self._standstill = 0.0

    # -- its block ------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Begin to write; returns once the system was seen to work.

        Raises:
            PreconditionNotMet: it did not work, so the drill can't begin.
            NotRecovered: the same, after a disaster of this drill.
            DrillUsageError: used a second time, or an outage is open already.
        """
        __tracebackhide__ = True
        if self._state != "new":
            raise DrillUsageError(f"{self.name} was used already: make a new one for each block")
        rto = self._drill.rto
        if rto.in_outage:
            raise DrillUsageError(
                f"{self.name} begins after the disaster: it has to see the system work before, so "
                "open the outage inside its block"
            )
        self.name, self._prefix = take_name(self._drill, self._settings.name)
        self._watch = ClientWatch(rto, self.name, self._tell)
        self._stream = WriteStream(
            self._settings,
            self._clock,
            self._prefix,
            on_sent=self._watch.sent,
            on_ended=self._ended,
            on_stood_still=self._stood_still,
        )
        self._state, self.loop = "running", asyncio.get_running_loop()
        self.client_loop = None if self._client is None else self.loop
        rto.on_disaster.append(self._struck)
        works = False
        try:
            self._stream.start()
            await self._see_it_work()
            self._begin_to_read()
            works = True
        finally:
            if not works:
                await self._end(cancel=True)
                await self.close()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait until the system has recovered, or patience ends, and stop writing.

        After an error nothing is waited for.
        """
        __tracebackhide__ = True
        if not self.is_running:
            return  # somebody has stopped it
        cancel = True
        try:
            if error is None:
                await self._see_it_recover()
                cancel = False
        finally:
            await self._end(cancel=cancel)
        if error is None:
            for stream in self._streams():
                if stream.broken is not None:
                    raise stream.broken

    async def stop(self) -> None:
        """Cancel what runs, and wait for its end; without effect on one that does not run."""
        if self._state == "running":
            await self._end(cancel=True)

    async def close(self) -> None:
        """Close its client, whose canary no longer runs; again, nothing happens.

        A client that can't be closed, as one of a system that is dead, is told on the timeline.
        """
        if self._client is None or self.client_loop is None:
            return
        self.client_loop = None
        if why := await close(self._client, self._clock, self._settings.timeout):
            self._drill.event(f"{self.name} could not close its client", why)

    @property
    def is_running(self) -> bool:
        """Whether it writes."""
        return self._state == "running"

    async def verify(self) -> CanaryResult:
        """Read everything back, feed both timers, and say what was found.

        Raises:
            RTOExceeded: the system did not recover, and the RTO has passed.
            NotRecovered: it did not recover while the canary watched.
            DrillUsageError: the canary has not ended, was never used or is verified already, or
                there was no disaster in its block.
            TypeError: what was read back is neither a mapping nor pairs.
            TimeoutError: reading gave no answer in time; whatever else it raised passes through.
        """
        __tracebackhide__ = True
        self._check_verifiable()
        # Where reading fails and is tried again, once is enough.
        settled = self._watch.settle(self._halted_at, self._stream.last_error)
        self._verdict = self._verdict or settled
        try:
            back = await self._read_back()
        except Exception as error:
            if self._verdict is not None:
                raise self._verdict from error
            raise
        self._state = "verified"
        await self.close()
        self._drill.rpo.survived(back.survived)
        result = result_of(
            self._stream,
            back,
            self._watch,
            self._reader,
            timeline=self._drill.timeline,
            halted_at=self._halted_at,
            standstill=self._standstill,
        )
        put_on_record(self._drill, self.name, result)
        if self._verdict is not None:
            raise self._verdict
        return result

    # -- the system works, before and after ------------------------------------------------------

    async def _see_it_work(self) -> None:
        __tracebackhide__ = True
        stream = self._stream
        why = await warm_up(stream, self._clock, lambda found: self._compare(found).survived)
        if stream.broken is not None:
            raise stream.broken
        if why is None:
            self._tell("started", stream.settings.summary())
            return
        why = one_line(f"{self.name}: {why}")
        self._drill.event("precondition not met", why)
        if self._drill.timeline.disasters:  # a drill that has begun can't be called off
            raise NotRecovered(why)
        raise PreconditionNotMet(f"precondition not met: {why}")

    async def _see_it_recover(self) -> None:
        stream = self._stream
        deadline: float | None = None
        while (latest := self._watch.latest) is not None and stream.broken is None:
            outage, _, view = latest
            if deadline is None:
                deadline = self._drill.rto.watches.deadline(outage, self._settings.patience)
            await self._wait_until_back(view, deadline)
            if self._reader is not None:
                await self._reader.wait_until_served(deadline)
            late = self._clock.monotonic() >= deadline
            self._halted_at = self._clock.monotonic()
            await stream.halt()
            # What was under way may have ended badly, and so its run.
            if view.is_back or late:
                return
            stream.start()

    async def _wait_until_back(self, view: ClientView, deadline: float) -> None:
        settings = self._settings
        hold = self._drill.rto.watches.hold_s(settings.hold)

        def limit() -> float:
            began = view.run_began
            if settings.patience is not None or began is None or began > deadline:
                return deadline
            # A run that began in time is given its hold.
            return max(deadline, began + hold + settings.interval + settings.timeout)

        await self._stream.wait_until(lambda: view.is_back, limit)

    async def _end(self, *, cancel: bool) -> None:
        self._drill.rto.on_disaster[:] = [
            told for told in self._drill.rto.on_disaster if told != self._struck
        ]
        self._state, self.loop = "ended", None
        if cancel or not self._watch.outages:
            self._halted_at = self._clock.monotonic()
        for stream in self._streams():
            await stream.halt(cancel=cancel)

    def _streams(self) -> list[WriteStream]:
        return [self._stream, *([self._reader.stream] if self._reader is not None else [])]

    def _begin_to_read(self) -> None:
        """From now on, since there is something to be read by now."""
        if (read := self._settings.read) is not None:
            self._reader = Reader(self._settings, read, self._clock, self._stream, self._tell)
            self._reader.stream.start()

    # -- what it is told -------------------------------------------------------------------------

    def _struck(self, outage: Outage) -> None:
        hold = self._drill.rto.watches.hold_s(self._settings.hold)
        self._watch.begin(outage, hold)
        if self._reader is not None:
            self._reader.outages.begin(outage, hold)

    def _stood_still(self, seconds: float) -> None:
        self._watch.stood_still(seconds)
        if seconds > self._standstill:
            self._standstill = seconds
            detail = f"for {format_seconds(seconds)}: what came meanwhile was seen late"
            self._tell("saw the event loop stand still", detail)

    def _ended(self, ended: Ended) -> None:
        rpo = self._drill.rpo
        if ended.acknowledged:
            rpo.acknowledged(ended.key, at=ended.at)
        elif ended.key not in self._stream.failed:
            rpo.indeterminate(ended.key)
        self._watch.ended(ended)

    def _tell(self, what: str, detail: str) -> None:
        self._drill.event(f"{self.name} {what}", detail)
        if self._on_event is not None:
            self._on_event(what, detail)

    # -- what it found ---------------------------------------------------------------------------

    def _check_verifiable(self) -> None:
        __tracebackhide__ = True
        why = _NOT_VERIFIABLE.get(self._state)
        if why is None and not self._stream.acknowledged:
            why = "of one that saw no acknowledged write: there is nothing to look for"
        if why is None and not self._watch.outages:
            why = (
                "without a disaster: open rto_timer.outage() or call rto_timer.disaster() inside "
                "its block"
            )
        if why is not None:
            raise DrillUsageError(f"{self.name}: verify() was called {why}")

    async def _read_back(self) -> ReadBack:
        return self._compare(await self._stream.read_all())

    def _compare(self, found: object) -> ReadBack:
        return compare(found, self._stream.value_of, self._prefix)
