"""The DR section of pytest's terminal summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.report import outline, words
from pytest_drdrill.report.safe import padded, width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_drdrill.evidence.types import DrillRecord, EvidenceRecord

Line = tuple[str, dict[str, bool]]
"""A line and the markup that pytest's terminal writer takes with it."""

_BAD = {"red": True, "bold": True}
_UNSURE = {"yellow": True, "bold": True}
_GOOD = {"green": True}
_HEAD = {"bold": True}
_MARKUP = {"failed": _BAD, "not_verified": _UNSURE, "known_broken": {"yellow": True}, "passed": {}}
_DRILLS_SHOWN = 50
_NAMES_SHOWN = 5
_EVENTS_SHOWN = 16
_EVENTS_SHOWN_VERBOSE = 200
_ERROR_LINES = 3
_SILENT = -2
_ERROR_LINES_VERBOSE = 20


def section_lines(record: EvidenceRecord, *, verbose: int = 0) -> list[Line]:
    """The DR section, worst first, below whatever title the caller gives it.

    Args:
        record: the evidence.
        verbose: as pytest counts it. At ``-qq``, timelines and the availability arithmetic are
            left out; from one on, timelines are whole and every drill is listed.

    Returns:
        Lines without line ends, each with its markup; none when no drill was there and none was
        asked for. No line holds a control character.
    """
    chosen = record["run"]["selection"]
    if not record["drills"] and not any((chosen["tiers"], chosen["kinds"], chosen["services"])):
        return []
    blocks = [
        _opening(record),
        _tier_table(record),
        _repeats(record),
        _failed(record, verbose),
        _named_reasons(record),
        _said(record, verbose),
        _passed(record) if verbose > 0 else [],
        _availability(record) if verbose > _SILENT else [],
    ]
    lines: list[Line] = []
    for block in blocks:
        if block and lines:
            lines.append(("", {}))
        lines += block
    return lines


def _opening(record: EvidenceRecord) -> list[Line]:
    lines: list[Line] = [(f"selected: {words.selection(record)}", {})]
    seed = record["run"]["seed"]
    if seed is not None:
        lines.append((f"seed: {seed} (--dr-seed={seed} replays what was simulated)", {}))
    return lines


def _tier_table(record: EvidenceRecord) -> list[Line]:
    if not record["tiers"]:
        return []
    broken = any(tier["known_broken"] for tier in record["tiers"])
    head = [
        ("", "tier", False),
        ("", "mode", False),
        ("", "drills", True),
        ("", "passed", True),
        ("", "failed", True),
        ("not", "verified", True),
        *([("known", "broken", True)] if broken else []),
        ("worst RTO", "/ target", False),
        ("worst RPO", "/ target", False),
        ("downtime", "budget / 30d", False),
    ]
    tiers = outline.tiers(record)
    rows = [_tier_cells(line, broken=broken) for line in tiers]
    table = _columns(
        [[top for top, _, _ in head], [bottom for _, bottom, _ in head], *rows],
        right=[is_number for _, _, is_number in head],
    )
    markup = [_HEAD, _HEAD, *(_MARKUP[line.verdict] or _GOOD for line in tiers)]
    return list(zip(table, markup, strict=True))


def _tier_cells(line: outline.TierLine, *, broken: bool) -> list[str]:
    return [
        line.name,
        line.tier["mode"],
        str(line.tier["drills"]),
        str(line.tier["passed"]),
        str(line.tier["failed"]),
        str(line.tier["not_verified"]),
        *([str(line.tier["known_broken"])] if broken else []),
        line.rto,
        line.rpo,
        line.budget,
    ]


