"""The DR summary and the columns of a pytest-html report.

pytest-html puts all of it into its page as it is, so every text is escaped here. Styles are bound
to one class; nothing is loaded and no script runs.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, cast

from pytest_drdrill.report import outline, words
from pytest_drdrill.report.safe import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_drdrill.evidence.types import (
        EvidenceRecord,
        RPORecord,
        RTORecord,
        Verdict,
    )

_CASES_SHOWN = 200
_OPEN = 3
_NAMES_SHOWN = 10
_EVENTS_SHOWN = 200
_ERROR_LINES = 20

# Colours with a contrast of at least 4.5 to 1 on the page's white and on the table's grey.
_COLOURS: dict[Verdict, str] = {
    "failed": "#b3261e",
    "not_verified": "#8a5300",
    "known_broken": "#8a5300",
    "passed": "#1b6e2e",
}
_PLAIN = "#444"

_STYLE = """<style>
.dr-report{color:#222;margin:8px 0 16px;max-width:1200px;overflow-wrap:anywhere}
.dr-report h2{margin:12px 0 4px}
.dr-report h3{font-size:13px;color:#000;margin:14px 0 4px}
.dr-report p,.dr-report ul{margin:4px 0}
.dr-report ul{padding-left:20px}
.dr-report table{border-collapse:collapse;margin:6px 0}
.dr-report th,.dr-report td{border:1px solid #d0d0d0;padding:4px 8px;text-align:left;\
vertical-align:top}
.dr-report th{background:#f2f2f2;color:#222;overflow-wrap:normal}
.dr-report td{min-width:6.5em}
.dr-report .dr-number{min-width:0;text-align:right;font-variant-numeric:tabular-nums}
.dr-report td.dr-number{white-space:nowrap}
.dr-report details{margin:4px 0;border-left:3px solid #b3261e;padding:2px 0 2px 8px}
.dr-report summary{cursor:pointer}
.dr-report code,.dr-report pre{font-family:Menlo,Consolas,monospace;font-size:12px}
.dr-report pre{background:#f6f6f6;padding:6px;margin:6px 0;white-space:pre-wrap}
.dr-report .dr-failed{color:#b3261e;font-weight:bold}
.dr-report .dr-not_verified,.dr-report .dr-known_broken{color:#8a5300;font-weight:bold}
.dr-report .dr-passed{color:#1b6e2e;font-weight:bold}
</style>"""


def summary_html(record: EvidenceRecord) -> str:
    """The summary for the head of the page: the tier table, then drills and remarks, worst first.

    Returns:
        One element and its style; empty when no drill was there.
    """
    if not record["drills"]:
        return ""
    blocks = [
        '<div class="dr-report">',
        "<h2>Disaster-recovery drills</h2>",
        f"<p>Selected: {escape(words.selection(record))}.{_seed(record)}</p>",
        _tiers(record),
        _repeats(record),
        _failed(record),
        _reasons(record, "not_verified", "Not verified"),
        _reasons(record, "known_broken", "Known broken"),
        _said(record),
        _availability(record),
        "</div>",
    ]
    return "\n".join([_STYLE, *(block for block in blocks if block)])


def _seed(record: EvidenceRecord) -> str:
    seed = record["run"]["seed"]
    if seed is None:
        return ""
    return f" Seed {seed} (<code>--dr-seed={seed}</code> replays what was simulated)."


def _tiers(record: EvidenceRecord) -> str:
    broken = any(tier["known_broken"] for tier in record["tiers"])
    head = ["Tier", "Mode", "#Drills", "#Passed", "#Failed", "#Not verified"]
    head += ["#Known broken"] if broken else []
    head += ["Worst RTO / target", "Worst RPO / target", "#Downtime budget in 30 days"]
    rows = []
    for line in outline.tiers(record):
        tier = line.tier
        numbers = [
            str(tier["drills"]),
            str(tier["passed"]),
            _coloured(str(tier["failed"]), "failed" if tier["failed"] else None),
            _coloured(str(tier["not_verified"]), "not_verified" if tier["not_verified"] else None),
        ]
        numbers += [str(tier["known_broken"])] if broken else []
        rows.append(
            [
                _coloured(escape(line.name), line.verdict),
                tier["mode"],
                *numbers,
                _coloured(line.rto, _judged(tier["rto"]["met"])),
                _coloured(line.rpo, _judged(tier["rpo"]["met"])),
                line.budget,
            ]
        )
    return _table(head, rows)


def _repeats(record: EvidenceRecord) -> str:
    lines = outline.repeats(record)
    head = ["Repeated drill, the worst run decides", "#Runs", "Verdict", "Objective"]
    rows = [
        [
            f"<code>{escape(line.base)}</code>",
            str(line.runs),
            _coloured(words.VERDICTS[line.verdict], line.verdict),
            line.objective,
            line.median,
            line.p95,
            line.worst,
        ]
        for line in lines[:_CASES_SHOWN]
    ]
    return _table([*head, "#Median", "#p95", "#Worst"], rows) + _more(len(lines)) if lines else ""


def _failed(record: EvidenceRecord) -> str:
    failed = outline.cases(record, "failed")
    if not failed:
        return ""
    blocks = ["<h3>Failed</h3>"]
    for number, case in enumerate(failed[:_CASES_SHOWN]):
        drill = case.drill
        blocks.append(f"<details{' open' if number < _OPEN else ''}><summary>{_named(case)}")
        blocks.append("</summary>")
        facts = words.measures(drill) + words.remarks(drill)
        if facts:
            items = (f"<li><b>{label}</b>: {escape(text)}</li>" for label, text in facts)
            blocks.append(f"<ul>{''.join(items)}</ul>")
        error = "\n".join(outline.error_lines(drill, _ERROR_LINES))
        if error:
            blocks.append(f"<pre>{escape(error)}</pre>")
        events = outline.timeline(drill, _EVENTS_SHOWN)
        if events:
            rows = [[at, escape(event), escape(detail)] for at, event, detail in events]
            blocks.append(_table(["#At", "Event", "Detail"], rows))
        blocks.append("</details>")
    return "\n".join(blocks) + _more(len(failed))


def _reasons(record: EvidenceRecord, verdict: Verdict, title: str) -> str:
    found = outline.cases(record, verdict)
    if not found:
        return ""
    items = (f"<li>{_named(case)}: {escape(case.reason)}</li>" for case in found[:_CASES_SHOWN])
    return f"<h3>{title}</h3>\n<ul>{''.join(items)}</ul>" + _more(len(found))


def _named(case: outline.Case) -> str:
    verdict = case.drill["verdict"]
    title = _coloured(words.VERDICTS[verdict], verdict)
    return f"{title} <code>{escape(case.name)}</code> ({escape(case.place)})"


def _said(record: EvidenceRecord) -> str:
    said = outline.said(record)
    if not said:
        return ""
    items = []
    for entry in said[:_CASES_SHOWN]:
        names = ", ".join(f"<code>{escape(name)}</code>" for name in entry.names[:_NAMES_SHOWN])
        left_out = len(entry.names) - _NAMES_SHOWN
        names += f", … {left_out:,} more" if left_out > 0 else ""
        items.append(f"<li><b>{entry.topic}</b>: {escape(entry.text)} ({names})</li>")
    return f"<h3>To know beside the figures</h3>\n<ul>{''.join(items)}</ul>" + _more(len(said))


def _availability(record: EvidenceRecord) -> str:
    items = [
        f"<li><b>{escape(tier)}</b>: {escape('; '.join(sentences))}</li>"
        for tier, sentences in outline.availability(record)
    ]
    return f"<h3>Availability</h3>\n<ul>{''.join(items)}</ul>" if items else ""


def _coloured(inner: str, verdict: Verdict | None) -> str:
    return inner if verdict is None else f'<span class="dr-{verdict}">{inner}</span>'


def _judged(met: bool | None) -> Verdict | None:
    return None if met is None else "passed" if met else "failed"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of escaped cells; a column whose title begins with ``#`` holds numbers."""
    attributes = [' class="dr-number"' if title.startswith("#") else "" for title in head]
    titles = "".join(
        f"<th{attribute}>{title.lstrip('#')}</th>"
        for title, attribute in zip(head, attributes, strict=True)
    )
    body = "\n".join(
        "<tr>"
        + "".join(
            f"<td{attribute}>{cell}</td>" for cell, attribute in zip(row, attributes, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{titles}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def _more(total: int) -> str:
    left_out = total - _CASES_SHOWN
    return f"\n<p>… {left_out:,} more, all in the evidence.</p>" if left_out > 0 else ""


_COLUMNS = {"drtier": "Tier", "drrto": "RTO", "drrpo": "RPO"}
_SORT_DIGITS = 20
_SORT_LONGEST = "9" * _SORT_DIGITS
_SORT_NONE = "0" * _SORT_DIGITS


def header_cells() -> list[str]:
    """The heads of the columns Tier, RTO and RPO, for pytest-html's table of results."""
    return [
        # pytest-html files a cell's value under the first "col-…" that it finds in the cell, and
        # looks it up under the column type: so the column's own class stands first.
        f'<th class="sortable col-{key} col-dr" data-column-type="{key}">{title}</th>'
        for key, title in _COLUMNS.items()
    ]


def row_cells(drill: Mapping[str, object] | None) -> list[str]:
    """The cells of one result below ``header_cells()``.

    pytest-html sorts by the cells' text, so each begins with a hidden number of fixed length: what
    never ended is the longest, what has no value comes first.

    Args:
        drill: the drill's record, or as much of it as there is yet; None for an ordinary test.
    """
    if drill is None:
        return [_cell(key, _SORT_NONE, "", _PLAIN) for key in _COLUMNS]
    tier = cast("str | None", drill.get("tier"))
    rto = cast("RTORecord | None", drill.get("rto"))
    rpo = cast("RPORecord | None", drill.get("rpo"))
    return [
        _cell("drtier", _SORT_NONE, "-", _PLAIN)
        if tier is None
        else _cell("drtier", "1", visible(tier, words.NAME), _PLAIN),
        _cell("drrto", _SORT_NONE, "-", _PLAIN) if rto is None else _rto_cell(rto),
        _cell("drrpo", _SORT_NONE, "-", _PLAIN) if rpo is None else _rpo_cell(rpo),
    ]


def _rto_cell(rto: RTORecord) -> str:
    key = _sort_key(rto["actual_s"], endless=words.not_recovered(rto))
    text = words.joined(words.rto_beside(rto), words.mark(rto["met"]))
    return _cell("drrto", key, text, _colour(rto["met"]), rto["not_applicable"])


def _rpo_cell(rpo: RPORecord) -> str:
    key = _sort_key(rpo["actual_s"], endless=rpo["unbounded"])
    text = words.joined(words.rpo_beside(rpo), words.mark(rpo["met"]))
    return _cell("drrpo", key, text, _colour(rpo["met"]), rpo["not_applicable"])


def _sort_key(seconds: float | None, *, endless: bool) -> str:
    if endless:
        return _SORT_LONGEST
    if seconds is None:
        return _SORT_NONE
    # One more than the microseconds: a time of zero is a time, and sorts behind no value.
    microseconds = min(round(seconds * 1e6) + 1, int(_SORT_LONGEST) - 1)
    return f"{microseconds:0{_SORT_DIGITS}d}"


def _colour(met: bool | None) -> str:
    judged = _judged(met)
    return _PLAIN if judged is None else _COLOURS[judged]


def _cell(key: str, sort: str, text: str, colour: str, title: str | None = None) -> str:
    # On one line, and clicks pass to the cell itself: pytest-html needs both. The colours are in
    # the cell because a page that is written while tests still run has no summary.
    hint = "" if title is None else f' title="{escape(visible(title, words.TEXT))}"'
    return (
        f'<td class="col-{key} col-dr"{hint}><span hidden>{sort}</span>'
        f'<span style="color:{colour};pointer-events:none">{escape(text)}</span></td>'
    )


def hide_columns_html() -> str:
    """A style that hides the three columns, for a page without any drill."""
    return "<style>.col-dr{display:none}</style>"
