"""Runs drills in the process that runs the tests: registered only where there are drills."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, TypedDict

import pytest

from pytest_drdrill.redact import keep_secret, without_secrets
from pytest_drdrill.session.given import judge_examples
from pytest_drdrill.session.markers import MARKERS
from pytest_drdrill.session.promise import NOTHING_PROMISED, read_promise
from pytest_drdrill.session.record import base_record
from pytest_drdrill.session.redaction import redact_report, secrets_of_environment
from pytest_drdrill.session.repeat import base_of, count_tests, repeat_of, run_of_repeat
from pytest_drdrill.session.run import DrillRun
from pytest_drdrill.session.selection import is_repeated
from pytest_drdrill.session.tracebacks import hide_our_frames, tell_alone
from pytest_drdrill.session.uncollected import uncollected
from pytest_drdrill.session.virtual import choose_time, refuse_what_is_real
from pytest_drdrill.text import storable

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_drdrill.evidence.types import DrillRecord, RepeatRecord, SelectionRecord
    from pytest_drdrill.measure import DrillFailure
    from pytest_drdrill.objectives import Objectives
    from pytest_drdrill.session.live_guard import LiveGuard
    from pytest_drdrill.session.promise import Promise
    from pytest_drdrill.session.settings import Settings

RUN: pytest.StashKey[DrillRun] = pytest.StashKey()
"""Where an item keeps its present attempt."""
REPORT_KEY = "drdrill"
"""Attribute of a test report, and key of a worker's output, that carries evidence."""
PLAN_KEY = "drdrill_plan"
"""Attribute of a worker's first report: what it would run, should no worker live to its end."""
NEVER_RAN = "never ran: the session ended before it"


class PlanRecord(TypedDict):
    """What a worker knows of the session, in plain values."""

    selection: SelectionRecord
    order: dict[str, int]
    unfinished: list[tuple[str, DrillRecord]]
    uncollected: list[str]


