"""One drill: its timeline, both timers, and what people note on the way."""

from __future__ import annotations

import inspect
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_drdrill.clock import RealClock, in_event_loop
from pytest_drdrill.durations import parse_duration
from pytest_drdrill.measure.judge import judge, seen_broken
from pytest_drdrill.measure.rpo import RPOTimer
from pytest_drdrill.measure.rto import RTOTimer
from pytest_drdrill.measure.timeline import Timeline
from pytest_drdrill.measure.verdicts import DrillUsageError, PreconditionNotMet
from pytest_drdrill.objectives import Objectives
from pytest_drdrill.text import NAME_LIMIT, one_line, storable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date, timedelta

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.measure.records import (
        FindingRecord,
        MetricRecord,
        ParticipantRecord,
        StepRecord,
    )
    from pytest_drdrill.measure.timeline import Moment
    from pytest_drdrill.measure.verdicts import DrillFailure


class Drill:
    """One run of one drill; what the ``drill`` fixture gives.

    Usable from a script as well::

        drill = Drill(Objectives(rto="15m"))
        with drill.rto.outage():
            ...
        assert not drill.judge()

    Args:
        objectives: what was promised; nothing by default.
        clock: the machine's own by default.
        started: when it began, if that was before now.

    Attributes:
        objectives: what was promised.
        clock: where its time comes from.
        timeline: what happened when.
        rto: the recovery timer (the fixture ``rto_timer``).
        rpo: the loss timer (the fixture ``rpo_timer``).
        canaries: the names of its canaries so far.
    """

    def __init__(
        self,
        objectives: Objectives | None = None,
        *,
        clock: Clock | None = None,
        started: Moment | None = None,
    ) -> None:
        self.objectives = objectives or Objectives()
        self.clock: Clock = clock or RealClock()
        self.timeline = Timeline(self.clock, started)
        self.rto = RTOTimer(self.timeline, self.objectives)
        self.rpo = RPOTimer(self.timeline)
        self._forget_notes()

    def _restart(self) -> None:
        """Begin again with a fresh clock and ledger, as for each example of a ``@given`` drill.

        Not for drills themselves: a breach that was measured must not be forgotten.
        """
        self.timeline._restart()  # noqa: SLF001 - the drill's own parts
        self.rto._restart()  # noqa: SLF001 - likewise
        self.rpo._restart()  # noqa: SLF001 - likewise
        self._forget_notes()

    def _forget_notes(self) -> None:
        self.steps: list[StepRecord] = []
        self.metrics: list[MetricRecord] = []
        self.notes: list[str] = []
        self.findings: list[FindingRecord] = []
        self.participants: list[ParticipantRecord] = []
        self.canaries: list[str] = []

    def event(self, name: str, detail: object = "") -> None:
        """Put an event on the timeline, now."""
        self.timeline.record(name, detail)

    @contextmanager
    def step(self, name: str, *, owner: str | None = None) -> Iterator[None]:
        """A named step and who owns it; its begin, duration and outcome are kept."""
        clock = self.clock
        began = clock.monotonic()
        step: StepRecord = {
            "name": storable(name, NAME_LIMIT),
            "owner": None if owner is None else storable(owner, NAME_LIMIT),
            "at_s": self.timeline.since_start(began),
            "duration_s": None,
            "outcome": "unfinished",
        }
        self.steps.append(step)
        self.timeline.record("step", step["name"], at=began)
        try:
            yield
        except BaseException:
            step["outcome"] = "failed"
            raise
        else:
            step["outcome"] = "done"
        finally:
            step["duration_s"] = round(clock.monotonic() - began, 6)

    def require(self, what: str, check: bool | Callable[[], Any]) -> None:
        """A precondition: where it does not hold, the drill can't begin and is not verified.

        Args:
            what: the condition in words, e.g. ``"sync standby attached"``.
            check: its outcome, or a plain callable that gives it. One that raises does not hold.

        Raises:
            PreconditionNotMet: it does not hold.
            DrillUsageError: the disaster has struck already; what has to hold from then on is an
                assertion.
            TypeError: an asynchronous check; await it and pass its outcome.
        """
        __tracebackhide__ = True
        what = storable(what, NAME_LIMIT)
        if self.timeline.disasters:
            raise DrillUsageError(
                f"require({what!r:.200}) after the disaster: a drill that has begun can't be "
                "called off as not verified; assert it instead"
            )
        why = ""
        outcome: Any = check
        if callable(check):
            try:
                outcome = check()
            except Exception as error:  # noqa: BLE001 - a check of a broken system may raise anything
                outcome, why = False, f" ({type(error).__name__}: {storable(error)})"
        if inspect.isawaitable(outcome):
            if inspect.iscoroutine(outcome):
                outcome.close()
            raise TypeError(f"require({what!r}): await the check and pass its outcome")
        if not outcome:
            self.timeline.record("precondition not met", f"{what}{why}")
            raise PreconditionNotMet(one_line(f"precondition not met: {what}{why}"))
        self.timeline.record("precondition met", what)

    def metric(self, name: str, value: float, unit: str = "") -> None:
        """Keep a figure that the drill took.

        Raises:
            TypeError: not a number.
            ValueError: infinite, not a number or too large, which no evidence file can hold.
        """
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"metric {name!r}: {value!r} is no number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ValueError(f"metric {name!r}: not a finite number that a float can hold")
        self.metrics.append(
            {
                "name": storable(name, NAME_LIMIT),
                "value": number,
                "unit": storable(unit, NAME_LIMIT),
            }
        )

    def note(self, text: object) -> None:
        """Keep a remark for whoever reads the report."""
        self.notes.append(storable(text))

    def finding(
        self, text: object, *, owner: str | None = None, due: str | date | None = None
    ) -> None:
        """Keep something to mend that the drill brought to light, who mends it, and by when."""
        self.findings.append(
            {
                "text": storable(text),
                "owner": None if owner is None else storable(owner, NAME_LIMIT),
                "due": None if due is None else storable(due, NAME_LIMIT),
            }
        )

    def participant(self, name: str, role: str = "") -> None:
        """Name somebody who took part."""
        self.participants.append(
            {"name": storable(name, NAME_LIMIT), "role": storable(role, NAME_LIMIT)}
        )

    def sleep(self, duration: str | timedelta) -> None:
        """Let time pass in a synchronous drill.

        Raises:
            DrillUsageError: called while an event loop runs; there, await ``drill.clock.sleep``.
        """
        if in_event_loop():
            raise DrillUsageError(
                "drill.sleep() would block the running event loop; in an async drill write "
                "`await drill.clock.sleep(seconds)`"
            )
        self.clock.block(parse_duration(duration).total_seconds())

    def judge(self) -> list[DrillFailure]:
        """Every way in which this drill broke, or did not show, its promise."""
        return judge(self.rto, self.rpo, self.objectives)

    def seen_broken(self) -> list[DrillFailure]:
        """Every promise that was measured up to now and not kept."""
        return seen_broken(self.rto, self.rpo, self.objectives)
