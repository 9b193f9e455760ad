"""What every rendering tells, and in which order: drills picked, grouped and ranked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.report import words
from pytest_drdrill.report.safe import first_lines, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_drdrill.evidence.types import (
        DrillRecord,
        EvidenceRecord,
        Measured,
        TierRecord,
        Verdict,
    )


class Case(NamedTuple):
    """A drill with a verdict; of the runs of ``--dr-repeat`` the worst one.

    Attributes:
        drill: the drill's record.
        other_runs: numbers of the other runs with the same verdict.
    """

    drill: DrillRecord
    other_runs: tuple[int, ...]

    @property
    def name(self) -> str:
        """The drill's id, visible."""
        return visible(self.drill["nodeid"], words.ID)

    @property
    def place(self) -> str:
        """Its service, tier and mode, and what its other runs did."""
        text = words.place(self.drill)
        if not self.other_runs:
            return text
        numbers = words.bounded([str(number) for number in self.other_runs], 10)
        return f"{text}; likewise in {'run' if len(numbers) == 1 else 'runs'} {', '.join(numbers)}"

    @property
    def reason(self) -> str:
        """Why it was not verified, or is known to be broken, in one line."""
        return visible(self.drill["reason"] or "no reason was given", words.TEXT)


class Said(NamedTuple):
    """Something that one or several drills said.

    Attributes:
        topic: what it is about, such as RTO.
        text: the words, visible.
        names: ids of the drills, visible.
    """

    topic: str
    text: str
    names: tuple[str, ...]


class RepeatLine(NamedTuple):
    """One objective of a drill that was run several times."""

    base: str
    runs: int
    verdict: Verdict
    objective: str
    median: str
    p95: str
    worst: str


class TierLine(NamedTuple):
    """A row of the tier table, in words."""

    tier: TierRecord
    name: str
    rto: str
    rpo: str
    budget: str

    @property
    def verdict(self) -> Verdict:
        """The worst that the row holds."""
        tier = self.tier
        if tier["failed"]:
            return "failed"
        if tier["not_verified"]:
            return "not_verified"
        return "known_broken" if tier["known_broken"] else "passed"


def tiers(record: EvidenceRecord) -> list[TierLine]:
    """The tier table, a line for each tier and mode, in the record's order."""
    applies: dict[tuple[str | None, str], tuple[bool, bool]] = {}
    for drill in record["drills"]:
        key = (drill["tier"], drill["mode"])
        rto, rpo = applies.get(key, (False, False))
        rto = rto or drill["rto"]["not_applicable"] is None
        applies[key] = rto, rpo or drill["rpo"]["not_applicable"] is None
    lines = []
    for tier in record["tiers"]:
        rto, rpo = applies.get((tier["tier"], tier["mode"]), (True, True))
        budget = tier["downtime_budget_s"]
        lines.append(
            TierLine(
                tier=tier,
                name=words.tier_name(tier["tier"]),
                rto=words.row_objective(tier["rto"], words.NOT_RECOVERED, waived=not rto),
                rpo=words.row_objective(tier["rpo"], words.UNBOUNDED, waived=not rpo),
                budget="-" if budget is None else format_seconds(budget),
            )
        )
    return lines


def cases(record: EvidenceRecord, verdict: Verdict) -> list[Case]:
    """The drills with a verdict, the worst first, runs of the same drill as one."""
    groups: dict[str, list[DrillRecord]] = {}
    for drill in record["drills"]:
        if drill["verdict"] == verdict:
            groups.setdefault(words.base_id(drill), []).append(drill)
    found = []
    for runs in groups.values():
        worst, *others = sorted(runs, key=_badness)
        numbers = sorted(other["repeat"]["index"] for other in others if other["repeat"])
        found.append(Case(worst, tuple(numbers)))
    return sorted(found, key=lambda case: _badness(case.drill)[0])


def _badness(drill: DrillRecord) -> tuple[int, float]:
    rto, rpo = drill["rto"], drill["rpo"]
    if words.not_recovered(rto) or rpo["unbounded"]:
        rank = 0
    elif rto["met"] is False or rpo["met"] is False:
        rank = 1
    else:
        rank = 2
    return rank, -max(rto["actual_s"] or 0, rpo["actual_s"] or 0)


def error_lines(drill: DrillRecord, limit: int) -> list[str]:
    """The first lines of a failed drill's error."""
    return first_lines(drill["error"] or "", limit, words.ERROR)