class Runner:
    """Hooks around each drill of this process.

    Args:
        config: the session's.
        settings: what was asked for.
        promises: of each drill.
        selection: what was selected.
        guard: of live drills; None where none may run.
    """

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        promises: dict[pytest.Item, Promise],
        selection: SelectionRecord,
        guard: LiveGuard | None = None,
    ) -> None:
        self._guard = guard
        self._config = config
        self._settings = settings
        self._promises = promises
        self._marks = {item: len(item.own_markers) for item in promises}
        self._index = {item: index for index, item in enumerate(promises)}
        # The latest attempt of each; in order those whose evidence no report has carried.
        self._ended: dict[pytest.Item, DrillRun] = {}
        self.untold: list[DrillRun] = []
        option = config.option
        in_worker = hasattr(config, "workerinput")
        self._owes_plan = in_worker
        # Before the end of a drill, only another process and pytest-html ask for its evidence;
        # before the end of the session, pytest's JUnit file too. To make it is left to the end
        # where it can be, all at once being the quickest.
        self._process = os.getpid()
        self._early = in_worker or bool(getattr(option, "htmlpath", None))
        self._junit = settings.junit and bool(getattr(option, "xmlpath", None))
        self.selection = selection
        self._alone: set[str] = set()
        keep_secret(*secrets_of_environment(os.environ))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Forget the drills that others, such as ``--lf``, have deselected after us."""
        left = set(session.items)
        if self._settings.check_replay:
            runs = Counter(base_of(item) for item in session.items if run_of_repeat(item))
            self._alone = {base for base, count in runs.items() if count < self._settings.repeat}
        if left.issuperset(self._promises):
            return
        self._promises = {item: promise for item, promise in self._promises.items() if item in left}
        self._index = {item: index for index, item in enumerate(self._promises)}
        self.selection["selected"] = count_tests(self._promises)

    def unfinished(self) -> list[tuple[str, DrillRecord]]:
        """Id and evidence of each selected drill that did not end here, in collection order."""
        return [
            (item.nodeid, self._unfinished(item, promise))
            for item, promise in self._promises.items()
            if item not in self._ended
        ]

    def _unfinished(self, item: pytest.Item, promise: Promise) -> DrillRecord:
        run = item.stash.get(RUN, None)
        if run is not None:
            return run.record_if_died()
        return base_record(
            item.nodeid,
            promise,
            repeat=self._repeat_of(item, promise),
            verdict="not_verified",
            reason=NEVER_RAN,
        )

    def _repeat_of(self, item: pytest.Item, promise: Promise) -> RepeatRecord | None:
        of = self._settings.repeat
        return repeat_of(item, of) if of > 1 and is_repeated(promise, self._settings) else None

    def plan(self) -> PlanRecord:
        """What was selected, in which order, and what of it has not ended in this process."""
        return {
            "selection": self.selection,
            "order": self.order(),
            "unfinished": self.unfinished(),
            "uncollected": uncollected(self._config),
        }

    def order(self) -> dict[str, int]:
        """The place of each selected drill in the collection, by id."""
        return {item.nodeid: index for item, index in self._index.items()}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Begin an attempt; refuse a promise that can't be read, and a live drill unasked."""
        promise = self._promise_of(item)
        if promise is None:
            return
        self._begin(item, promise)
        if promise.problems:
            pytest.fail(promise.complaint(item.nodeid), pytrace=False)
        if promise.live:
            if self._guard is None:
                pytest.skip("live drill: it touches systems that exist without it; give --dr-live")
            self._guard.begin(item, item.stash[RUN])
        if promise.simulated:
            refuse_what_is_real(item)

    def _begin(self, item: pytest.Item, promise: Promise) -> DrillRun:
        # Whoever reruns a drill may send no report of the end of the attempts before.
        earlier = self._ended.get(item)
        repeat = self._repeat_of(item, promise)
        # The first of several runs is the one that a run without --dr-repeat is.
        further = repeat["index"] - 1 if repeat and not self._settings.check_replay else 0
        seed = self._settings.seed + further
        run = item.stash[RUN] = DrillRun(item.nodeid, promise, repeat, earlier, seed)
        return run

    def _promise_of(self, item: pytest.Item) -> Promise | None:
        """What a test promises, read anew where it was given a marker after the selection."""
        promise = self._promises.get(item)
        count = len(item.own_markers)
        if promise is not None:
            if count == self._marks[item]:
                return promise
        elif not any(mark.name in MARKERS for mark in item.own_markers):
            return None
        self._marks[item] = count
        found = read_promise(item, self._settings.tiers)
        if found is None:
            return promise
        self._promises[item] = found
        self._index.setdefault(item, len(self._index))
        return found

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Judge the drill when its body has ended."""
        run = item.stash.get(RUN, None)
        if run is None:
            result = yield
            self._refuse_late_promise(item, NOTHING_PROMISED)
            return result
        choose_time(item)
        undo = judge_examples(item, run)
        try:
            result = yield
        except BaseException as error:
            run.end_failed_body(error)
            if run.live is not None and (breach := run.live.breach(error)):
                raise run.verdict(first=breach) from None  # type: ignore[misc] # there is one
            if undo is None and (broken := run.verdict_on_skip(error)) is not None:
                raise broken from None
            raise
        finally:
            if undo is not None:
                undo()
        run.end_body()
        if undo is None:
            too_long = run.live.breach() if run.live is not None else ()
            verdict = run.verdict(*self._replay_breaches(item, run), first=too_long)
        else:
            verdict = run.verdict_on_examples()
        if verdict is not None:
            raise verdict
        self._refuse_late_promise(item, run.promise.objectives)
        return result

    def _replay_breaches(self, item: pytest.Item, run: DrillRun) -> list[DrillFailure]:
        repeat = self._repeat_of(item, run.promise) if self._settings.check_replay else None
        if repeat is None:
            return []
        if repeat["base"] in self._alone:
            from pytest_drdrill.measure import ReplayDiffers  # only where it was asked for

            return [ReplayDiffers("nothing was compared: only one of its two runs was selected")]
        from pytest_drdrill.session.replay import replay_breaches  # only where it was asked for

        return replay_breaches(item.config, run, repeat)

    def _refuse_late_promise(self, item: pytest.Item, known: Objectives) -> None:
        """Fail a test that was given a promise when it had begun: nothing held it to that."""
        count = self._marks.get(item)
        if count is None:
            late = any(mark.name in MARKERS for mark in item.own_markers)
        else:
            late = len(item.own_markers) != count
        promise = read_promise(item, self._settings.tiers) if late else None
        if promise is not None and (promise.objectives != known or promise.problems):
            pytest.fail(
                f"{storable(item.nodeid)} was marked with a promise when it had begun, too late to "
                "be held to it: put the marker on the function, or add it at collection",
                pytrace=False,
            )

    # Outermost, to see what others make of the outcome.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Send the evidence along with the report of each phase."""
        if call.excinfo is not None:
            hide_our_frames()
        report = yield
        if call.when != "call" and call.excinfo is not None and report.failed:
            tell_alone(report, item, call.excinfo)
        run = item.stash.get(RUN, None)
        if call.when == "setup":
            if self._owes_plan:  # of a subtest's report only a copy is sent
                self._owes_plan = False
                setattr(report, PLAN_KEY, self.plan())
            if run is None and (promise := self._promises.get(item)) is not None:
                run = self._begin(item, promise)  # somebody ended the set-up before it came to us
            if report.outcome == "passed" and not self._early:
                return report  # nothing has been decided yet
        if run is not None:
            self._take(item, run, call, report)
        return report

    def _take(
        self,
        item: pytest.Item,
        run: DrillRun,
        call: pytest.CallInfo[None],
        report: pytest.TestReport,
    ) -> None:
        error = call.excinfo.value if call.excinfo else None  # of unittest it is known only now
        if error is not None:
            redact_report(report)
        run.settle(report, error)
        if error is not None and (text := run.account(report, error)):
            report.sections.append(("disaster recovery", without_secrets(text)))
        if call.when == "teardown":
            self._end(item, run, report)
        elif self._early and not run.is_subtests(report):
            setattr(report, REPORT_KEY, run.record_if_died())

    def _end(self, item: pytest.Item, run: DrillRun, report: pytest.TestReport) -> None:
        run.end()
        del item.stash[RUN]
        self._ended[item] = run
        # Some plugins run a test in a fork of this process, which has its reports only.
        if not (self._early or self._junit or os.getpid() != self._process):
            self.untold.append(run)
            return
        record = run.record()
        setattr(report, REPORT_KEY, record)
        if self._junit:
            from pytest_drdrill.report.junit import properties  # only for drills

            report.user_properties.extend(properties(record))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A worker tells its controller what was selected."""
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[REPORT_KEY] = self.plan()