def _repeats(record: EvidenceRecord) -> list[Line]:
    repeats = outline.repeats(record)
    if not repeats:
        return []
    rows = [["runs", "verdict", "", "median", "p95", "worst", "drill, the worst run decides"]]
    markup = [_HEAD]
    before = None
    for line in repeats[:_DRILLS_SHOWN]:
        first = line.base != before
        before = line.base
        rows.append(
            [
                f"{line.runs:,}" if first else "",
                words.VERDICTS[line.verdict] if first else "",
                line.objective,
                line.median,
                line.p95,
                line.worst,
                line.base if first else "",
            ]
        )
        markup.append(_MARKUP[line.verdict])
    table = _columns(rows, right=[True, False, False, True, True, True, False])
    return [*zip(table, markup, strict=True), *_more(len(repeats), _DRILLS_SHOWN, "line")]


def _failed(record: EvidenceRecord, verbose: int) -> list[Line]:
    failed = outline.cases(record, "failed")
    lines: list[Line] = []
    for case in failed[:_DRILLS_SHOWN]:
        lines.append((f"FAILED {case.name} ({case.place})", _BAD))
        facts = words.measures(case.drill) + words.undone_steps(case.drill)
        if verbose > 0:
            facts = words.measures(case.drill) + words.remarks(case.drill)
        lines += [(f"  {text}", {}) for text in _columns([list(fact) for fact in facts])]
        error_lines = _ERROR_LINES_VERBOSE if verbose > 0 else _ERROR_LINES
        lines += [
            (f"  {text}", {"red": True}) for text in outline.error_lines(case.drill, error_lines)
        ]
        if verbose > _SILENT:
            lines += _timeline(case.drill, verbose)
    return lines + _more(len(failed), _DRILLS_SHOWN, "failed drill")


def _timeline(drill: DrillRecord, verbose: int) -> list[Line]:
    events = outline.timeline(drill, _EVENTS_SHOWN_VERBOSE if verbose > 0 else _EVENTS_SHOWN)
    rows = _columns([list(event) for event in events], right=[True, False, False])
    return [(f"    {row}", {}) for row in rows]


def _named_reasons(record: EvidenceRecord) -> list[Line]:
    lines: list[Line] = []
    for verdict in ("not_verified", "known_broken"):
        found = outline.cases(record, verdict)
        for case in found[:_DRILLS_SHOWN]:
            title = f"{words.VERDICTS[verdict]} {case.name} ({case.place})"
            lines += [(title, _MARKUP[verdict]), (f"  {case.reason}", {})]
        lines += _more(len(found), _DRILLS_SHOWN, "such drill")
    return lines


def _said(record: EvidenceRecord, verbose: int) -> list[Line]:
    said = outline.said(record)
    lines: list[Line] = []
    for entry in said[:_DRILLS_SHOWN]:
        lines.append((f"{entry.topic}: {entry.text}", {}))
        names = words.bounded(entry.names, _DRILLS_SHOWN if verbose > 0 else _NAMES_SHOWN)
        lines += [(f"  {name}", {}) for name in names]
    return lines + _more(len(said), _DRILLS_SHOWN, "remark")


def _passed(record: EvidenceRecord) -> list[Line]:
    lines: list[Line] = []
    for drill in record["drills"]:
        if drill["verdict"] == "passed":
            name = outline.Case(drill, ()).name
            lines.append((f"passed {name} ({words.place(drill)})", _GOOD))
            facts = [list(fact) for fact in words.measures(drill) + words.remarks(drill)]
            lines += [(f"  {text}", {}) for text in _columns(facts)]
    return lines


def _availability(record: EvidenceRecord) -> list[Line]:
    lines: list[Line] = []
    for tier, sentences in outline.availability(record):
        lines.append((f"availability of {tier}", {}))
        lines += [(f"  {sentence}", {}) for sentence in sentences]
    return lines


def _more(total: int, shown: int, noun: str) -> list[Line]:
    if total <= shown:
        return []
    return [(f"… {words.count(total - shown, f'more {noun}')}, all in the evidence", {})]


def _columns(rows: Sequence[Sequence[str]], right: Sequence[bool] | None = None) -> list[str]:
    if not rows:
        return []
    aligned = right or [False] * len(rows[0])
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            padded(cell, columns, right=is_right)
            for cell, columns, is_right in zip(row, widths, aligned, strict=True)
        ).rstrip()
        for row in rows
    ]
