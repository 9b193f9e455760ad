"""How every rendering words one value: times, targets, verdicts, one drill's facts.

What is returned is visible text of a bounded length, not yet escaped for any format.
"""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_duration, format_seconds, parse_duration
from pytest_drdrill.evidence.assemble import P95_FROM
from pytest_drdrill.report.safe import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_drdrill.evidence.types import (
        DrillRecord,
        EvidenceRecord,
        LiveRecord,
        Measured,
        ObjectiveRow,
        OutageRecord,
        RPORecord,
        RTORecord,
        SpreadRecord,
        TierRecord,
        Verdict,
    )
    from pytest_drdrill.measure.records import StepRecord

NAME = 60
"""Characters shown of a name: a tier, a service, an owner, an event."""
ID = 160
"""Characters shown of a drill's id."""
TEXT = 240
"""Characters shown of a note, a reason, a detail."""
ERROR = 500
"""Characters shown of a line of an error: its end often says what to do."""

VERDICTS: dict[Verdict, str] = {
    "passed": "passed",
    "failed": "FAILED",
    "not_verified": "NOT VERIFIED",
    "known_broken": "known broken",
}
NO_TIER = "(no tier)"
NOT_RECOVERED = "not recovered"
UNBOUNDED = "unbounded"
NOT_MEASURED = "not measured"
NOT_APPLICABLE = "not applicable"
P95_LATER = f"from {P95_FROM} runs on"
_KEYS_SHOWN = 10
_EXACT_BELOW = 1e15
_LARGE = 1e5
_ROUNDED_BY = 0.03


@lru_cache(maxsize=256)
def target(seconds: float) -> str:
    """A promised time, exactly."""
    try:
        return format_duration(timedelta(seconds=seconds))
    except OverflowError:
        return format_seconds(seconds)


def actual(seconds: float, beside_s: float | None = None) -> str:
    """A measured time, rounded, but never so that it seems to be on the other side of a target."""
    shown = format_seconds(seconds)
    # Rounding moves a time by at most half an hour in a day, about 2 %.
    if beside_s is None or abs(seconds - beside_s) > seconds * _ROUNDED_BY:
        return shown
    try:
        rounded = parse_duration(shown).total_seconds()
    except ValueError:  # "<1us", or beyond what a timedelta holds
        return shown
    return shown if (rounded > beside_s) == (seconds > beside_s) else target(seconds)


def beside(actual_s: float | None, target_s: float | None, endless: str | None = None) -> str:
    """A measured time and its target: ``4.31s / 15m``, ``not recovered / 15m``, ``-``."""
    if endless is not None:
        shown = endless
    elif actual_s is not None:
        shown = actual(actual_s, target_s)
    else:
        shown = "-" if target_s is None else NOT_MEASURED
    return shown if target_s is None else f"{shown} / {target(target_s)}"


def mark(met: bool | None) -> str:
    """``met``, ``MISSED``, or nothing where nothing was judged."""
    return "" if met is None else "met" if met else "MISSED"


def joined(*parts: str) -> str:
    """The parts that hold something, with a space between."""
    return " ".join(part for part in parts if part)


def count(total: int, noun: str) -> str:
    """A number of things: ``1 drill``, ``3 drills``."""
    return f"{total:,} {noun}" if total == 1 else f"{total:,} {noun}s"


def number(value: float) -> str:
    """A figure: whole ones in full, others to six digits or a tenth: ``12,345,678``, ``0.25``."""
    if float(value).is_integer() and abs(value) < _EXACT_BELOW:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if _LARGE <= abs(value) < _EXACT_BELOW else f"{value:.6g}"


def bounded(items: Sequence[str], limit: int) -> list[str]:
    """The first items, and how many more there are."""
    if len(items) <= limit:
        return list(items)
    return [*items[:limit], f"… {len(items) - limit:,} more"]


def tier_name(tier: str | None) -> str:
    """A tier's name, or the words for none."""
    return NO_TIER if tier is None else visible(tier, NAME)


