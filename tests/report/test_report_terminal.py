from __future__ import annotations

from typing import Any, get_args

import pytest
import sample_records as samples

from pytest_drdrill.measure.records import Basis
from pytest_drdrill.report import outline, words
from pytest_drdrill.report.terminal import section_lines


def text_of(record: dict[str, Any], verbose: int = 0) -> str:
    return "\n".join(line for line, _ in section_lines(record, verbose=verbose))


def markup_of(record: dict[str, Any], start: str) -> dict[str, bool]:
    return next(markup for line, markup in section_lines(record) if line.startswith(start))


def row_of(record: dict[str, Any], start: str) -> list[str]:
    line = next(line for line, _ in section_lines(record) if line.startswith(start))
    return line.split()


def test_the_selection_line_comes_first() -> None:
    lines = section_lines(samples.all_green())
    assert lines[0][0] == "selected: tier critical: 1 drill (12 other tests deselected)"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tiers": [], "deselected": 0, "selected": 3}, "selected: 3 drills"),
        ({"tiers": [], "deselected": 1, "selected": 3}, "3 drills (1 other test deselected)"),
        (
            {"tiers": ["a", "b"], "kinds": ["rto"], "services": ["s"]},
            "tier a, b; kind rto; service s:",
        ),
        ({"selected": 0}, "selected: tier critical: no drill (12 other tests deselected)"),
    ],
)
def test_the_selection_line_says_what_was_asked_for(changes: dict, expected: str) -> None:
    record = samples.record(run=samples.run(selection=samples.selection(**changes)))
    assert expected in section_lines(record)[0][0]


def test_no_drill_and_nothing_asked_for_is_silence() -> None:
    assert section_lines(samples.nothing()) == []


def test_no_drill_found_is_said() -> None:
    assert text_of(samples.nothing_selected()).startswith("selected: tier critical: no drill")


def test_the_seed_is_shown_with_the_way_to_replay() -> None:
    assert "--dr-seed=42" in text_of(samples.all_green())
    unseeded = samples.record(run=samples.run(seed=None))
    assert "seed" not in text_of(unseeded)


def test_a_tier_row_holds_counts_worst_times_targets_and_budget() -> None:
    assert row_of(samples.all_green(), "critical") == (
        ["critical", "simulated", "1", "1", "0", "0", "4.31s", "/", "15m", "0s", "/", "5m", "4m19s"]
    )
    assert markup_of(samples.all_green(), "critical") == {"green": True}


def test_the_columns_are_aligned_and_narrow() -> None:
    lines = [line for line, _ in section_lines(samples.breach())]
    top, head, row = lines[3:6]
    for word, cell in (("worst RTO", "17m2s"), ("worst RPO", "0s / 5m"), ("downtime", "4m19s")):
        assert top.index(word) == row.index(cell)
    assert head.index("mode") == row.index("simulated")
    assert head.index("drills") + len("drills") == row.index(" 2 ") + 2
    assert max(map(len, lines)) <= 100


def test_known_broken_has_a_column_only_when_there_is_one() -> None:
    assert "broken" in text_of(samples.known_broken()).split("\n")[4]
    assert "broken" not in text_of(samples.all_green())


def test_a_breach_is_marked_without_relying_on_colour() -> None:
    record = samples.breach()
    assert "17m2s / 15m MISSED" in " ".join(row_of(record, "critical"))
    assert markup_of(record, "critical") == {"red": True, "bold": True}


def test_a_failed_drill_shows_target_actual_error_and_timeline() -> None:
    text = text_of(samples.breach())
    block = text[text.index("FAILED tests/dr/test_orders.py::test_failover") :]
    heading, *lines = block.split("\n")
    assert heading.endswith("(orders, critical, simulated)")
    assert lines[0].split() == ["RTO", "17m2s", "/", "15m", "MISSED"]
    assert lines[1].startswith("  RPO  0s / 5m met (from a write ledger; 120 acknowledged writes")
    assert "RTOExceeded: the outage took 17m2s" in lines[2]
    events = [line.split() for line in lines[5:8]]
    assert [event[:2] for event in events] == [
        ["500ms", "disaster"],
        ["1.7s", "detected"],
        ["17m2s", "recovered"],
    ]


def test_a_time_just_over_its_target_does_not_look_as_if_it_met_it() -> None:
    drill = samples.drill(verdict="failed", rto=samples.rto(900.3))
    record = samples.record([drill], [samples.tier(failed=1, rto=samples.row(900.0, 900.3))])
    assert "15m0.3s / 15m MISSED" in text_of(record)


def test_an_own_target_that_was_missed_is_not_blamed_on_the_tiers() -> None:
    def shown(target_s, worst_s, **changes):
        row = samples.row(target_s, worst_s, met=False, **changes)
        return text_of(samples.record(tiers=[samples.tier(failed=1, rto=row)]))

    own = {"missed_s": 12.0, "missed_target_s": 10.0}
    assert "1m / 15m, 12s / own 10s MISSED" in shown(900.0, 60.0, **own)
    assert "12s / 15m, own 10s MISSED" in shown(900.0, 12.0, **own)
    assert "12s / own 10s MISSED" in shown(None, 12.0, **own)
    # An outage, as of a failback, may have an objective of its own.
    assert "5m / 15m, an own objective MISSED" in shown(900.0, 300.0)


