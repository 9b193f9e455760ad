"""What a test's markers and fixtures promise, read once at collection."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_drdrill.durations import ACCEPTED, format_duration, parse_duration
from pytest_drdrill.objectives import Objectives, tier_objectives
from pytest_drdrill.session.markers import closest_marks
from pytest_drdrill.session.virtual import asks_for_simulation
from pytest_drdrill.text import NAME_LIMIT, shown, storable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    import pytest

    from pytest_drdrill.evidence.types import Disaster, Kind
    from pytest_drdrill.live.target import Declared
    from pytest_drdrill.objectives import RecoveryMetrics

DISASTERS: tuple[Disaster, ...] = (
    "natural",
    "technical",
    "human_error",
    "security",
    "infrastructure",
)
KINDS: tuple[Kind, ...] = ("backup_restore", "failover", "replication", "rto", "rpo")
_KIND_OF_FIXTURE: dict[str, Kind] = {
    "full_backup": "backup_restore",
    "incremental_backup": "backup_restore",
    "differential_backup": "backup_restore",
    "backup_strategy": "backup_restore",
    "simulated_backups": "backup_restore",
    "postgres_restore": "backup_restore",
    "failover_manager": "failover",
    "postgres_archive": "backup_restore",
    "postgres_standby": "replication",
    "canary": "rpo",
    "redis_replica": "replication",
    "redis_sentinels": "failover",
    "haproxy": "failover",
    "replication": "replication",
    "active_passive_cluster": "failover",
    "active_active_cluster": "failover",
    "rto_timer": "rto",
    "rpo_timer": "rpo",
}
_KEYWORDS = {
    "dr_tier": "name",
    "rto": "limit",
    "rpo": "limit",
    "dr_service": "name",
    "disaster": "kind",
    "runbook": "path",
    "dr_cadence": "every",
}
NOTHING_PROMISED = Objectives()
NOT_LIVE: tuple[timedelta | None, tuple[Declared, ...]] = (None, ())
NO_PROBLEMS: Mapping[str, str] = MappingProxyType({})


class Promise(NamedTuple):
    """One drill as its author declared it.

    Attributes:
        objectives: what its tier and markers promise.
        simulated: whether it asks for a simulated fixture, and so runs in virtual time.
        problems: what can't be read, by marker name; such a drill is an error.
        max_outage: of a live drill: when it is ended.
        targets: of a live drill: what it breaks.
    """

    objectives: Objectives
    service: str | None = None
    disaster: Disaster | None = None
    runbook: str | None = None
    live: bool = False
    cadence: timedelta | None = None
    kinds: tuple[Kind, ...] = ()
    simulated: bool = False
    problems: Mapping[str, str] = NO_PROBLEMS
    max_outage: timedelta | None = None
    targets: tuple[Declared, ...] = ()

    def complaint(self, nodeid: str) -> str:
        """All problems as one message, naming the test; what is wrong comes first."""
        return "\n".join(f"{text} (in {storable(nodeid)})" for text in self.problems.values())


def read_promise(item: pytest.Item, tiers: Mapping[str, RecoveryMetrics]) -> Promise | None:
    """What an item promises; None for a test that is no drill."""
    marks = closest_marks(item)
    if not marks:
        return None
    reader = _Reader(marks, tiers)
    simulated = asks_for_simulation(item)
    live = NOT_LIVE
    if "dr_live" in marks or "dr_live_target" in marks:
        from pytest_drdrill.session.live_marks import read_live  # only for live drills

        live = read_live(item, marks, reader.problems, simulated=simulated)
    # Most drills carry few of them: what is absent costs nothing.
    return Promise(
        reader.objectives(),
        reader.text("dr_service", "the service's name") if "dr_service" in marks else None,
        reader.disaster() if "disaster" in marks else None,
        reader.text("runbook", "a path") if "runbook" in marks else None,
        "dr_live" in marks,
        reader.duration("dr_cadence") if "dr_cadence" in marks else None,
        _kinds(marks, getattr(item, "fixturenames", ())),
        simulated,
        reader.problems or NO_PROBLEMS,
        *live,
    )


def _kinds(marks: Mapping[str, Any], fixtures: Any) -> tuple[Kind, ...]:
    found: set[str] = {_KIND_OF_FIXTURE[name] for name in fixtures if name in _KIND_OF_FIXTURE}
    found |= marks.keys() & {"rto", "rpo"}
    return tuple([kind for kind in KINDS if kind in found]) if found else ()


class _Reader:
    """Reads marker arguments; collects what can't be read instead of raising."""

    def __init__(self, marks: dict[str, pytest.Mark], tiers: Mapping[str, RecoveryMetrics]) -> None:
        self._marks = marks
        self._tiers = tiers
        self.problems: dict[str, str] = {}

    def objectives(self) -> Objectives:
        objectives = NOTHING_PROMISED
        if "dr_tier" in self._marks:
            objectives = self._tier()
        if "rto" not in self._marks and "rpo" not in self._marks:
            return objectives
        rto = rpo = hold = None
        if "rto" in self._marks:
            rto, hold = self.duration("rto", also=("hold",)), self._hold()
        if "rpo" in self._marks:
            rpo = self.duration("rpo")
        for name, limits in (("rto", {"rto": rto, "hold": hold}), ("rpo", {"rpo": rpo})):
            if name not in self._marks:
                continue
            try:
                objectives = objectives.narrowed(**limits)
            except ValueError as error:
                widest = getattr(objectives, name)
                self._complain(name, str(error), f"at most {format_duration(widest)}")
        return objectives

    def _tier(self) -> Objectives:
        names = ", ".join(self._tiers)
        tier = self.text("dr_tier", f"one of {names}")
        if tier is None:
            return NOTHING_PROMISED
        try:
            return tier_objectives(tier, self._tiers)
        except ValueError:
            self._complain("dr_tier", f"unknown tier {shown(tier)}", f"one of {names}")
            return NOTHING_PROMISED

    def _hold(self) -> timedelta | None:
        hold = self._marks["rto"].kwargs.get("hold")
        if hold is None or "rto" in self.problems:
            return None
        try:
            return parse_duration(hold)
        except (TypeError, ValueError) as error:
            problem = str(error).partition(";")[0]
            self._complain("rto", f"hold: {problem}", f"hold={ACCEPTED}")
            return None

    def text(self, name: str, accepted: str) -> str | None:
        value = self._value(name, accepted)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip():
            self._complain(name, f"{shown(value)} is no name", accepted)
            return None
        return storable(value, NAME_LIMIT)

    def disaster(self) -> Disaster | None:
        accepted = f"one of {', '.join(DISASTERS)}"
        value = self._value("disaster", accepted)
        if value is None:
            return None
        for known in DISASTERS:
            if value == known:
                return known  # and not the value, which may be an enum's member
        self._complain("disaster", f"unknown kind {shown(value)}", accepted)
        return None

    def duration(self, name: str, *, also: tuple[str, ...] = ()) -> timedelta | None:
        value = self._value(name, ACCEPTED, also=also)
        if value is None:
            return None
        try:
            return parse_duration(value)
        except (TypeError, ValueError) as error:
            self._complain(name, str(error).partition(";")[0], ACCEPTED)
            return None

    def _value(self, name: str, accepted: str, *, also: tuple[str, ...] = ()) -> Any:
        mark = self._marks[name]
        if len(mark.args) == 1 and not mark.kwargs and mark.args[0] is not None:
            return mark.args[0]  # as nearly always
        keyword = _KEYWORDS[name]
        if unknown := [key for key in mark.kwargs if key not in (keyword, *also)]:
            self._complain(name, f"unknown argument {unknown[0]!r}", accepted)
            return None
        values = [*mark.args, *(mark.kwargs[key] for key in (keyword,) if key in mark.kwargs)]
        if len(values) != 1:
            given = f"{len(values)} were given" if values else "none was given"
            self._complain(name, f"takes one argument, {given}", accepted)
            return None
        if values[0] is None:
            self._complain(name, "None says nothing", accepted)
            return None
        return values[0]

    def _complain(self, name: str, problem: str, accepted: str) -> None:
        mark = self._marks[name]
        arguments = [shown(value) for value in mark.args]
        arguments += [f"{key}={shown(value)}" for key, value in mark.kwargs.items()]
        called = f"@pytest.mark.{name}({storable(', '.join(arguments), NAME_LIMIT)})"
        problem = storable(problem, NAME_LIMIT)
        self.problems.setdefault(name, f"{called}: {problem}; write {accepted}")
