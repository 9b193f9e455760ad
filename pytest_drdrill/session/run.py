"""One attempt of one drill: from its set-up to its verdict, and the evidence of it."""

from __future__ import annotations

import math
import unittest
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from pytest_drdrill.clock import REAL_CLOCK
from pytest_drdrill.evidence.measured import called_off, measured, nothing_measured
from pytest_drdrill.measure import Drill, DrillFailure
from pytest_drdrill.measure.timeline import now
from pytest_drdrill.session.record import attempt, base_record, rfc3339
from pytest_drdrill.session.redaction import redacted
from pytest_drdrill.session.verdict_errors import is_verdict, show_notes, shown_alone
from pytest_drdrill.text import storable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.evidence.types import (
        AttemptRecord,
        DrillRecord,
        Measured,
        RepeatRecord,
        RPORecord,
        Verdict,
    )
    from pytest_drdrill.session.live_run import LiveRun
    from pytest_drdrill.session.promise import Promise
    from pytest_drdrill.simulation import SimulatedWorld

UNFINISHED = "the drill did not finish: it was interrupted, or its process died"
SKIPS = (unittest.SkipTest, pytest.skip.Exception)
"""What a body raises that calls it off."""
NO_FAILURE = (*SKIPS, pytest.xfail.Exception, pytest.exit.Exception)
"""What a body raises that is no failure of it."""
FAILURE = (Exception, pytest.fail.Exception, SystemExit)
"""What is one. All else, such as Ctrl-C, ends the session."""