def row_objective(row: ObjectiveRow, endless: str, *, waived: bool) -> str:
    """The worst of a row's drills beside the target: ``17m2s / 15m MISSED``.

    A drill may promise less time than its tier, and an outage less than its drill. What broke such
    a promise is told beside the worst: ``1m / 15m, 12s / own 10s MISSED``.

    Args:
        row: the objective over the drills of the row.
        endless: the words for a time without an end.
        waived: every drill of the row said that the objective does not apply to it.
    """
    if waived and row["worst_s"] is None and not row["unbounded"]:
        return NOT_APPLICABLE
    worst_s, target_s = row["worst_s"], row["target_s"]
    text = beside(worst_s, target_s, endless if row["unbounded"] else None)
    if row["p95_s"] is not None:
        text += f" (p95 {actual(row['p95_s'], target_s)})"
    if row["met"] is not False:
        return text
    within = not row["unbounded"] and worst_s is not None and worst_s <= (target_s or worst_s)
    if row["missed_s"] is not None and row["missed_target_s"] is not None:
        own = f"own {target(row['missed_target_s'])}"
        missed = actual(row["missed_s"], row["missed_target_s"])
        if row["missed_s"] != worst_s:
            text += f", {missed} / {own}"
        elif target_s is None:
            text = f"{missed} / {own}"
        else:
            text += f", {own}"
    elif within and target_s != 0:  # no time is less than none, but writes were lost
        text += ", an own objective"
    return joined(text, mark(row["met"]))


def spread(runs: SpreadRecord, endless: str) -> tuple[str, str, str]:
    """Median, 95th percentile and worst of a drill's runs; ``endless`` for one without an end."""
    total = runs["measured"] + runs["unbounded"]
    median = endless if runs["median_s"] is None else format_seconds(runs["median_s"])
    if runs["p95_s"] is not None:
        p95 = format_seconds(runs["p95_s"])
    else:
        p95 = P95_LATER if total < P95_FROM else endless
    return median, p95, beside(runs["worst_s"], None, endless if runs["unbounded"] else None)


def not_recovered(rto: RTORecord) -> bool:
    """Whether an outage that counts for the drill's recovery time never ended."""
    return rto["actual_s"] is None and any(outage["actual_s"] is None for outage in rto["outages"])


def rto_beside(rto: RTORecord) -> str:
    """A drill's recovery time beside its target, ``-`` when there is neither."""
    if rto["not_applicable"] is not None and not rto["outages"]:
        return NOT_APPLICABLE
    endless = NOT_RECOVERED if not_recovered(rto) else None
    return beside(rto["actual_s"], rto["target_s"], endless)


def rpo_beside(rpo: RPORecord) -> str:
    """A drill's lost work beside its target, ``-`` when there is neither."""
    if rpo["not_applicable"] is not None and rpo["actual_s"] is None and not rpo["unbounded"]:
        return NOT_APPLICABLE
    return beside(rpo["actual_s"], rpo["target_s"], UNBOUNDED if rpo["unbounded"] else None)


def base_id(drill: DrillRecord) -> str:
    """A drill's id as its author wrote it, the same for all runs of ``--dr-repeat``."""
    repeat = drill["repeat"]
    return drill["nodeid"] if repeat is None else repeat["base"]


def place(drill: DrillRecord) -> str:
    """Where a drill belongs: ``orders, critical, simulated``."""
    service = [] if drill["service"] is None else [visible(drill["service"], NAME)]
    tier = [] if drill["tier"] is None else [tier_name(drill["tier"])]
    return ", ".join([*service, *tier, drill["mode"]])


def selection(record: EvidenceRecord) -> str:
    """What was selected: ``tier critical: 3 drills (12 other tests deselected)``."""
    chosen = record["run"]["selection"]
    filters = [
        f"{noun} {', '.join(bounded([visible(value, NAME) for value in values], _KEYS_SHOWN))}"
        for noun, values in (
            ("tier", chosen["tiers"]),
            ("kind", chosen["kinds"]),
            ("service", chosen["services"]),
        )
        if values
    ]
    selected = chosen["selected"]
    text = "; ".join(filters) + ": " if filters else ""
    text += count(selected, "drill") if selected else "no drill"
    if record["run"]["repeat"] > 1:
        text += f" with --dr-repeat={record['run']['repeat']}"
    left_out = chosen["deselected"]
    return f"{text} ({count(left_out, 'other test')} deselected)" if left_out else text