def test_known_breach_is_no_failure_of_its_row() -> None:
    row = samples.tier(known_broken=1, rto=samples.row(900.0, 1000.0, met=False))
    (line,) = outline.tiers(samples.record(tiers=[row]))
    assert line.verdict == "known_broken"


def test_lost_writes_are_told_of_a_drill_that_passed_too() -> None:
    lost = samples.rpo(2.0, basis="ledger", acknowledged=20, lost=7, holes=7, lost_keys=["a"])
    text = text_of(samples.record([samples.drill("a", rpo=lost)]))
    assert "lost: 7 of 20 acknowledged writes; later writes survived 7 of them: corruption" in text


def test_keys_left_out_are_counted_from_all_that_were_lost() -> None:
    lost = samples.rpo(400.0, basis="ledger", acknowledged=9000, lost=5000)
    lost["lost_keys"] = [str(number) for number in range(100)]
    text = text_of(samples.record([samples.drill("a", verdict="failed", error="x", rpo=lost)]))
    assert "lost  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, … 4,990 more" in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (12345678, "12,345,678"),
        (0.25, "0.25"),
        (999999.7, "999,999.7"),
        (3.0, "3"),
        (1e18, "1e+18"),
    ],
)
def test_figures_are_not_rounded_away(value, shown) -> None:
    metric = {"name": "rows", "value": value, "unit": ""}
    text = text_of(samples.record([samples.drill("a", metrics=[metric])]), verbose=1)
    assert f"metric  rows {shown}\n" in text + "\n"


def test_budget_is_shown_on_its_side_of_the_rto() -> None:
    row = samples.tier(
        rto=samples.row(259.1, 1.0), downtime_budget_s=259.2, rto_exceeds_budget=False
    )
    text = text_of(samples.record(tiers=[row]))
    assert "budget 4m19.2s in 30 days: one outage at the RTO of 4m19.1s stays within it" in text


def test_writes_lost_in_no_time_miss_a_target_of_zero() -> None:
    row = samples.row(0.0, 0.0, met=False)
    text = text_of(samples.record(tiers=[samples.tier(failed=1, rpo=row)]))
    assert "0s / 0s MISSED" in text


def test_not_recovered_and_unbounded_are_said_in_words() -> None:
    gone = text_of(samples.never_recovered())
    assert gone.count("not recovered / 15m MISSED") == 3  # tier row, drill, outage
    assert "primary lost" in gone
    lost = text_of(samples.unbounded_loss())
    assert lost.count("unbounded / 5m MISSED") == 2
    assert "3 acknowledged writes, 3 lost; 1 hole among them; 2 indeterminate" in lost
    assert "lost  w1, w2, w3" in lost


def test_not_verified_is_in_capitals_with_its_reason() -> None:
    lines = [line for line, _ in section_lines(samples.not_verified())]
    at = lines.index("NOT VERIFIED tests/dr/test_live.py::test_promote (orders, critical, live)")
    assert lines[at + 1] == "  precondition did not hold: sync standby attached"
    assert "not measured / 15m" in "\n".join(lines)
    assert markup_of(samples.not_verified(), "NOT VERIFIED") == {"yellow": True, "bold": True}


def test_known_broken_is_told_apart_from_passed() -> None:
    text = text_of(samples.known_broken())
    assert "known broken tests/dr/test_orders.py::test_restore" in text
    assert "  ticket 311: restore is slow" in text


def test_reasons_of_not_applicable_are_given_once_with_their_drills() -> None:
    text = text_of(samples.not_applicable())
    assert text.count("the web tier holds no data") == 1
    assert "RPO not applicable: the web tier holds no data\n" in text
    assert "  tests/dr/test_web.py::test_standby\n  tests/dr/test_web.py::test_failback" in text
    assert row_of(samples.not_applicable(), "critical")[-3:] == ["not", "applicable", "4m19s"]


def test_repeats_show_the_median_and_a_p95_only_from_20_runs_on() -> None:
    record = samples.repeats()
    lines = [line for line, _ in section_lines(record)]
    row = next(line for line in lines if "from 20 runs on" in line)
    assert " ".join(row.split()) == (
        "3 FAILED RTO 16m40s from 20 runs on 18m20s tests/dr/test_orders.py::test_restore"
    )
    record["repeats"][0]["rto"]["p95_s"] = 1090.0
    assert "from 20 runs on" not in text_of(record)
    assert "18m10s" in text_of(record)


def test_of_repeated_runs_the_worst_is_shown_and_the_others_are_named() -> None:
    text = text_of(samples.repeats())
    assert text.count("FAILED tests/") == 1
    assert "test_restore[3-3] (orders, critical, simulated; likewise in run 2)" in text
    assert "RTOExceeded in run 3" in text
    assert "RTOExceeded in run 2" not in text


