"""Merges the drills of every process into one record, and has it rendered."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from pytest_drdrill.evidence.assemble import assemble, badness
from pytest_drdrill.objectives import tier_objectives
from pytest_drdrill.session.options import in_play
from pytest_drdrill.session.promise import NOTHING_PROMISED, Promise
from pytest_drdrill.session.record import attempt, base_record, rfc3339
from pytest_drdrill.session.runner import NEVER_RAN, PLAN_KEY, REPORT_KEY
from pytest_drdrill.session.selection import selection_record
from pytest_drdrill.session.terminated import end_cleanly_on_signals
from pytest_drdrill.session.uncollected import uncollected
from pytest_drdrill.text import storable

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_drdrill.evidence.types import (
        AttemptRecord,
        DrillRecord,
        EvidenceRecord,
        RunRecord,
        SelectionRecord,
    )
    from pytest_drdrill.session.runner import PlanRecord, Runner
    from pytest_drdrill.session.settings import Settings

CRASHED = "???"
"""The phase that xdist gives to the report of a test whose worker died."""


_ERROR = {"red": True, "bold": True}
_PATH_SHOWN = 1_000


class Collector:
    """Evidence of one session, from the reports of its drills.

    Attributes:
        record: the finished record; None until the session has finished.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.record: EvidenceRecord | None = None
        self._config = config
        self._settings = settings
        self._started, self._started_at = datetime.now(UTC), time.monotonic()
        self._drills: dict[str, DrillRecord] = {}
        # Whole runs of a drill that ran again under the same id, as with --keep-duplicates.
        self._doubles: dict[str, list[DrillRecord]] = {}
        self._crashed: dict[str, str] = {}
        # Of drills that ran again: the attempts that ended with their worker.
        self._dead: dict[str, list[AttemptRecord]] = {}
        self._uncollected: dict[str, None] = {}
        self._collected: list[str] = []
        self._runner: Runner | None = None
        self._own: PlanRecord | None = None
        # From workers: what was to run, as one of them began, and what was left when one ended.
        self._plan: PlanRecord | None = None
        self._left: PlanRecord | None = None
        self._write_errors: dict[Path, str] = {}

    def follow(self, runner: Runner) -> None:
        """Drills run in this very process."""
        self._runner = runner

    # -- what happens during the session --------------------------------------------------------

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a drill's newest evidence."""
        if self._plan is None and self._runner is None:
            self._plan = getattr(report, PLAN_KEY, None)
            if self._plan is not None:  # drills run in workers, which end with this process
                end_cleanly_on_signals(self._config)
        found = getattr(report, REPORT_KEY, None)
        if found is None:
            if report.when == CRASHED:
                self._crashed[report.nodeid] = storable(report.longreprtext)
            return
        self._keep(report.nodeid, found)

    def _keep(self, nodeid: str, found: DrillRecord) -> None:
        if (crash := self._crashed.pop(nodeid, None)) is not None:
            # It runs again, in another worker: what the first one told is of an attempt that ended.
            self._dead.setdefault(nodeid, []).append(self._dead_attempt(nodeid, crash))
        earlier = self._drills.get(nodeid)
        # One that was rerun tells of its earlier attempts itself.
        if earlier is not None and earlier["finished"] is not None and not found["attempts"]:
            self._doubles.setdefault(nodeid, []).append(earlier)
        self._drills[nodeid] = found

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what could not be collected: drills in it could not be verified."""
        if report.failed:
            self._uncollected[storable(report.nodeid)] = None

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker has ended and tells what was selected; every worker says the same."""
        output = getattr(node, "workeroutput", None)
        if self._left is None and output is not None and REPORT_KEY in output:
            self._left = output[REPORT_KEY]

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """A worker has collected; every worker the same."""
        self._collected = ids

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Put the record together and write it, before any other report asks for it."""
        if self._runner is not None:
            self._own = self._runner.plan()
            for run in self._runner.untold:
                self._keep(run.nodeid, run.record())
        drills = self._all_drills()
        if not drills and not in_play(session.config):
            return
        self.record = assemble(self._run_record(drills), drills, self._settings.tiers)
        self._write()
        if session.exitstatus == pytest.ExitCode.OK and (
            self._write_errors or (self._unverified() and self._must_verify())
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the DR section."""
        from pytest_drdrill.report.safe import visible  # at the end
        from pytest_drdrill.report.terminal import section_lines  # likewise

        if self.record is None:
            return
        lines = section_lines(self.record, verbose=self._config.get_verbosity())
        for path in self._settings.reports:
            if path in self._write_errors:
                lines.append((f"ERROR: {self._write_errors[path]}", _ERROR))
            else:
                lines.append((f"evidence: {visible(str(path), _PATH_SHOWN)}", {}))
        if self._unverified() and self._must_verify():
            asked = "--dr-fail-unverified" if self._settings.fail_unverified else "--dr-live"
            text = f"ERROR: {self._unverified()} not verified, which fails a run with {asked}"
            lines.append((text, _ERROR))
        if lines:
            terminalreporter.section("disaster recovery", sep="=", bold=True)
        for text, markup in lines:
            terminalreporter.write_line(text, **markup)

    # -- what it comes to -----------------------------------------------------------------------

    def _all_drills(self) -> list[DrillRecord]:
        """Every selected drill once, in collection order, those that never ran included."""
        plans = [plan for plan in (self._own, self._left, self._plan) if plan is not None]
        if not plans:
            self._take_unplanned()
        order = plans[0]["order"] if plans else {}
        for plan in plans:
            for nodeid, drill in plan["unfinished"]:
                self._drills.setdefault(nodeid, drill)
        for nodeid, error in self._crashed.items():
            if (crashed := self._drills.get(nodeid)) is not None:
                crashed["verdict"], crashed["error"], crashed["reason"] = "failed", error, None
        for nodeid, dead in self._dead.items():
            self._drills[nodeid]["attempts"] = [*dead, *self._drills[nodeid]["attempts"]]
        for nodeid, doubles in self._doubles.items():
            worst, *others = sorted([*doubles, self._drills[nodeid]], key=badness)
            worst["attempts"] = [*worst["attempts"], *map(attempt, others)]
            self._drills[nodeid] = worst
        last = len(order)
        ranked = sorted(self._drills, key=lambda nodeid: order.get(nodeid, last))
        return [self._drills[nodeid] for nodeid in ranked]

    def _dead_attempt(self, nodeid: str, error: str) -> AttemptRecord:
        """An attempt that ended with its worker; what it had measured, where that was told."""
        known = self._drills.get(nodeid)
        if known is None:
            return {"verdict": "failed", "rto_s": None, "rpo_s": None, "error": error}
        return {**attempt(known), "verdict": "failed", "error": error}

    def _take_unplanned(self) -> None:
        """No worker lived long enough to tell its plan: what was to run is known by its id."""
        if not self._settings.selective:
            for nodeid in self._crashed:  # a drill or an ordinary test, nobody knows
                self._uncollected[storable(nodeid)] = None
            return
        objectives = NOTHING_PROMISED
        if len(self._settings.only_tiers) == 1:
            objectives = tier_objectives(self._settings.only_tiers[0], self._settings.tiers)
        # All that was selected are drills.
        for nodeid in [*self._crashed, *self._collected]:
            unknown = base_record(
                nodeid, Promise(objectives), repeat=None, verdict="not_verified", reason=NEVER_RAN
            )
            self._drills.setdefault(nodeid, unknown)

    def _run_record(self, drills: list[DrillRecord]) -> RunRecord:
        from pytest_drdrill.evidence.origin import ci, git, host  # at the end

        finished = datetime.now(UTC)
        simulated = any(drill["mode"] == "simulated" for drill in drills)
        return {
            "id": uuid.uuid4().hex,
            "started": rfc3339(self._started),
            "finished": rfc3339(finished),
            "duration_s": round(time.monotonic() - self._started_at, 6),
            "seed": self._settings.seed if simulated else None,
            "repeat": 1 if self._settings.check_replay else self._settings.repeat,
            "selection": self._selection(),
            "not_collected": self._not_collected(),
            "versions": _versions(self._config),
            "host": host(),
            # Three processes of git: only where a file will show them.
            "git": git(self._config.rootpath) if self._settings.reports else None,
            "ci": ci(),
        }

    def _not_collected(self) -> list[str]:
        known = dict.fromkeys(uncollected(self._config)) | self._uncollected
        for plan in (self._left, self._plan):
            known |= dict.fromkeys(plan["uncollected"] if plan else ())
        return list(known)

    def _selection(self) -> SelectionRecord:
        for plan in (self._own, self._left, self._plan):
            if plan is not None:
                return plan["selection"]
        return selection_record(self._settings, len(self._drills), 0)

    def _unverified(self) -> int:
        assert self.record is not None
        missing = len(self.record["run"]["not_collected"])
        return missing + sum(tier["not_verified"] for tier in self.record["tiers"])

    def _must_verify(self) -> bool:
        return self._settings.fail_unverified or self._settings.live

    def _write(self) -> None:
        from pytest_drdrill.report.files import ReportError, render, write  # at the end

        assert self.record is not None
        for path in self._settings.reports:
            try:
                write(path, render(self.record, path))
            except ReportError as error:
                self._write_errors[path] = str(error)


def _versions(config: pytest.Config) -> dict[str, str]:
    import platform  # at the end
    from importlib.metadata import version  # likewise

    versions = {"python": platform.python_version(), "pytest": pytest.__version__}
    for _, dist in config.pluginmanager.list_plugin_distinfo():
        # The first lines of the metadata: to parse all of them takes a millisecond each.
        head = (dist.read_text("METADATA") or "").partition("\n\n")[0]
        fields = dict(line.partition(": ")[::2] for line in head.splitlines())
        versions.setdefault(fields.get("Name", ""), fields.get("Version", ""))
    if "pytest-drdrill" not in versions:  # loaded by -p and the module's name
        versions["pytest-drdrill"] = version("pytest-drdrill")
    versions.pop("", None)
    return {storable(name): storable(text) for name, text in sorted(versions.items())}