def availability(tier: TierRecord) -> list[str]:
    """The availability arithmetic of a tier, in sentences; none where nothing was promised."""
    goal, implied = tier["availability_target"], tier["expected_availability"]
    text = "" if goal is None else f"target {percent(goal)}"
    if implied is not None and tier["mtbf_s"] is not None and tier["mttr_s"] is not None:
        means = f"MTBF {target(tier['mtbf_s'])} and MTTR {target(tier['mttr_s'])}"
        text += f"{'; ' if text else ''}{means} imply {percent(implied, goal)}"
        if goal is not None:
            text += ": not reached" if implied < goal else ": reached"
    if goal is not None and tier["mttr_for_target_s"] is not None:
        text += f", it takes an MTTR of {format_seconds(tier['mttr_for_target_s'])}"
    sentences = [text] if text else []
    budget, exceeds = tier["downtime_budget_s"], tier["rto_exceeds_budget"]
    if budget is not None:
        rto_s = tier["rto"]["target_s"]
        text = f"downtime budget {actual(budget, rto_s)} in 30 days"
        if exceeds is not None:
            outage = "one outage at the RTO" + ("" if rto_s is None else f" of {target(rto_s)}")
            text += f": {outage} {'exceeds it' if exceeds else 'stays within it'}"
        sentences.append(text)
    return sentences


def percent(value: float, beside_value: float | None = None) -> str:
    """A percentage, with digits enough not to seem on the other side of the one beside it."""
    if beside_value is None:
        return f"{value:.10g}%"
    for digits in range(2, 10):
        shown = f"{value:.{digits}f}"
        if (float(shown) < beside_value) == (value < beside_value):
            break
    return f"{shown.rstrip('0').rstrip('.')}%"


def rto_line(rto: RTORecord) -> str:
    """All of a drill's recovery time in one line; empty when there is neither time nor target."""
    text = rto_beside(rto)
    if text == "-":
        return ""
    extra = []
    if rto["resolution_s"] is not None:
        extra.append(f"known to within {format_seconds(rto['resolution_s'])}")
    if rto["assumed"]:
        extra.append(f"assumed in it: {assumed(rto)}")
    return joined(text, mark(rto["met"]), f"({'; '.join(extra)})" if extra else "")


def assumed(rto: RTORecord) -> str:
    """The times that people would need, as the drill assumed them: ``decision 10m, notice 2m``."""
    parts = [
        f"{visible(part['what'], NAME)} {format_seconds(part['seconds'])}"
        for part in rto["assumed"]
    ]
    return ", ".join(bounded(parts, _KEYS_SHOWN))


def rpo_line(rpo: RPORecord) -> str:
    """All of a drill's lost work in one line; empty when there is neither time nor target."""
    text = rpo_beside(rpo)
    if text == "-":
        return ""
    extra = []
    if rpo["basis"] is not None:
        extra.append(BASES[rpo["basis"]])
    if rpo["acknowledged"]:
        extra.append(f"{count(rpo['acknowledged'], 'acknowledged write')}, {rpo['lost']:,} lost")
    if rpo["holes"]:
        extra.append(f"{count(rpo['holes'], 'hole')} among them")
    if rpo["indeterminate"]:
        extra.append(f"{rpo['indeterminate']:,} indeterminate")
    return joined(text, mark(rpo["met"]), f"({'; '.join(extra)})" if extra else "")


def live(record: LiveRecord | None) -> list[str]:
    """What a live drill broke, a line for each target; none where it is no live drill."""
    if record is None:
        return []
    limit, after = record["max_outage_s"], record["aborted_after_s"]
    text = "" if limit is None else f"; at most {target(limit)}"
    text += "" if after is None else f", ended after {format_seconds(after)}"
    lines = [
        f"{visible(each['address'], NAME)}: {visible(each['breaks'], TEXT)}; "
        f"undone by: {visible(each['undone_by'], TEXT)}{text}"
        for each in record["targets"]
    ]
    return bounded(lines, _KEYS_SHOWN)


