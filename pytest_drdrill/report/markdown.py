"""The record as GitHub-flavoured Markdown, for a CI job's summary."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.report import outline, words
from pytest_drdrill.report.safe import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_drdrill.evidence.types import DrillRecord, EvidenceRecord, Verdict

# A job summary holds 1 MiB and is refused whole when longer: beside the counts, each of the five
# lists that may grow is cut where it has taken its share.
_SHARE = 160_000
_CASES_SHOWN = 50
_DRILLS_SHOWN = 500
_NAMES_SHOWN = 10
_EVENTS_SHOWN = 30
_ERROR_LINES = 10

_SIGNS: dict[Verdict, str] = {
    "failed": "❌",
    "not_verified": "⚠️",
    "known_broken": "🟡",
    "passed": "✅",
}
# Entities mean the same everywhere in a table cell; a backslash before a pipe or a backslash does
# not. All texts stand behind words of our own, so marks that act at the start of a line are safe.
# A colon behind a scheme would make a bare address a link.
_ENTITIES = re.compile(r"[&<>|`\\]|(?<=\w):(?=//)")
_PUNCTUATION = re.compile(r"[*_~\[\]]")
_NO_CODE_SPAN = re.compile(r"[`|\\]|^ | $|^$")


def render(record: EvidenceRecord) -> str:
    """The whole record for a reader, the worst first.

    Returns:
        Markdown that ends with a line end. Whatever its texts hold, tables keep their columns,
        and nothing of them acts as Markdown or HTML.
    """
    worst = outline.verdict(record)
    title = f"{_SIGNS[worst]} {words.VERDICTS[worst]}" if worst else "no drill ran"
    blocks = [
        f"## Disaster-recovery drills: {title}",
        f"Selected: {_text(words.selection(record))}.",
        *_tiers(record),
        *_repeats(record),
        *_failed(record),
        *_reasons(record, "not_verified", "Not verified"),
        *_reasons(record, "known_broken", "Known broken"),
        *_said(record),
        *_availability(record),
        *_drills(record),
        *_coverage(record),
        *_run(record),
    ]
    return "\n\n".join(blocks) + "\n"


def _tiers(record: EvidenceRecord) -> list[str]:
    if not record["tiers"]:
        return []
    broken = any(tier["known_broken"] for tier in record["tiers"])
    head = ["Tier", "Mode", "Drills:", "Passed:", "Failed:", "Not verified:"]
    head += ["Known broken:"] if broken else []
    head += ["Worst RTO / target", "Worst RPO / target", "Downtime budget in 30 days:"]
    rows = []
    for line in outline.tiers(record):
        tier = line.tier
        numbers = [tier["drills"], tier["passed"], tier["failed"], tier["not_verified"]]
        numbers += [tier["known_broken"]] if broken else []
        rows.append(
            [
                f"{_SIGNS[line.verdict]} {_text(line.name)}",
                tier["mode"],
                *map(str, numbers),
                line.rto,
                line.rpo,
                line.budget,
            ]
        )
    return [_table(head, rows)]


def _repeats(record: EvidenceRecord) -> list[str]:
    lines = outline.repeats(record)
    if not lines:
        return []
    head = ["Drill", "Runs:", "Verdict", "Objective", "Median:", "p95:", "Worst:"]
    rows = [
        [
            _code(line.base),
            str(line.runs),
            words.VERDICTS[line.verdict],
            line.objective,
            line.median,
            line.p95,
            line.worst,
        ]
        for line in lines[:_DRILLS_SHOWN]
    ]
    rows, more = _kept(rows, len(lines))
    return ["### Repeated drills, the worst run decides", _table(head, rows), *more]


def _failed(record: EvidenceRecord) -> list[str]:
    failed = outline.cases(record, "failed")
    shown, more = _kept([[_failure(case)] for case in failed[:_CASES_SHOWN]], len(failed))
    return [*(["### Failed"] if failed else []), *(text for (text,) in shown), *more]


def _failure(case: outline.Case) -> str:
    drill = case.drill
    title = f"<code>{html.escape(case.name)}</code> ({html.escape(case.place)})"
    blocks = [f"<details open><summary>{title}</summary>"]
    facts = words.measures(drill) + words.remarks(drill)
    if facts:
        blocks.append("\n".join(f"- **{label}**: {_text(text)}" for label, text in facts))
    error = outline.error_lines(drill, _ERROR_LINES)
    if error:
        blocks.append(_fenced(error))
    events = outline.timeline(drill, _EVENTS_SHOWN)
    if events:
        head = ["At:", "Event", "Detail"]
        rows = [[at, _text(event), _text(detail)] for at, event, detail in events]
        blocks.append(_table(head, rows))
    return "\n\n".join([*blocks, "</details>"])


def _reasons(record: EvidenceRecord, verdict: Verdict, title: str) -> list[str]:
    found = outline.cases(record, verdict)
    if not found:
        return []
    lines = [
        f"- {_SIGNS[verdict]} **{words.VERDICTS[verdict]}** {_code(case.name)} "
        f"({_text(case.place)}): {_text(case.reason)}"
        for case in found[:_CASES_SHOWN]
    ]
    return [f"### {title}", "\n".join(lines), *_more(len(found) - len(lines))]


def _said(record: EvidenceRecord) -> list[str]:
    said = outline.said(record)
    if not said:
        return []
    lines = []
    for entry in said[:_CASES_SHOWN]:
        names = ", ".join(_code(name) for name in entry.names[:_NAMES_SHOWN])
        left_out = len(entry.names) - _NAMES_SHOWN
        names += f", … {left_out:,} more" if left_out > 0 else ""
        lines.append([f"- **{entry.topic}**: {_text(entry.text)} ({names})"])
    shown, more = _kept(lines, len(said))
    return ["### To know beside the figures", "\n".join(line for (line,) in shown), *more]


def _availability(record: EvidenceRecord) -> list[str]:
    lines = [
        f"- <b>{_text(tier)}</b>: {'; '.join(sentences)}"
        for tier, sentences in outline.availability(record)
    ]
    return ["### Availability", "\n".join(lines)] if lines else []


def _drills(record: EvidenceRecord) -> list[str]:
    drills = record["drills"]
    if not drills:
        return []
    head = ["Drill", "Verdict", "Service", "Tier", "Mode", "Disaster", "Kinds", "RTO", "RPO"]
    rows, more = _kept([_drill_cells(drill) for drill in drills[:_DRILLS_SHOWN]], len(drills))
    return [
        f"<details><summary>{words.count(len(drills), 'drill')} in full</summary>",
        _table(head, rows),
        *more,
        "</details>",
    ]


def _drill_cells(drill: DrillRecord) -> list[str]:
    named = (drill["service"], drill["tier"], drill["mode"], drill["disaster"])
    service, tier, mode, disaster = (
        "-" if name is None else _text(visible(name, words.NAME)) for name in named
    )
    return [
        _code(visible(drill["nodeid"], words.ID)),
        f"{_SIGNS[drill['verdict']]} {words.VERDICTS[drill['verdict']]}",
        service,
        tier,
        mode,
        disaster,
        ", ".join(_text(visible(kind, words.NAME)) for kind in drill["kinds"][:_NAMES_SHOWN]),
        _text(words.rto_line(drill["rto"]) or "-"),
        _text(words.rpo_line(drill["rpo"]) or "-"),
    ]


def _coverage(record: EvidenceRecord) -> list[str]:
    rows = [
        [
            "-" if row["service"] is None else _text(visible(row["service"], words.NAME)),
            "-" if row["disaster"] is None else _text(visible(row["disaster"], words.NAME)),
            row["mode"],
            *map(str, (row["drills"], row["passed"], row["failed"])),
            *map(str, (row["not_verified"], row["known_broken"])),
        ]
        for row in record["coverage"][:_DRILLS_SHOWN]
    ]
    if not rows:
        return []
    head = ["Service", "Disaster", "Mode", "Drills:", "Passed:", "Failed:", "Not verified:"]
    rows, more = _kept(rows, len(record["coverage"]))
    return [
        "<details><summary>What was drilled of each service</summary>",
        _table([*head, "Known broken:"], rows),
        *more,
        "</details>",
    ]


def _run(record: EvidenceRecord) -> list[str]:
    run = record["run"]
    parts = [
        f"Run {_code(visible(run['id'], words.NAME))}",
        f"{visible(run['started'], words.NAME)}, {format_seconds(run['duration_s'])} long",
    ]
    if run["seed"] is not None:
        parts.append(f"seed {run['seed']} (`--dr-seed={run['seed']}` replays what was simulated)")
    if run["git"] is not None:
        git = run["git"]
        dirty = " with uncommitted changes" if git["dirty"] else ""
        parts.append(f"commit {_code(visible(git['commit'], words.NAME))}{dirty}")
    if run["ci"] is not None:
        url = "" if run["ci"]["url"] is None else f" {_text(visible(run['ci']['url'], words.TEXT))}"
        parts.append(f"CI {_text(visible(run['ci']['provider'], words.NAME))}{url}")
    parts += [
        _text(f"{visible(name, words.NAME)} {visible(version, words.NAME)}")
        for name, version in [*run["versions"].items()][:_CASES_SHOWN]
    ]
    return ["; ".join(parts)]


def _text(text: str) -> str:
    """Visible text that acts as nothing in Markdown."""
    text = _ENTITIES.sub(lambda match: f"&#{ord(match.group())};", text)
    return _PUNCTUATION.sub(r"\\\g<0>", text)


def _code(text: str) -> str:
    """A code span that is whole in a table cell too."""
    if _NO_CODE_SPAN.search(text):
        return f"<code>{_text(text)}</code>"
    return f"`{text}`"


def _fenced(lines: Sequence[str]) -> str:
    longest = max(map(len, re.findall("`+", "\n".join(lines))), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}text", *lines, fence])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of escaped cells; a column whose title ends in a colon is aligned to the right."""
    rule = ["---:" if title.endswith(":") else "---" for title in head]
    lines = [[title.rstrip(":") for title in head], rule, *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _kept(rows: Sequence[list[str]], total: int) -> tuple[list[list[str]], list[str]]:
    """The first rows that keep within a list's share of the page, and the words for the rest."""
    kept: list[list[str]] = []
    left = _SHARE
    for row in rows:
        left -= sum(len(cell.encode()) for cell in row)
        if left < 0:
            break
        kept.append(row)
    return kept, _more(total - len(kept))


def _more(left_out: int) -> list[str]:
    return [f"… {left_out:,} more, all in the evidence."] if left_out > 0 else []
