from __future__ import annotations

import sample_records as samples

from pytest_drdrill.report.markdown import render


def test_the_title_is_the_worst_verdict() -> None:
    assert render(samples.all_green()).startswith("## Disaster-recovery drills: ✅ passed\n")
    assert render(samples.breach()).startswith("## Disaster-recovery drills: ❌ FAILED\n")
    assert "⚠️ NOT VERIFIED\n" in render(samples.not_verified())[:60]
    assert "🟡 known broken\n" in render(samples.known_broken())[:60]
    assert render(samples.nothing()).startswith("## Disaster-recovery drills: no drill ran\n")


def test_the_tier_table() -> None:
    assert (
        "\n| ❌ critical | simulated | 2 | 1 | 1 | 0 | 17m2s / 15m MISSED | 0s / 5m | 4m19s |\n"
        in (render(samples.breach()))
    )
    assert "Known broken" not in render(samples.breach())
    assert "| Known broken |" in render(samples.known_broken())


def test_a_failed_drill_has_its_measures_error_and_timeline() -> None:
    text = render(samples.breach())
    title = "<details open><summary><code>tests/dr/test_orders.py::test_failover</code>"
    block = text[text.index(title) : text.index("</details>")]
    assert "- **RTO**: 17m2s / 15m MISSED\n" in block
    assert "```text\nRTOExceeded: the outage took 17m2s" in block
    assert "\n| 1.7s | detected |  |\n" in block


def test_the_same_is_told_as_on_the_terminal() -> None:
    text = render(samples.rich())
    for told in (
        "Selected: tier critical; kind failover; service orders: 4 drills",
        "**NOT VERIFIED** `tests/dr/test_live.py::test_promote`",
        "precondition did not hold: sync standby attached",
        "**known broken** `tests/dr/test_orders.py::test_restore`",
        "**RPO not applicable**: it holds no data (`tests/dr/test_rich.py::test_waived`)",
        "**assumed, counted in the RTO**: decision 10m",
        "**finding**: the runbook names the wrong host; owner dba; due 2026-04-01",
        "imply 99.86%: not reached, it takes an MTTR of 4m19s",
        "| 25 | FAILED | RTO | 13m20s | 16m40s | 17m2s |",
        "`--dr-seed=42`",
        "9fceb02d0ae598e95dc970b74767f19372d61af8",
        "| orders | security | local | 4 | 1 | 1 | 1 | 1 |",
    ):
        assert told in text, told


def test_p95_waits_for_20_runs() -> None:
    assert "| 16m40s | from 20 runs on | 18m20s |" in render(samples.repeats())


def test_every_drill_is_listed() -> None:
    text = render(samples.live_and_local())
    assert "2 drills in full" in text
    assert "| `tests/dr/test_pg.py::test_live` | ✅ passed | orders | critical | live |" in text
    assert "- **live**: db.staging:5432: kills the primary; undone by: systemd restarts it" in text


def test_an_id_is_readable_where_it_can_be() -> None:
    drill = samples.drill("tests/test_a.py::test_b[eu-west_1]", service="a_b|c")
    text = render(samples.record([drill]))
    assert "| `tests/test_a.py::test_b[eu-west_1]` |" in text
    assert "| a\\_b&#124;c |" in text
    odd = render(samples.record([samples.drill("test_b[a|`b`]")]))
    assert "| <code>test\\_b\\[a&#124;&#96;b&#96;\\]</code> |" in odd


def test_a_fence_is_longer_than_those_in_the_error() -> None:
    drill = samples.drill(verdict="failed", error="E\n````\n| a |\n")
    text = render(samples.record([drill]))
    assert "`````text\nE\n````\n| a |\n`````" in text