class DrillRun:
    """The state of one attempt; lives on the item that runs.

    Attributes:
        nodeid: the test's id.
        promise: what the markers declare.
        at_body_end: called when the body has ended, before it is judged: stops what it started.
        ended: whether the body has ended.
        world: the simulated world that it runs in, or None.
        live: what guards it where it is a live drill that was let begin, or None.
    """

    __slots__ = (
        "_broken",
        "_clock",
        "_drill",
        "_earlier",
        "_error",
        "_lasted_s",
        "_measured",
        "_reason",
        "_repeat",
        "_started",
        "_swallowed",
        "_verdict",
        "at_body_end",
        "ended",
        "live",
        "nodeid",
        "promise",
        "world",
    )

    def __init__(
        self,
        nodeid: str,
        promise: Promise,
        repeat: RepeatRecord | None,
        earlier: DrillRun | None = None,
        seed: int = 0,
    ) -> None:
        self.nodeid = nodeid
        self.promise = promise
        self._clock: Clock = REAL_CLOCK
        self.world: SimulatedWorld | None = None
        self.live: LiveRun | None = None
        self.at_body_end: list[Callable[[], None]] = []
        if promise.simulated:
            self.world = self._simulated_world(seed)
            self._clock = self.world.clock
            self.at_body_end.append(self.world.close)
        self._started = now(self._clock)
        self._drill: Drill | None = None
        self.ended = False
        self._repeat = repeat
        self._earlier = earlier
        self._lasted_s: float | None = None
        self._measured: Measured | None = None
        self._swallowed: BaseException | None = None
        self._verdict: Verdict | None = None
        self._reason: str | None = None
        self._error: str | None = None
        self._broken: str | None = None

    def _simulated_world(self, seed: int) -> SimulatedWorld:
        from pytest_drdrill.simulation.world import SimulatedWorld  # only for simulated drills

        def happened(event: str, detail: object) -> None:
            self.drill.event(event, detail)

        return SimulatedWorld(seed, on_event=happened)

    @property
    def drill(self) -> Drill:
        """What the fixtures hand out; made when first asked for, it began with the attempt."""
        if self._drill is None:
            objectives = self.promise.objectives
            self._drill = Drill(objectives, clock=self._clock, started=self._started)
        return self._drill

    @property
    def is_rerun(self) -> bool:
        """Whether the same test has run before in this session."""
        return self._earlier is not None

    def last_turn(self) -> tuple[str, float]:
        """Its last disaster or recovery, else its beginning: in words, and on the clock."""
        last = "its beginning", self._started.at
        for outage in self._drill.rto.outages if self._drill is not None else ():
            last = "the disaster", outage.disaster.at
            if outage.recovered_at is not None and not outage.watching:
                last = "the recovery", outage.recovered_at
        return last

    def _now_measured(self) -> Measured:
        if self._drill is None:
            return nothing_measured(self.promise.objectives)
        return measured(self._drill)

    def _breaches(self) -> list[DrillFailure]:
        objectives = self.promise.objectives
        if self._drill is None and objectives.rto is None and objectives.rpo is None:
            return []  # nothing was promised and nothing begun
        return self.drill.judge()

    # -- the body -------------------------------------------------------------------------------

    def end_body(self) -> None:
        """Stop what the body left running; it has ended.

        Raises:
            Exception: the first that came meanwhile, after all was stopped.
        """
        self.ended = True
        self._stop(0)

    def _stop(self, kept: int) -> None:
        """Stop what was started last, and so on, until so much is left."""
        first: Exception | None = None
        while len(self.at_body_end) > kept:
            try:
                self.at_body_end.pop()()
            except Exception as error:  # noqa: BLE001 - the others have to be stopped still
                if self.live is not None:
                    self.live.note_stopped(error)
                if first is None:
                    first = error
                else:
                    self._note(first, f"while stopping what the drill had started: {error!r}")
        if first is not None:
            raise first

    def end_failed_body(self, error: BaseException) -> None:
        """The body has failed: stop what it left running, and note on its error what else broke."""
        self.ended = True
        self._stop_failed(error, 0)
        if isinstance(error, NO_FAILURE) or not isinstance(error, FAILURE):
            return
        show_notes(error)
        for breach in self._breaches():
            if not (isinstance(error, DrillFailure) and _same_matter(breach, error)):
                self._note(error, f"{type(breach).__name__}: {breach}")

    def _stop_failed(self, error: BaseException, kept: int) -> None:
        try:
            self._stop(kept)
        except Exception as late:  # noqa: BLE001 - must not hide the body's own error
            self._note(error, f"while stopping what the drill had started: {late!r}")

    def _note(self, error: BaseException, text: str) -> None:
        try:
            error.add_note(text)
        except Exception:  # noqa: BLE001 - an exception class may have a will of its own
            self.drill.note(text)

    def verdict(
        self, *found: DrillFailure, first: Sequence[DrillFailure] = ()
    ) -> BaseException | None:
        """What to raise for a body that passed: None where every promise held.

        Args:
            found: what else was found against it.
            first: likewise, and worse than a broken promise.

        The exception shows its own text alone and is an instance of the first breach's class, so
        that ``xfail(raises=RTOExceeded)`` holds.
        """
        return self._verdict_of([*first, *self._breaches(), *found])

    def verdict_on_skip(self, error: BaseException) -> BaseException | None:
        """What to raise for a body that skips when a promise was seen broken; None for all else.

        Such a drill has shown something already, and can't be called off as not verified.
        """
        if self._drill is None or not isinstance(error, SKIPS):
            return None
        breaches = self._drill.seen_broken()
        if breaches:
            self._drill.event("skipped, its promise being broken by then", error)
        return self._verdict_of(breaches)

    def _verdict_of(self, breaches: Sequence[DrillFailure]) -> BaseException | None:
        if not breaches:
            return None
        from pytest_drdrill.report.failure import failure_text  # only for failures

        worst, *others = breaches
        named = [f"{type(breach).__name__}: {breach}" for breach in others]
        self._broken = "\n".join([f"{type(worst).__name__}: {worst}", *named])
        # pytest itself leads with the name of the first one's class.
        return shown_alone(worst, failure_text([str(worst), *named], self._now_measured()))

    @contextmanager
    def example(self) -> Iterator[None]:
        """One example of ``@given``: a drill of its own, with a fresh clock, ledger and world."""
        if self.world is None:
            self.drill._restart()  # noqa: SLF001 - for this alone
            yield
            return
        self.world.restart()
        self.drill._restart()  # noqa: SLF001 - likewise
        kept = len(self.at_body_end)
        try:
            yield
        except BaseException as error:
            self._stop_failed(error, kept)
            raise
        self._stop(kept)
        self.world.close()

    def keep_worst(self) -> None:
        """One more ``@given`` example passed: what it measured stands if it is the worst so far."""
        found, kept = self._now_measured(), self._measured
        if kept is not None:
            rpo = max(kept["rpo"], found["rpo"], key=_rpo_badness)
            found = max(kept, found, key=_rto_badness)
            found = {**found, "rpo": rpo}
        self._measured = found

    def keep_last(self, verdict: BaseException | None = None) -> None:
        """A ``@given`` example failed: of these, the last to run is the smallest; it stands."""
        self._measured = self._now_measured()
        self._swallowed = verdict or self._swallowed

    def verdict_on_examples(self) -> BaseException | None:
        """What to raise for a ``@given`` body that passed as a whole.

        An example may have broken a promise and somebody caught it, as ``example().xfail()`` does;
        or there was none that counts, since all were rejected.
        """
        return self._swallowed or (self.verdict() if self._measured is None else None)

    # -- the phases -----------------------------------------------------------------------------

    def settle(self, report: pytest.TestReport, error: BaseException | None) -> None:
        """Take the outcome of one phase from its report and what it raised."""
        if self.is_subtests(report):
            if report.failed:
                self._fail(report, error)
            return
        if report.when == "call" and self._measured is None and self._drill is not None:
            self._measured = self._now_measured()
        if report.failed:
            self._fail(report, error)
        elif self._verdict == "failed":
            return
        elif report.skipped:
            known = hasattr(report, "wasxfail")
            self._verdict = "known_broken" if known else "not_verified"
            reason = (report.wasxfail or self._broken) if known else _skip_reason(report)
            self._reason = storable(reason) if reason else None
        elif report.when == "call":
            self._verdict = "passed"

    def is_subtests(self, report: pytest.TestReport) -> bool:
        """Whether a report is of a subtest, in the body or before it; it decides by failing."""
        return report.when == "call" and not self.ended

    def _fail(self, report: pytest.TestReport, error: BaseException | None) -> None:
        if self._verdict == "failed":
            return  # the first failure stands
        self._verdict, self._reason = "failed", None
        self._error = self._broken if is_verdict(error) else self._what_failed(report, error)

    def account(self, report: pytest.TestReport, error: BaseException) -> str:
        """What was measured until the body failed, and the timeline; a verdict tells it itself."""
        if report.when != "call" or not report.failed or is_verdict(error) or not self.ended:
            return ""
        from pytest_drdrill.report.failure import failure_text  # only for failures

        return failure_text((), self._measured or self._now_measured())

    def _what_failed(self, report: pytest.TestReport, error: BaseException | None) -> str:
        """The body's own failure; of unittest it comes on top of a breach, which is told too."""
        parts = (storable(_error_of(report, error)), self._broken)
        return "\n".join(part for part in parts if part)

    def end(self) -> None:
        """The attempt is over: keep what its record takes, and let go of all that it had made."""
        if self._drill is not None:
            self._measured = self._measured or measured(self._drill)
            self._started = self._drill.timeline.started
            self._drill = None
        self._swallowed = None
        self.at_body_end.clear()
        self._lasted_s = self._clock.monotonic() - self._started.at
        if self.world is not None:
            with suppress(Exception):  # whatever its end said, the body's end has told
                self.world.close()
            self.world, self._clock = None, REAL_CLOCK

    def record(self) -> DrillRecord:
        """The evidence up to now."""
        started, lasted_s = self._started, self._lasted_s
        if self._drill is not None:
            started = self._drill.timeline.started
        if lasted_s is None:
            lasted_s = self._clock.monotonic() - started.at
        found = self._measured or self._now_measured()
        if self._verdict == "not_verified":
            found = called_off(found)
        record = base_record(
            self.nodeid,
            self.promise,
            repeat=self._repeat,
            found=found,
            started=rfc3339(started.utc),
            finished=rfc3339(started.utc + timedelta(seconds=lasted_s)),
            duration_s=round(lasted_s, 6),
            verdict=self._verdict or "failed",
            reason=self._reason,
            error=self._error if self._verdict else UNFINISHED,
        )
        if self._earlier is not None:
            record["attempts"] = self._earlier.attempts()
        if self.live is not None and record["live"] is not None:
            record["live"]["aborted_after_s"] = self.live.aborted_after_s
        return record if self.promise.simulated else redacted(record)

    def attempts(self) -> list[AttemptRecord]:
        """What stays of this attempt and those before it, as one that was rerun."""
        record = self.record()
        return [*record["attempts"], attempt(record)]

    def record_if_died(self) -> DrillRecord:
        """The evidence of this attempt should its process die in the next phase."""
        record = self.record()
        if self._verdict != "failed":
            record["verdict"], record["error"], record["reason"] = "failed", UNFINISHED, None
        record["finished"] = record["duration_s"] = None
        return record


def _same_matter(breach: DrillFailure, raised: DrillFailure) -> bool:
    """``until`` that gave up raised what the open outage would say a second time."""
    return breach.actual is None and breach.target == raised.target


def _rto_badness(found: Measured) -> float:
    return found["rto"]["actual_s"] or 0.0


def _rpo_badness(found: RPORecord) -> float:
    return math.inf if found["unbounded"] else found["actual_s"] or 0.0


def _error_of(report: pytest.TestReport, error: BaseException | None) -> str:
    """What went wrong and where, without the whole traceback, which pytest shows."""
    if isinstance(error, pytest.fail.Exception) and not error.pytrace:
        return str(error)
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return report.longreprtext
    return f"{crash.message}\n{crash.path}:{crash.lineno}"


def _skip_reason(report: pytest.TestReport) -> str:
    longrepr = report.longrepr
    if isinstance(longrepr, tuple):
        return longrepr[2].removeprefix("Skipped: ")
    return report.longreprtext