def lost(rpo: RPORecord) -> str:
    """What a ledger shows as lost, in one phrase."""
    text = f"{rpo['lost']:,} of {count(rpo['acknowledged'], 'acknowledged write')}"
    if rpo["holes"]:
        text += f"; later writes survived {rpo['holes']:,} of them: corruption"
    return text


BASES = {
    "ledger": "from a write ledger",
    "backup": "from a backup's recovery point",
    "staged": "from a backup that the drill took itself: no evidence for the schedule",
    "schedule": "at the worst instant of a schedule of backups",
}
"""What a loss was measured from."""


def outage_line(outage: OutageRecord) -> str:
    """One outage of a drill: ``failback: 4.31s / 1m met, detected after 1.2s``."""
    name = visible(outage["name"], NAME) or "unnamed"
    endless = NOT_RECOVERED if outage["actual_s"] is None else None
    text = joined(beside(outage["actual_s"], outage["target_s"], endless), mark(outage["met"]))
    parts = [f"at {format_seconds(outage['at_s'])} {name}: {text}"]
    measured, limit = outage["actual_s"], outage["target_s"]
    if outage["met"] is False and measured is not None and limit is not None and measured <= limit:
        parts.append("with the time assumed")
    if outage["detected_s"] is not None:
        parts.append(f"detected after {format_seconds(outage['detected_s'])}")
    if outage["held_s"] is not None:
        parts.append(f"held for {format_seconds(outage['held_s'])}")
    if outage["down_seen"] is False and outage["expect_downtime"]:
        parts.append("never seen down")
    return ", ".join(parts)


def measures(drill: Measured) -> list[tuple[str, str]]:
    """What a drill measured, as labelled lines: RTO, RPO, its outages, what was lost."""
    rto, rpo = drill["rto"], drill["rpo"]
    facts = [("RTO", rto_line(rto)), ("RPO", rpo_line(rpo))]
    shown = [fact for fact in facts if fact[1]]
    outages = [outage_line(outage) for outage in rto["outages"]]
    if len(outages) > 1 or any(outage["name"] for outage in rto["outages"]):
        shown += [("outage", text) for text in bounded(outages, _KEYS_SHOWN)]
    if rpo["lost_keys"]:
        keys = [visible(key, NAME) for key in rpo["lost_keys"][:_KEYS_SHOWN]]
        if rpo["lost"] > len(keys):
            keys.append(f"… {rpo['lost'] - len(keys):,} more")
        shown.append(("lost", ", ".join(keys)))
    return shown


def remarks(drill: DrillRecord) -> list[tuple[str, str]]:
    """What else a drill put on record, as labelled lines: steps, figures, people, notes."""
    shown = [("step", text) for text in _bounded_lines(map(_step, drill["steps"]))]
    metrics = (
        f"{visible(metric['name'], NAME)} {number(metric['value'])} {visible(metric['unit'], NAME)}"
        for metric in drill["metrics"]
    )
    shown += [("metric", text) for text in _bounded_lines(metrics)]
    people = (
        f"{visible(who['name'], NAME)} ({visible(who['role'], NAME)})"
        for who in drill["participants"]
    )
    shown += [("took part", text) for text in _bounded_lines(people)]
    shown += [("note", text) for text in _bounded_lines(visible(n, TEXT) for n in drill["notes"])]
    if drill["runbook"] is not None:
        shown.append(("runbook", visible(drill["runbook"], TEXT)))
    return shown


def undone_steps(drill: DrillRecord) -> list[tuple[str, str]]:
    """The steps of a drill that failed or never ended, as labelled lines."""
    undone = (_step(step) for step in drill["steps"] if step["outcome"] != "done")
    return [("step", text) for text in _bounded_lines(undone)]


def _step(step: StepRecord) -> str:
    owner = "" if step["owner"] is None else f"({visible(step['owner'], NAME)})"
    took = "" if step["duration_s"] is None else f"after {format_seconds(step['duration_s'])}"
    return joined(visible(step["name"], NAME), owner, step["outcome"], took)


def _bounded_lines(lines: Iterable[str]) -> list[str]:
    return bounded(list(lines), 2 * _KEYS_SHOWN)
