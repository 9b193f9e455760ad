"""Recovery time: outages, from the disaster to the service verified usable."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pytest_drdrill.clock import in_event_loop
from pytest_drdrill.durations import LONGEST, format_duration, parse_duration
from pytest_drdrill.measure.outage import Outage, Recovery
from pytest_drdrill.measure.outage_block import OutageBlock
from pytest_drdrill.measure.records import required_reason
from pytest_drdrill.measure.verdicts import DrillUsageError
from pytest_drdrill.measure.watch import Watch, run_check, run_check_async
from pytest_drdrill.measure.watches import OutageWatches
from pytest_drdrill.text import NAME_LIMIT, storable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractContextManager

    from pytest_drdrill.measure.timeline import Timeline
    from pytest_drdrill.objectives import Objectives


class RTOTimer:
    """Measures how long recovery takes: RTA = start of the success run that held - disaster.

    One disaster is one outage, however much the service flaps in between; with several outages the
    longest decides. Spans come from the monotonic clock.

    Source of the definition: NIST SP 800-34 rev. 1, section 3.2.1 (recovery time objective).

    Attributes:
        on_disaster: called with each outage that opens, by who watches across disasters.
        watches: what those who watch an outage enter.
    """

    def __init__(self, timeline: Timeline, objectives: Objectives) -> None:
        self._timeline = timeline
        self.watches = OutageWatches(timeline, objectives, self._time_assumed)
        self._restart()

    def _restart(self) -> None:
        """Forget what is of this timer alone; the outages are the timeline's."""
        self._assumed: list[tuple[str, timedelta]] = []
        self._not_applicable: str | None = None
        self._open: Outage | None = None
        self.on_disaster: list[Callable[[Outage], None]] = []

    # -- what a drill calls ---------------------------------------------------------------------

    def outage(
        self,
        name: str = "",
        *,
        rto: str | timedelta | None = None,
        expect_downtime: bool = True,
    ) -> AbstractContextManager[Outage]:
        """An outage: the disaster strikes on entry, the service is verified usable on exit.

        Where ``until`` or ``wait_until`` ran inside, they fixed the moment of recovery and the exit
        adds nothing, not even where they gave up: then it takes a later one that holds, or a
        ``recovered()`` to say that the service came back by other means. An exception leaves the
        outage open: not recovered.

        Args:
            name: shown in reports, for drills with several.
            rto: an objective of this outage alone, in place of the drill's.
            expect_downtime: False where the service should not go down at all; else a watched
                check that never fails means that the fault missed.

        Raises:
            DrillUsageError: another outage is still open.
        """
        return OutageBlock(self, name, rto, expect_downtime=expect_downtime)

    def disaster(
        self,
        name: str = "",
        *,
        rto: str | timedelta | None = None,
        expect_downtime: bool = True,
    ) -> Outage:
        """The disaster strikes now: opens an outage, which ``recovered`` closes."""
        __tracebackhide__ = True
        if self._open is not None:
            raise DrillUsageError(
                "an outage is open already; one disaster is one outage: call recovered() first"
            )
        target = None if rto is None else parse_duration(rto)
        moment = self._timeline.moment()
        outage = Outage(storable(name, NAME_LIMIT), moment, target, expect_downtime)
        self._timeline.outages.append(outage)
        self._timeline.record("disaster", outage.name, at=moment.at, vital=True)
        self._open = outage
        for told in self.on_disaster:
            told(outage)
        return outage

    def detected(self) -> None:
        """Something noticed the disaster now; only the first notice of an outage counts."""
        outage = self._current("detected")
        if outage.detected_at is None:
            outage.detected_at = self._timeline.clock.monotonic()
            self._timeline.record("detected", outage.name, at=outage.detected_at, vital=True)

    def recovered(self) -> None:
        """The service is verified usable now: closes the open outage.

        Where a watch fixed the moment of recovery already, that one stands.
        """
        outage = self._current("recovered")
        outage.watching = outage.gave_up = 0
        if outage.recovered_at is None:
            outage.recovered_at = self._timeline.clock.monotonic()
            self._timeline.record("recovered", outage.name, at=outage.recovered_at, vital=True)
        self._open = None

    def until(
        self,
        check: Callable[[], Any],
        *,
        interval: str | timedelta = "100ms",
        hold: str | timedelta | None = None,
        timeout: str | timedelta | None = None,
        check_timeout: str | timedelta = "5s",
    ) -> Coroutine[Any, Any, None]:
        """Await this: repeats a check until it holds; the start of that run is the recovery.

        A check that returns something falsy or raises counts as failed. Checks start at a fixed
        rate; the gap around the recovery is the measurement's resolution.

        Args:
            check: a callable, plain or asynchronous.
            interval: from the start of one check to the start of the next.
            hold: how long it must go on succeeding; default: the ``hold`` of the ``rto`` marker.
            timeout: for the whole wait, ``hold`` included. Default: until the RTO has passed and
                as long again, at least 10 s and at most 60 s, so that a broken promise is measured
                too; one minute without an RTO. A success run that began in that time is given its
                ``hold``.
            check_timeout: for one asynchronous check, which is then cancelled and counts as
                failed: a frozen server must not use up all patience.

        Raises:
            RTOExceeded: not recovered, and the RTO has passed.
            NotRecovered: not recovered within the timeout.
            DrillUsageError: no outage is open.
            TypeError: the check can't be called.
        """
        __tracebackhide__ = True
        # Entered at the call, so that one that is never awaited leaves its outage unrecovered.
        outage, watch = self._watch("until", check, interval, hold, timeout)
        return self._until(outage, watch, check, parse_duration(check_timeout).total_seconds())

    async def _until(
        self, outage: Outage, watch: Watch, check: Callable[[], Any], longest: float
    ) -> None:
        __tracebackhide__ = True
        clock = self._timeline.clock
        while True:
            begun = clock.monotonic()
            patience = min(watch.patience(begun), longest)
            passed, error = await run_check_async(check, patience, clock)
            pause = self._observe(outage, watch, begun, passed=passed, error=error)
            if pause is None:
                return
            await clock.sleep(pause)

    def wait_until(
        self,
        check: Callable[[], Any],
        *,
        interval: str | timedelta = "100ms",
        hold: str | timedelta | None = None,
        timeout: str | timedelta | None = None,
    ) -> None:
        """``until`` for synchronous drills: blocks. See there for arguments and errors.

        A check that hangs can't be interrupted: give it a timeout of its own.

        Raises:
            DrillUsageError: called while an event loop runs, which it would block.
        """
        __tracebackhide__ = True
        if in_event_loop():
            raise DrillUsageError(
                "wait_until() would block the running event loop; in an async drill write "
                "`await rto_timer.until(...)`"
            )
        outage, watch = self._watch("wait_until", check, interval, hold, timeout)
        clock = self._timeline.clock
        while True:
            begun = clock.monotonic()
            passed, error = run_check(check)
            pause = self._observe(outage, watch, begun, passed=passed, error=error)
            if pause is None:
                return
            clock.block(pause)

    def assume(self, what: str, duration: str | timedelta) -> None:
        """Add time that people would need (to notice, to decide): counted, and shown as assumed.

        Raises:
            TypeError: a duration without a unit.
            ValueError: no duration, or all that is assumed comes to more than a million days.
        """
        span = parse_duration(duration)
        if self._time_assumed() + span > LONGEST:
            raise ValueError("assume(): all that is assumed comes to more than a million days")
        label = storable(what, NAME_LIMIT)
        self._assumed.append((label, span))
        self._timeline.record("assumed", f"{label}: {format_duration(span)}")

    def not_applicable(self, reason: str) -> None:
        """This drill measures no recovery time, and says why; the reason is in every report.

        Raises:
            TypeError: the reason is no text.
            ValueError: it is empty.
        """
        __tracebackhide__ = True
        example = "only the data is drilled"
        self._not_applicable = required_reason("not_applicable", reason, example)
        self._timeline.record("rto not applicable", self._not_applicable)

    # -- what was measured ----------------------------------------------------------------------

    @property
    def outages(self) -> list[Outage]:
        """Every outage so far, in order."""
        return list(self._timeline.outages)

    def did_real_work(self, what: str) -> None:
        """In virtual time, something was done that takes real time: the open outage tells nothing.

        Args:
            what: such as ``"restore completed"``.
        """
        if self._open is not None:
            self._open.real_work = what

    @property
    def in_outage(self) -> bool:
        """Whether an outage is open."""
        return self._open is not None

    @property
    def assumed(self) -> list[tuple[str, timedelta]]:
        """What was assumed, and how long each."""
        return list(self._assumed)

    @property
    def elapsed(self) -> timedelta:
        """The outage that goes on so far, else the longest one; zero before any disaster."""
        if self._open is not None and self._open.recovered_at is None:
            now = self._timeline.clock.monotonic()
            return timedelta(seconds=now - self._open.disaster.at)
        return max(
            (o.actual for o in self._timeline.outages if o.actual is not None), default=timedelta()
        )

    @property
    def reason_not_applicable(self) -> str | None:
        """The reason given to ``not_applicable``, or None."""
        return self._not_applicable

    # -- for who watches ------------------------------------------------------------------------

    def close(self, outage: Outage) -> None:
        """End an outage of which a watch has said all; one that is over already stays so."""
        if self._open is outage:
            self._open = None

    # -- inside ---------------------------------------------------------------------------------

    def end_block(self, outage: Outage, *, failed: bool) -> None:
        """The block of an outage was left: recovered, unless it failed or a watch has the say."""
        if self._open is not outage:
            return
        if failed:  # whatever a watch saw inside: nobody says that it is usable
            outage.recovered_at = outage.resolution = outage.held = None
        elif outage.watches:
            self._open = None
        else:
            self.recovered()

    def _time_assumed(self) -> timedelta:
        return sum((span for _, span in self._assumed), timedelta())

    def _current(self, called: str) -> Outage:
        __tracebackhide__ = True
        if self._open is None:
            raise DrillUsageError(
                f"{called}(): no outage is open; begin with rto_timer.outage() or .disaster()"
            )
        return self._open

    def _watch(
        self,
        called: str,
        check: Callable[[], Any],
        interval: str | timedelta,
        hold: str | timedelta | None,
        timeout: str | timedelta | None,
    ) -> tuple[Outage, Watch]:
        __tracebackhide__ = True
        outage = self._current(called)
        if not callable(check):
            raise TypeError(
                f"{called}() takes a check that it can call again and again, not {check!r:.80}"
            )
        step = parse_duration(interval).total_seconds()
        if not step:
            raise ValueError(
                "interval: checks without a pause in between would spin; give e.g. 50ms"
            )
        watch = Watch(
            since=outage.disaster.at,
            interval=step,
            hold=self.watches.hold_s(hold),
            deadline=self.watches.deadline(outage, timeout),
            grace=timeout is None,
        )
        watch.place = self.watches.attend(outage)
        return outage, watch

    def _observe(
        self,
        outage: Outage,
        watch: Watch,
        begun: float,
        *,
        passed: bool,
        error: BaseException | None,
    ) -> float | None:
        """Enter one check; the seconds to pause before the next, or None when it has held."""
        __tracebackhide__ = True
        now = self._timeline.clock.monotonic()
        self.watches.looked(outage, passed=passed)
        pause = watch.enter(begun, now, passed=passed)
        if watch.held is not None:
            self._fix(outage, watch)
            return None
        if pause is None:
            raise self.watches.gave_up(outage, now, error)
        return pause

    def _fix(self, outage: Outage, watch: Watch) -> None:
        assert watch.run_began is not None
        recovery = Recovery(watch.run_began, watch.resolution, watch.held or 0.0)
        self.watches.settle(outage, watch.place, recovery, watch.blind)