def timeline(drill: Measured, limit: int) -> list[tuple[str, str, str]]:
    """A drill's events as (time, event, detail); of a long timeline the beginning and the end."""
    items = drill["timeline"]
    left_out = len(items) - limit
    if left_out > 0:
        items = items[: limit // 2] + items[limit // 2 - limit :]
    events = [
        (
            format_seconds(event["at_s"]),
            visible(event["event"], words.NAME),
            visible(event["detail"], words.TEXT),
        )
        for event in items
    ]
    if left_out > 0:
        events.insert(limit // 2, ("…", words.count(left_out, "more event"), ""))
    return events


def said(record: EvidenceRecord) -> list[Said]:
    """What a reader must know beside the figures, one entry for all drills that say the same."""
    groups: dict[tuple[int, str, str], dict[str, None]] = {}
    for drill in record["drills"]:
        for order, topic, text in _said_by(drill):
            groups.setdefault((order, topic, text), {})[words.base_id(drill)] = None
    if uncollected := record["run"]["not_collected"]:
        text = "the drills in it, if any, could not be verified"
        groups[-1, "NOT COLLECTED", text] = dict.fromkeys(uncollected)
    return [
        Said(topic, text, tuple(visible(name, words.ID) for name in names))
        for (_, topic, text), names in sorted(groups.items(), key=lambda group: group[0][0])
    ]


def _said_by(drill: DrillRecord) -> Iterator[tuple[int, str, str]]:
    rto, rpo = drill["rto"], drill["rpo"]
    for finding in drill["findings"]:
        parts = [visible(finding["text"], words.TEXT)]
        if finding["owner"] is not None:
            parts.append(f"owner {visible(finding['owner'], words.NAME)}")
        if finding["due"] is not None:
            parts.append(f"due {visible(finding['due'], words.NAME)}")
        yield 0, "finding", "; ".join(parts)
    yield from ((7, "live", text) for text in words.live(drill["live"]))
    if drill["attempts"]:
        tries = [*(attempt["verdict"] for attempt in drill["attempts"]), drill["verdict"]]
        shown = words.bounded([words.VERDICTS[verdict] for verdict in tries], 10)
        yield 2, "rerun", ", then ".join(shown)
    if rto["not_applicable"] is not None:
        yield 3, f"RTO {words.NOT_APPLICABLE}", visible(rto["not_applicable"], words.TEXT)
    if rpo["not_applicable"] is not None:
        yield 4, f"RPO {words.NOT_APPLICABLE}", visible(rpo["not_applicable"], words.TEXT)
    if rto["assumed"]:
        yield 5, "assumed, counted in the RTO", words.assumed(rto)
    if rpo["lost"]:
        yield 1, "lost", words.lost(rpo)
    if rpo["basis"] == "staged":
        yield 6, "RPO of a staged backup", "the drill took it itself: no evidence for the schedule"


def repeats(record: EvidenceRecord) -> list[RepeatLine]:
    """The drills that ran several times, failed ones first; a line for each objective measured."""
    if not record["repeats"]:
        return []
    lines = []
    for row in sorted(record["repeats"], key=lambda row: _VERDICT_ORDER.index(row["verdict"])):
        for objective, spread, endless in (
            ("RTO", row["rto"], words.NOT_RECOVERED),
            ("RPO", row["rpo"], words.UNBOUNDED),
        ):
            runs = spread["measured"] + spread["unbounded"]
            if runs:
                median, p95, worst = words.spread(spread, endless)
                line = RepeatLine(
                    base=visible(row["base"], words.ID),
                    runs=row["runs"],
                    verdict=row["verdict"],
                    objective=objective,
                    median=median,
                    p95=p95,
                    worst=worst,
                )
                lines.append(line)
    return lines


_VERDICT_ORDER: list[Verdict] = ["failed", "not_verified", "known_broken", "passed"]


def availability(record: EvidenceRecord) -> list[tuple[str, list[str]]]:
    """The availability arithmetic: for each tier once, whatever its modes, a few sentences."""
    once: dict[str | None, TierRecord] = {}
    for tier in record["tiers"]:
        once.setdefault(tier["tier"], tier)
    pairs = [(words.tier_name(name), words.availability(tier)) for name, tier in once.items()]
    return [pair for pair in pairs if pair[1]]


def verdict(record: EvidenceRecord) -> Verdict | None:
    """The worst verdict of the run's drills; None when no drill ran.

    With files that could not be collected it is never better than not verified.
    """
    found = {drill["verdict"] for drill in record["drills"]}
    if record["run"]["not_collected"]:
        found.add("not_verified")
    return next((verdict for verdict in _VERDICT_ORDER if verdict in found), None)
