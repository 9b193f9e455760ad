"""The evidence record's shape, ``drdrill/1``: what every rendering reads.

All values are plain (str, int, float, bool, None, lists and dicts of them), so that a record can
cross from an xdist worker to its controller and into JSON unchanged. Durations are seconds, moments
RFC 3339 UTC. The JSON Schema beside this file says the same to programs.
"""

from __future__ import annotations

from typing import Literal, TypedDict

from pytest_drdrill.measure.records import (  # noqa: TC001 - whoever reads the types needs them
    Basis,
    EventRecord,
    FindingRecord,
    MetricRecord,
    ParticipantRecord,
    StepRecord,
)

Mode = Literal["simulated", "local", "live"]
Verdict = Literal["passed", "failed", "not_verified", "known_broken"]
Disaster = Literal["natural", "technical", "human_error", "security", "infrastructure"]
Kind = Literal["backup_restore", "failover", "replication", "rto", "rpo"]


class OutageRecord(TypedDict):
    """One outage: disaster at ``at_s`` on the timeline, the rest counted from the disaster."""

    name: str
    at_s: float
    detected_s: float | None
    actual_s: float | None  # None: never recovered
    resolution_s: float | None  # None: not found by repeated checks
    held_s: float | None
    down_seen: bool | None  # None: nothing watched
    expect_downtime: bool
    target_s: float | None
    met: bool | None


class AssumedRecord(TypedDict):
    """Time that people would need, added to the measured time as an assumption."""

    what: str
    seconds: float


class RTORecord(TypedDict):
    """Recovery time: ``actual_s`` is the longest outage plus what was assumed."""

    target_s: float | None
    actual_s: float | None
    assumed: list[AssumedRecord]
    resolution_s: float | None
    met: bool | None  # None: no target, or not measured
    not_applicable: str | None
    outages: list[OutageRecord]


class RPORecord(TypedDict):
    """Lost work: counts of writes where a ledger was kept, and the first lost keys."""

    target_s: float | None
    actual_s: float | None
    basis: Basis | None
    acknowledged: int
    lost: int
    holes: int
    indeterminate: int
    lost_keys: list[str]
    unbounded: bool  # acknowledged writes and no survivor, or an instant without a backup
    met: bool | None
    not_applicable: str | None


class Measured(TypedDict):
    """What one run of a drill measured and noted."""

    rto: RTORecord
    rpo: RPORecord
    timeline: list[EventRecord]
    steps: list[StepRecord]
    metrics: list[MetricRecord]
    notes: list[str]
    findings: list[FindingRecord]
    participants: list[ParticipantRecord]


class AttemptRecord(TypedDict):
    """An earlier attempt of a drill that was rerun."""

    verdict: Verdict
    rto_s: float | None
    rpo_s: float | None
    error: str | None


class RepeatRecord(TypedDict):
    """Which of the runs of ``--dr-repeat`` this is; ``index`` counts from 1."""

    base: str
    index: int
    of: int


class LiveTargetRecord(TypedDict):
    """A live system as the drill declared it, in words without secrets."""

    address: str
    breaks: str
    undone_by: str


class LiveRecord(TypedDict):
    """What a live drill was let touch, and for how long."""

    targets: list[LiveTargetRecord]
    max_outage_s: float | None  # None: nobody said, so it never ran
    aborted_after_s: float | None  # None: it ended by itself


class DrillRecord(Measured):
    """One drill: what was promised, measured and judged."""

    nodeid: str
    service: str | None
    tier: str | None
    disaster: Disaster | None
    kinds: list[Kind]
    mode: Mode
    runbook: str | None
    cadence_s: float | None
    repeat: RepeatRecord | None
    started: str | None  # None: never ran
    finished: str | None
    duration_s: float | None
    verdict: Verdict
    reason: str | None  # of not verified and known broken
    error: str | None  # of failed
    attempts: list[AttemptRecord]
    live: LiveRecord | None  # None: no live drill


class ObjectiveRow(TypedDict):
    """One objective over the drills of a row."""

    target_s: float | None
    worst_s: float | None  # of those that have an end
    p95_s: float | None  # from 20 measurements on; None too where it has no end
    measured: int
    unbounded: int  # outages never recovered, or losses without a bound
    met: bool | None  # False: missed at least once; None: not shown by every drill
    missed_s: float | None  # the longest time that broke a drill's own, narrower objective
    missed_target_s: float | None  # that objective


class TierRecord(TypedDict):
    """One row of the tier table: the drills of one tier in one mode."""

    tier: str | None
    mode: Mode
    drills: int
    passed: int
    failed: int
    not_verified: int
    known_broken: int
    rto: ObjectiveRow
    rpo: ObjectiveRow
    mttr_s: float | None
    mtbf_s: float | None
    availability_target: float | None  # percent
    expected_availability: float | None  # percent
    mttr_for_target_s: float | None
    downtime_budget_s: float | None  # in 30 days
    rto_exceeds_budget: bool | None  # one outage as long as the RTO


class SpreadRecord(TypedDict):
    """One objective over the runs of a drill; a run without an end is longer than all others."""

    median_s: float | None  # None: nothing was measured, or it has no end
    p95_s: float | None  # from 20 runs on; None too where it has no end
    worst_s: float | None  # of the runs that have an end
    measured: int
    unbounded: int  # runs that never recovered, or whose loss has no bound


class RepeatRow(TypedDict):
    """One drill that ``--dr-repeat`` ran several times; the worst run decides its verdict."""

    base: str
    runs: int
    verdict: Verdict
    rto: SpreadRecord
    rpo: SpreadRecord


class CoverageRow(TypedDict):
    """What was drilled of a service for a disaster type, in one mode."""

    service: str | None
    disaster: Disaster | None
    mode: Mode
    drills: int
    passed: int
    failed: int
    not_verified: int
    known_broken: int


class SelectionRecord(TypedDict):
    """What the options asked for, and how many drills and tests that chose and left out."""

    tiers: list[str]
    kinds: list[Kind]
    services: list[str]
    selected: int
    deselected: int


class GitRecord(TypedDict):
    """The commit that was drilled."""

    commit: str
    branch: str | None
    dirty: bool | None


class CIRecord(TypedDict):
    """The CI run that drilled."""

    provider: str
    url: str | None


class RunRecord(TypedDict):
    """One pytest session."""

    id: str
    started: str
    finished: str
    duration_s: float
    seed: int | None  # None: nothing simulated ran
    repeat: int
    selection: SelectionRecord
    not_collected: list[str]  # files that could not be imported; their drills are not verified
    versions: dict[str, str]
    host: dict[str, str]
    git: GitRecord | None
    ci: CIRecord | None


class EvidenceRecord(TypedDict):
    """The whole document."""

    schema: str
    run: RunRecord
    tiers: list[TierRecord]
    repeats: list[RepeatRow]
    drills: list[DrillRecord]
    plan: None  # no plan was read
    coverage: list[CoverageRow]
