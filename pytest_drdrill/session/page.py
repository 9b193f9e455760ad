"""Our columns and table on pytest-html's page."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from pytest_drdrill.report.html import header_cells, hide_columns_html, row_cells, summary_html
from pytest_drdrill.session.runner import REPORT_KEY
from pytest_drdrill.session.start import COLLECTOR

if TYPE_CHECKING:
    import pytest

_AFTER = 2
"""Our columns stand behind pytest-html's Result and Test."""


def add_header(cells: list[str]) -> None:
    """The headings; always, since pytest-html asks before it is known whether there are drills."""
    cells[_AFTER:_AFTER] = header_cells()


def add_row(report: Any, cells: list[str]) -> None:
    """The cells of one result, empty for an ordinary test."""
    if not cells:
        return  # another plugin has dropped the row
    found = getattr(report, REPORT_KEY, None)
    if found is not None and len(cells) > 1:
        # pytest-html puts the id in as it is, and the page takes it for markup.
        cells[1] = cells[1].replace(report.nodeid, escape(report.nodeid))
    cells[_AFTER:_AFTER] = row_cells(found)


def add_summary(prefix: list[str], config: pytest.Config) -> None:
    """The tier table, or, without a drill, nothing at all: then the columns are hidden too."""
    collector = config.stash.get(COLLECTOR, None)
    record = collector.record if collector else None
    if record is None or not record["drills"]:
        prefix.append(hide_columns_html())
    else:
        prefix.append(summary_html(record))
