from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import sample_records as samples
from pytest_html.basereport import BaseReport
from render_checks import html_structure

from pytest_drdrill.report import html

TYPES = ["drtier", "drrto", "drrpo"]


def hydrated(drill: dict[str, Any] | None) -> dict[str, str]:
    """What pytest-html's page sorts a row by: read out of the cells by its own code."""
    heads = html.header_cells()
    data: dict[str, str] = {}
    report = SimpleNamespace(_report=SimpleNamespace(table_header=heads))
    BaseReport._hydrate_data(report, data, html.row_cells(drill))
    return data


def test_the_columns_are_sortable_by_pytest_html() -> None:
    heads = html.header_cells()
    assert [re.search(r'data-column-type="(\w+)"', head).group(1) for head in heads] == TYPES
    assert all(re.match(r'<th class="sortable [^"]*"', head) for head in heads)
    assert [re.sub("<.*?>", "", head) for head in heads] == ["Tier", "RTO", "RPO"]
    assert list(hydrated(samples.drill())) == TYPES
    assert list(hydrated(None)) == TYPES


def test_times_sort_as_numbers() -> None:
    open_outage = samples.outage(None)
    in_order = [
        None,
        samples.drill(rto=samples.rto(None)),
        samples.drill(rto=samples.rto(0.0)),
        samples.drill(rto=samples.rto(0.0004)),
        samples.drill(rto=samples.rto(9.0)),
        samples.drill(rto=samples.rto(10.0)),
        samples.drill(rto=samples.rto(86_400_000.0)),
        samples.drill(rto=samples.rto(1e300)),
        samples.drill(rto=samples.rto(None, outages=[open_outage], met=False)),
    ]
    keys = [hydrated(drill)["drrto"][:45] for drill in in_order]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys) - 1  # the first two have no value
    unbounded = samples.unbounded_loss()["drills"][0]
    assert hydrated(unbounded)["drrpo"] > hydrated(samples.drill(rpo=samples.rpo(1e9)))["drrpo"]
    no_data = samples.not_applicable()["drills"][0]
    assert hydrated(no_data)["drrpo"] < hydrated(samples.drill())["drrpo"]


def visible_text(cell: str) -> str:
    return re.sub("<.*?>", "", re.sub("<span hidden>.*?</span>", "", cell))


def cells(drill: dict[str, Any] | None) -> list[str]:
    return [visible_text(cell) for cell in html.row_cells(drill)]


def test_cells_show_actual_target_and_whether_it_was_met() -> None:
    assert cells(samples.drill()) == ["critical", "4.31s / 15m met", "0s / 5m met"]
    slow = samples.breach()["drills"][1]
    assert cells(slow) == ["critical", "17m2s / 15m MISSED", "0s / 5m met"]
    assert "color:#b3261e" in html.row_cells(slow)[1]
    assert "color:#1b6e2e" in html.row_cells(slow)[2]
    gone = samples.never_recovered()["drills"][0]
    assert cells(gone)[1] == "not recovered / 15m MISSED"
    lost = samples.unbounded_loss()["drills"][0]
    assert cells(lost)[2] == "unbounded / 5m MISSED"
    assert cells(samples.without_tier()["drills"][0]) == ["-", "4.31s", "-"]


def test_a_cell_that_does_not_apply_tells_why_on_hovering() -> None:
    waived = samples.not_applicable()["drills"][0]
    assert cells(waived)[2] == "not applicable"
    assert 'title="the web tier holds no data"' in html.row_cells(waived)[2]


def test_an_ordinary_test_has_empty_cells_and_a_half_known_drill_what_it_has() -> None:
    assert cells(None) == ["", "", ""]
    assert cells({}) == ["-", "-", "-"]
    assert cells({"tier": "critical", "rto": samples.rto(None)}) == [
        "critical",
        "not measured / 15m",
        "-",
    ]


def test_cells_escape_and_stay_on_one_line() -> None:
    drill = samples.drill(tier="<b>\n</td>", rpo=samples.rpo(None, not_applicable='"><script>\n'))
    row = html.row_cells(drill)
    assert "&lt;b&gt;\\n&lt;/td&gt;" in row[0]
    assert "\n" not in "".join(row)
    assert "<script>" not in "".join(row)


def test_the_columns_can_be_hidden() -> None:
    css_class = re.search(r"\.([\w-]+)\{display:none\}", html.hide_columns_html()).group(1)
    for cell in [*html.header_cells(), *html.row_cells(None), *html.row_cells(samples.drill())]:
        assert css_class in re.search('class="(.*?)"', cell).group(1).split()


def test_the_summary_needs_nothing_from_elsewhere() -> None:
    page = html.summary_html(samples.rich())
    tags = {entry[0] for entry in html_structure(page) if isinstance(entry, tuple)}
    assert not tags & {"script", "link", "img", "iframe"}
    assert not re.search(r"url\(|@import|https?:", page.split("</style>")[0])
    rules = page.split("</style>")[0].removeprefix("<style>").strip().split("\n")
    assert all(rule.startswith(".dr-report") for rule in rules)


def test_the_summary_of_a_run_without_drills_is_empty() -> None:
    assert html.summary_html(samples.nothing()) == ""


def test_the_summary_tells_the_same_as_the_terminal() -> None:
    text = re.sub("<.*?>", "", html.summary_html(samples.rich()))
    for told in (
        "Selected: tier critical; kind failover; service orders: 4 drills",
        "17m2s / 15m MISSED",
        "NOT VERIFIED tests/dr/test_live.py::test_promote",
        "precondition did not hold: sync standby attached",
        "known broken tests/dr/test_orders.py::test_restore",
        "RPO not applicable: it holds no data",
        "assumed, counted in the RTO: decision 10m",
        "finding: the runbook names the wrong host; owner dba; due 2026-04-01",
        "imply 99.86%: not reached, it takes an MTTR of 4m19s",
        "RTOExceeded: too slow",
        "live: db.staging:5432: kills the primary; undone by: systemd restarts it",
        "files encrypted",
        "--dr-seed=42",
    ):
        assert told in text, told


def test_failed_drills_fold_and_the_first_ones_are_open() -> None:
    failed = [samples.drill(f"test_{n}", verdict="failed", error="no") for n in range(5)]
    page = html.summary_html(samples.record(failed))
    assert page.count("<details open>") == 3
    assert page.count("<details>") == 2


@pytest.mark.parametrize("name", ["never_recovered", "unbounded_loss"])
def test_what_has_no_end_is_red(name: str) -> None:
    page = html.summary_html(samples.SAMPLES[name]())
    assert re.search(
        r'<span class="dr-failed">(not recovered|unbounded) / \d+m MISSED</span>', page
    )
