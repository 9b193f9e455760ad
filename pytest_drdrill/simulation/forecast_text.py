"""What ``what_if`` found, for a reader: plain text, or Markdown."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_duration, format_seconds
from pytest_drdrill.failover.presets.base import FAULTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_drdrill.simulation.forecast import WhatIf, WhatIfRow

_WIDTH = 100
_HEAD = ("fault", "milestone", "predicted", "simulated: min", "median", "max")


def as_text(found: WhatIf) -> str:
    """The table, what its words mean, the formula and its source."""
    lines = [_title(found), ""]
    table = [_HEAD, *map(_cells, found.rows)]
    widths = [max(len(row[place]) for row in table) for place in range(len(_HEAD))]
    lines += [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    lines.append("")
    for label, text in _notes(found):
        lines += textwrap.wrap(
            f"{label}: {text}", _WIDTH, subsequent_indent="  ", break_on_hyphens=False
        )
    return "\n".join(lines)


def as_markdown(found: WhatIf) -> str:
    """The same in Markdown."""
    lines = [f"**{_escaped(_title(found))}**", "", _row(_HEAD), _row(["---"] * len(_HEAD))]
    lines += [_row(_cells(each)) for each in found.rows]
    for label, text in _notes(found):
        lines += ["", f"{label}: {_escaped(text)}"]
    return "\n".join([*lines, ""])


def _title(found: WhatIf) -> str:
    return (
        f"{found.preset.tool}: {found.preset.settings_text} "
        f"({found.samples} disasters each, seed {found.seed})"
    )


def _cells(row: WhatIfRow) -> tuple[str, ...]:
    if row.predicted is None or row.simulated is None:
        return (row.fault, "never noticed", "-", "-", "-", "-")
    predicted = " … ".join(map(format_duration, row.predicted))
    simulated = (format_seconds(each.total_seconds()) for each in row.simulated)
    return (row.fault, row.milestone, predicted, *simulated)


def _notes(found: WhatIf) -> list[tuple[str, str]]:
    preset = found.preset
    faults = dict.fromkeys(each.fault for each in found.rows)
    return [
        ("traffic goes elsewhere with", f"{preset.failover}; times count from the disaster"),
        *((fault, FAULTS[fault]) for fault in faults),
        ("formula", preset.formula),
        ("source", preset.source),
    ]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    return text.replace("_", "\\_").replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")
