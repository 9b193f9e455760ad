"""The canary: a client that writes through a disaster; what users saw, and what they lost."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Self

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.measure.canary_result import CanaryResult, longest_gap, put_on_record
from pytest_drdrill.measure.canary_settings import INDETERMINATE, read_settings
from pytest_drdrill.measure.client_view import ClientView
from pytest_drdrill.measure.ledger import find_holes
from pytest_drdrill.measure.read_back import compare
from pytest_drdrill.measure.verdicts import DrillUsageError, NotRecovered, PreconditionNotMet
from pytest_drdrill.measure.warm_up import warm_up
from pytest_drdrill.measure.write_stream import WriteStream
from pytest_drdrill.text import one_line, storable

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from pytest_drdrill.measure.drill import Drill
    from pytest_drdrill.measure.outage import Outage
    from pytest_drdrill.measure.read_back import ReadBack
    from pytest_drdrill.measure.verdicts import DrillFailure
    from pytest_drdrill.measure.write_stream import Ended

_TURNS_SHOWN = 50
"""How often the timeline shows that writes began to fail, or succeeded again."""


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

    The loss is that of the write ledger (see ``RPOTimer``). A write that raised is failed, unless
    what it raised leaves its outcome open: then, as one that was cancelled or gave no answer in
    time, it is indeterminate. One that was read back with another value did not survive.

    Args:
        drill: whose clock, timers and timeline it uses.
        write: called with a key and a value, both text, and returns when the system has confirmed
            them; False says that it refused. Asynchronous, or plain: then it runs in threads, one
            for each write under way, and so must be safe there; in virtual time it runs inline.
        read_all: called without arguments; gives a mapping of keys to values, or pairs of both,
            among them those of the canary, text or UTF-8. Plain or asynchronous as well.
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

    Raises:
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: a duration or a number that makes no sense.
    """

    def __init__(  # noqa: PLR0913 - each has a meaning of its own, and all but three a default
        self,
        drill: Drill,
        *,
        write: Callable[[str, str], Any],
        read_all: Callable[[], Any],
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
        self._settings = read_settings(
            name=name,
            write=write,
            read_all=read_all,
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
        self._drill = drill
        self._clock = drill.clock
        self._on_event = on_event
        self._state: Literal["new", "running", "ended", "verified"] = "new"
        self._views: list[tuple[Outage, ClientView]] = []
        self._unsettled: list[tuple[Outage, ClientView]] = []
        self._verdict: DrillFailure | None = None
        self._fine, self._turns = True, 0
        self._halted_at = 0.0

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
        self._take_name()
        self._stream = WriteStream(
            self._settings, self._clock, self._prefix, on_sent=self._sent, on_ended=self._ended
        )
        self._state, self.loop = "running", asyncio.get_running_loop()
        rto.on_disaster.append(self._struck)
        works = False
        try:
            self._stream.start()
            await self._see_it_work()
            works = True
        finally:
            if not works:
                await self._end(cancel=True)
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
        if error is None and self._stream.broken is not None:
            raise self._stream.broken

    async def stop(self) -> None:
        """Cancel what runs, and wait for its end; without effect on one that does not run."""
        if self._state == "running":
            await self._end(cancel=True)

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
        self._settle()
        try:
            back = await self._read_back()
        except Exception as error:
            if self._verdict is not None:
                raise self._verdict from error
            raise
        self._state = "verified"
        self._drill.rpo.survived(back.survived)
        result = self._result(back)
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
        while self._views and stream.broken is None:
            outage, view = self._views[-1]
            if deadline is None:
                deadline = self._drill.rto.deadline(outage, self._settings.patience)
            await self._wait_until_back(view, deadline)
            late = self._clock.monotonic() >= deadline
            self._halted_at = self._clock.monotonic()
            await stream.halt()
            # What was under way may have ended badly, and so its run.
            if view.is_back or late:
                return
            stream.start()

    async def _wait_until_back(self, view: ClientView, deadline: float) -> None:
        settings = self._settings
        hold = self._drill.rto.hold_s(settings.hold)
        while not view.is_back and self._stream.broken is None:
            limit, began = deadline, view.run_began
            if settings.patience is None and began is not None and began <= deadline:
                # A run that began in time is given its hold.
                limit = max(limit, began + hold + settings.interval + settings.timeout)
            left = limit - self._clock.monotonic()
            if left <= 0:
                return
            with suppress(TimeoutError):
                async with self._clock.timeout(left):
                    await self._stream.next_end()

    async def _end(self, *, cancel: bool) -> None:
        self._drill.rto.on_disaster[:] = [
            told for told in self._drill.rto.on_disaster if told != self._struck
        ]
        self._state, self.loop = "ended", None
        if cancel or not self._views:
            self._halted_at = self._clock.monotonic()
        await self._stream.halt(cancel=cancel)

    # -- what it is told -------------------------------------------------------------------------

    def _struck(self, outage: Outage) -> None:
        rto = self._drill.rto
        rto.attend(outage)
        seen = (outage, ClientView(outage.disaster.at, rto.hold_s(self._settings.hold)))
        self._views.append(seen)
        self._unsettled.append(seen)

    def _sent(self, number: int, at: float) -> None:
        if self._views:
            self._views[-1][1].send(number, at)

    def _ended(self, ended: Ended) -> None:
        rpo, passed = self._drill.rpo, ended.acknowledged
        if passed:
            rpo.acknowledged(ended.key, at=ended.at)
        elif ended.key not in self._stream.failed:
            rpo.indeterminate(ended.key)
        if not self._views:
            return
        outage, view = self._views[-1]
        if not view.enter(ended.number, ended.at, acknowledged=passed):
            return
        why = "it was refused"
        if ended.error is not None:
            why = one_line(f"{type(ended.error).__name__}: {storable(ended.error)}")
        self._drill.rto.looked(outage, passed=passed, why=f"a write of {self.name} failed: {why}")
        if passed is not self._fine:
            self._fine = passed
            self._turns += 1
            if self._turns <= _TURNS_SHOWN:
                after = f"{format_seconds(ended.at - outage.disaster.at)} after the disaster"
                turn = ("writes are acknowledged again", after) if passed else ("writes fail", why)
                self._tell(*turn)

    def _tell(self, what: str, detail: str) -> None:
        self._drill.event(f"{self.name} {what}", detail)
        if self._on_event is not None:
            self._on_event(what, detail)

    # -- what it found ---------------------------------------------------------------------------

    def _check_verifiable(self) -> None:
        __tracebackhide__ = True
        why = None
        if self._state == "new":
            why = "before its block: write `async with canary(...) as c:` around the disaster"
        elif self._state == "running":
            why = "while it still writes: leave its `async with` block first"
        elif self._state == "verified":
            why = "a second time: keep what the first call returned"
        elif not self._stream.acknowledged:
            why = "of one that saw no acknowledged write: there is nothing to look for"
        elif not self._views:
            why = (
                "without a disaster: open rto_timer.outage() or call rto_timer.disaster() inside "
                "its block"
            )
        if why is not None:
            raise DrillUsageError(f"{self.name}: verify() was called {why}")

    def _settle(self) -> None:
        """Feed the recovery timer, once."""
        rto = self._drill.rto
        unsettled, self._unsettled = self._unsettled, []
        for outage, view in unsettled:
            recovery = view.recovery()
            if recovery is not None:
                rto.settle(outage, *recovery, view.blind)
            else:
                verdict = rto.gave_up(outage, self._halted_at, self._stream.error)
                self._verdict = self._verdict or verdict
            rto.close(outage)

    async def _read_back(self) -> ReadBack:
        return self._compare(await self._stream.read_all())

    def _compare(self, found: object) -> ReadBack:
        return compare(found, self._stream.value_of, self._prefix)

    def _result(self, back: ReadBack) -> CanaryResult:
        stream, survived = self._stream, set(back.survived)
        moments = stream.acknowledged
        lost = [key for key in moments if key not in survived]
        spans: list[float] = []
        for outage, view in self._views:
            if (recovery := view.recovery()) is not None:
                # Where it was not to go down, and no write failed, there was no outage.
                down = view.saw_failure or outage.expect_downtime
                spans.append(recovery.began - outage.disaster.at if down else 0.0)
        struck = self._views[0][0].disaster.at
        gap = longest_gap(sorted(moments.values()), struck, self._halted_at)
        whole = len(spans) == len(self._views)
        return CanaryResult(
            acknowledged=len(moments),
            failed=len(stream.failed),
            indeterminate=len(stream.indeterminate),
            skipped=stream.skipped,
            lost=lost,
            holes=find_holes(moments, lost, [each.at for each in self._drill.timeline.disasters]),
            corrupted=back.corrupted,
            duplicated=back.duplicated,
            resurrected=[key for key in back.survived if key in stream.failed],
            outage=timedelta(seconds=max(spans)) if whole else None,
            longest_gap=timedelta(seconds=gap),
        )

    def _take_name(self) -> None:
        """A name that the drill has not had, and keys that nobody else has."""
        had = self._drill.canaries
        name, number = self._settings.name, 1
        while self.name in had:
            number += 1
            self.name = f"{name} {number}"
        had.append(self.name)
        label = re.sub(r"[^0-9A-Za-z]+", "-", self.name).strip("-") or "canary"
        # Of the drill's clock: in virtual time the same in every run.
        self._prefix = f"{label}-{self._clock.now():%Y%m%dT%H%M%S%f}-"