def test_a_repeated_drill_that_never_recovered_has_no_worst_time() -> None:
    record = samples.repeats()
    record["drills"][1]["rto"] = samples.never_recovered()["drills"][0]["rto"]
    record["repeats"][0]["rto"] |= {"measured": 2, "unbounded": 1}
    row = next(line for line, _ in section_lines(record) if "from 20 runs on" in line)
    assert "not recovered" in row
    assert "test_restore[2-3]" in text_of(record)  # the worst of them, whatever the others took


def test_the_worst_comes_first() -> None:
    drills = [
        samples.drill("a", verdict="failed", error="AssertionError"),
        samples.breach()["drills"][1],
        samples.unbounded_loss()["drills"][0],
        samples.not_verified()["drills"][0],
    ]
    text = text_of(samples.record([*drills[::-1], samples.drill("b")]))
    order = ["RPOExceeded", "RTOExceeded", "FAILED a", "NOT VERIFIED"]
    assert [text.index(word) for word in order] == sorted(text.index(word) for word in order)


def test_assumed_times_findings_and_reruns_are_shown_apart() -> None:
    text = text_of(samples.rich())
    assert "assumed, counted in the RTO: decision 10m\n  tests/dr/test_rich.py" in text
    assert "finding: the runbook names the wrong host; owner dba; due 2026-04-01" in text
    assert "finding: no alert\n" in text
    assert "rerun: FAILED, then FAILED" in text
    assert "RTO not applicable: a batch job" in text
    assert "step     promote (dba) failed" in text.replace("step    ", "step     ")
    assert "never seen down" in text


def test_a_staged_backup_is_named_as_what_it_is() -> None:
    assert "no evidence for the schedule\n  tests/dr/test_files.py::test_local" in text_of(
        samples.live_and_local()
    )


def test_a_live_drill_tells_what_it_broke() -> None:
    text = text_of(samples.live_and_local())
    told = (
        "live: db.staging:5432: kills the primary; undone by: systemd restarts it, as a replica; "
    )
    assert f"{told}at most 5m\n  tests/dr/test_pg.py::test_live" in text
    drill = samples.drill(mode="live", live=samples.live(aborted_after_s=300.2))
    assert f"{told}at most 5m, ended after 5m\n" in text_of(samples.record([drill]))


@pytest.mark.parametrize("basis", get_args(Basis))
def test_every_basis_of_a_loss_has_words(basis: Basis) -> None:
    assert f"({words.BASES[basis]}" in words.rpo_line(samples.rpo(2.0, basis=basis))


def test_modes_keep_rows_of_their_own() -> None:
    lines = [line for line, _ in section_lines(samples.live_and_local())]
    assert [line.split()[1] for line in lines if line.startswith("critical")] == ["local", "live"]


def test_drills_without_a_tier_have_a_row_and_no_arithmetic() -> None:
    text = text_of(samples.without_tier())
    row = next(line for line in text.split("\n") if line.startswith("(no tier)"))
    assert row.split() == ["(no", "tier)", *["simulated", "1", "1", "0", "0", "4.31s", "-", "-"]]
    assert "availability" not in text


def test_the_availability_arithmetic_is_told_once_a_tier() -> None:
    lines = [line for line, _ in section_lines(samples.live_and_local())]
    assert lines[-3:] == [
        "availability of critical",
        (
            "  target 99.99%; MTBF 30d and MTTR 1h imply 99.86%: not reached, "
            "it takes an MTTR of 4m19s"
        ),
        "  downtime budget 4m19s in 30 days: one outage at the RTO of 15m exceeds it",
    ]


def test_an_availability_that_is_reached_says_so() -> None:
    tier = samples.tier(
        availability_target=99.5, expected_availability=99.86, rto_exceeds_budget=False
    )
    text = text_of(samples.record(tiers=[tier]))
    assert "target 99.5%; MTBF 30d and MTTR 1h imply 99.86%: reached" in text
    assert "one outage at the RTO of 15m stays within it" in text


def test_a_long_timeline_keeps_its_ends() -> None:
    record = samples.breach()
    record["drills"][1]["timeline"] = [samples.event(n, f"event-{n}") for n in range(100)]
    text = text_of(record)
    assert "event-0" in text
    assert "event-99" in text
    assert "84 more events" in text
    assert "event-50" not in text
    assert "event-50" in text_of(record, verbose=1)


def test_verbose_lists_passed_drills_and_quiet_leaves_timelines_out() -> None:
    record = samples.breach()
    assert "passed tests/dr/test_orders.py::test_restore" in text_of(record, verbose=1)
    assert "passed tests" not in text_of(record)
    assert text_of(record, verbose=-1) == text_of(record)
    quiet = text_of(record, verbose=-2)
    assert "primary killed" not in quiet
    assert "availability" not in quiet
    assert "17m2s / 15m MISSED" in quiet
