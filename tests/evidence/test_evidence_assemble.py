import statistics
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_drdrill import Objectives, RecoveryMetrics, ServiceTiers
from pytest_drdrill.evidence import SCHEMA
from pytest_drdrill.evidence.assemble import P95_FROM, assemble, percentile_95
from pytest_drdrill.evidence.measured import nothing_measured

TIERS = {**ServiceTiers.builtin(), "gold": RecoveryMetrics("5m", "30s")}
VERDICTS = ["failed", "not_verified", "known_broken", "passed"]
MODES = ["live", "local", "simulated"]


def record(nodeid="test_x", verdict="passed", *, rto_s=None, rpo_s=None, repeat=None, **changes):
    """A drill's record with the parts that count."""
    drill = {
        **nothing_measured(Objectives()),
        "nodeid": nodeid,
        "verdict": verdict,
        "tier": None,
        "mode": "local",
        "service": None,
        "disaster": None,
        "repeat": None if repeat is None else {"base": repeat[0], "index": repeat[1], "of": 9},
    }
    drill["rto"] = {**drill["rto"], "actual_s": rto_s}
    drill["rpo"] = {**drill["rpo"], "actual_s": rpo_s}
    for key, value in changes.items():
        part, _, name = key.partition("__")
        if name:
            drill[part] = {**drill[part], name: value}
        else:
            drill[key] = value
    return drill


def rows(*drills, tiers=TIERS):
    return assemble({}, drills, tiers)["tiers"]


values = st.none() | st.integers(0, 50).map(float)
optional = st.none() | st.booleans()


@st.composite
def drills(draw):
    found = []
    for number in range(draw(st.integers(0, 8))):
        repeated = draw(st.booleans())
        base = f"test_{draw(st.integers(0, 2))}"
        found.append(
            record(
                f"{base}[{number}]" if repeated else f"test_alone_{number}",
                draw(st.sampled_from(VERDICTS)),
                rto_s=draw(values),
                rpo_s=draw(values),
                repeat=(base, number) if repeated else None,
                # What a repeated drill declares, every run of it declares.
                tier="gold"
                if repeated
                else draw(st.sampled_from(["critical", "gold", "unknown", None])),
                mode="local" if repeated else draw(st.sampled_from(MODES)),
                service=None if repeated else draw(st.sampled_from(["web", "db", None])),
                disaster=None if repeated else draw(st.sampled_from(["security", None])),
                rto__met=draw(optional),
                rpo__met=draw(optional),
                rpo__unbounded=draw(st.booleans()),
                rto__target_s=5.0,
                rto__outages=[
                    {"actual_s": draw(values), "target_s": draw(st.sampled_from([5.0, 7.0]))}
                    for _ in range(draw(st.integers(0, 2)))
                ],
            )
        )
    return found


def recount(found):
    """Drills and their verdicts, counted naively: runs of one drill are one, the worst of them."""
    names = []
    for drill in found:
        name = drill["repeat"]["base"] if drill["repeat"] else drill["nodeid"]
        if name not in names:
            names.append(name)
    counts = dict.fromkeys(VERDICTS, 0)
    for name in names:
        ran = [
            drill["verdict"]
            for drill in found
            if (drill["repeat"]["base"] if drill["repeat"] else drill["nodeid"]) == name
        ]
        counts[next(verdict for verdict in VERDICTS if verdict in ran)] += 1
    return {"drills": len(names), **counts}


def counts_of(row):
    return {name: row[name] for name in ("drills", *VERDICTS)}


def judged(found):
    """Missed once is missed; met is only what every drill that promised it showed."""
    answers = [
        each["met"]
        for each in found
        if each["met"] is not None or (each["target_s"] and each["not_applicable"] is None)
    ]
    if any(answer is False for answer in answers):
        return False
    return True if answers and all(answers) else None


def spread(found, endless):
    actual = [each["actual_s"] for each in found if each["actual_s"] is not None]
    ranked = sorted([*actual, *[float("inf")] * endless])
    median = statistics.median(ranked) if ranked else None
    return {
        "median_s": None if median == float("inf") else median,
        "p95_s": None,
        "worst_s": max(actual) if actual else None,
        "measured": len(actual),
        "unbounded": endless,
    }


def never_recovered(found):
    return sum(
        d["rto"]["actual_s"] is None
        # One of 7 seconds has an objective of its own, as a failback.
        and any(out["actual_s"] is None and out["target_s"] == 5 for out in d["rto"]["outages"])
        for d in found
    )


@given(drills())
def test_tier_rows_are_a_recount_of_the_drills(found):
    table = rows(*found)
    keys = [(row["tier"], row["mode"]) for row in table]
    assert len(set(keys)) == len(keys)
    assert set(keys) == {(drill["tier"], drill["mode"]) for drill in found}
    for row in table:
        mine = [d for d in found if (d["tier"], d["mode"]) == (row["tier"], row["mode"])]
        assert counts_of(row) == recount(mine)
        assert row["drills"] == sum(row[verdict] for verdict in VERDICTS)
        for name in ("rto", "rpo"):
            actual = [d[name]["actual_s"] for d in mine if d[name]["actual_s"] is not None]
            assert row[name]["measured"] == len(actual)
            assert row[name]["worst_s"] == (max(actual) if actual else None)
            assert row[name]["met"] is judged([d[name] for d in mine])
        assert row["rto"]["unbounded"] == never_recovered(mine)
        assert row["rpo"]["unbounded"] == sum(d["rpo"]["unbounded"] for d in mine)


@given(drills())
def test_coverage_and_repeats_are_recounts_too(found):
    whole = assemble({"id": "x"}, found, TIERS)
    for row in whole["coverage"]:
        key = ("service", "disaster", "mode")
        mine = [d for d in found if all(d[name] == row[name] for name in key)]
        assert counts_of(row) == recount(mine)
    assert sum(row["drills"] for row in whole["coverage"]) == recount(found)["drills"]
    bases = {d["repeat"]["base"] for d in found if d["repeat"]}
    assert {row["base"] for row in whole["repeats"]} == bases
    assert len(whole["repeats"]) == len(bases)
    for row in whole["repeats"]:
        runs = [d for d in found if d["repeat"] and d["repeat"]["base"] == row["base"]]
        assert row["runs"] == len(runs)
        assert row["verdict"] == min((d["verdict"] for d in runs), key=VERDICTS.index)
        assert row["rto"] == spread([d["rto"] for d in runs], never_recovered(runs))
        assert row["rpo"] == spread(
            [d["rpo"] for d in runs], sum(d["rpo"]["unbounded"] for d in runs)
        )
    assert whole["drills"] == found
    assert whole["run"] == {"id": "x"}
    assert whole["schema"] == SCHEMA == "drdrill/1"
    assert whole["plan"] is None


def test_rows_come_strictest_tier_and_most_real_mode_first():
    keys = [(tier, mode) for mode in MODES[::-1] for tier in [None, "unknown", *TIERS]]
    table = rows(*[record(f"{tier}{mode}", tier=tier, mode=mode) for tier, mode in keys])
    known = [(row["tier"], row["mode"]) for row in table if row["tier"] in TIERS]
    assert known == [(tier, mode) for tier in TIERS for mode in MODES]
    assert [(row["tier"], row["mode"]) for row in table[: len(known)]] == known


def test_modes_are_never_mixed():
    table = rows(
        record("a", rto_s=1.0, tier="gold", mode="simulated"),
        record("b", rto_s=9.0, tier="gold", mode="live"),
    )
    assert [(row["mode"], row["rto"]["worst_s"]) for row in table] == [
        ("live", 9.0),
        ("simulated", 1.0),
    ]


def test_row_of_a_built_in_tier_does_its_arithmetic():
    (row,) = rows(record(tier="critical"))
    assert row["rto"]["target_s"] == 900.0
    assert row["rpo"]["target_s"] == 300.0
    assert (row["mttr_s"], row["mtbf_s"]) == (3600.0, 30 * 86400.0)
    assert row["availability_target"] == 99.99
    assert round(row["expected_availability"], 2) == 99.86
    assert row["mttr_for_target_s"] == pytest.approx(259.23, abs=0.01)
    assert row["downtime_budget_s"] == 259.2
    assert row["rto_exceeds_budget"] is True
    (row,) = rows(record(tier="standard"))
    assert row["downtime_budget_s"] == 12960.0
    assert row["rto_exceeds_budget"] is True


@pytest.mark.parametrize(("rto", "exceeds"), [("12h57m36s", True), ("3h36m", False)])
def test_one_outage_as_long_as_the_rto_against_the_budget(rto, exceeds):
    tiers = {"x": RecoveryMetrics(rto, "1h", availability_target=99.5)}
    (row,) = rows(record(tier="x"), tiers=tiers)
    assert row["rto_exceeds_budget"] is exceeds


@pytest.mark.parametrize("tier", [None, "gold"])
def test_what_was_not_promised_is_none(tier):
    (row,) = rows(record(tier=tier))
    for name in (
        "mttr_s",
        "mtbf_s",
        "availability_target",
        "expected_availability",
        "mttr_for_target_s",
        "downtime_budget_s",
        "rto_exceeds_budget",
    ):
        assert row[name] is None
    assert row["rto"]["target_s"] == (None if tier is None else 300.0)


def test_nothing_measured_is_not_met():
    (row,) = rows(record(tier="gold"), record("y", "not_verified", tier="gold"))
    assert row["rto"] == {
        "target_s": 300.0,
        "worst_s": None,
        "p95_s": None,
        "measured": 0,
        "unbounded": 0,
        "met": None,
        "missed_s": None,
        "missed_target_s": None,
    }


def test_what_one_drill_did_not_show_is_not_met():
    shown = record("a", tier="gold", rto_s=9.0, rto__target_s=300.0, rto__met=True)
    (row,) = rows(shown, record("b", "failed", tier="gold", rto__target_s=300.0))
    assert (row["rto"]["worst_s"], row["rto"]["met"]) == (9.0, None)
    waived = record("c", tier="gold", rto__target_s=300.0, rto__not_applicable="stateless")
    assert rows(shown, waived)[0]["rto"]["met"] is True


def test_own_objective_that_was_missed_is_told_beside_the_worst():
    fine = record("a", tier="gold", rto_s=60.0, rto__target_s=300.0, rto__met=True)
    own = record("b", "failed", tier="gold", rto_s=12.0, rto__target_s=10.0, rto__met=False)
    (row,) = rows(fine, own)
    assert row["rto"]["worst_s"] == 60.0
    assert row["rto"]["met"] is False
    assert (row["rto"]["missed_s"], row["rto"]["missed_target_s"]) == (12.0, 10.0)
    tiers_own = record("c", "failed", tier="gold", rto_s=301.0, rto__target_s=300.0, rto__met=False)
    assert rows(tiers_own)[0]["rto"]["missed_s"] is None


def test_a_miss_within_the_own_objective_is_another_outages():
    """A failback missed its own objective; the drill's own was kept."""
    failback = record(
        "test_failback", "failed", tier="critical", rto_s=5.0, rto__target_s=10.0, rto__met=False
    )
    (row,) = rows(failback)
    assert row["rto"]["met"] is False
    assert (row["rto"]["missed_s"], row["rto"]["missed_target_s"]) == (None, None)


def test_runs_without_an_end_count_as_the_longest():
    ended = [record(f"t[{n}]", rto_s=float(n), repeat=("t", n)) for n in range(1, 21)]
    never = [
        record(
            f"t[{n}]",
            "failed",
            repeat=("t", n),
            rto__target_s=5.0,
            rto__outages=[{"actual_s": None, "target_s": 5.0}],
        )
        for n in range(21, 40)
    ]
    whole = assemble({}, ended + never, TIERS)
    assert whole["repeats"][0]["rto"] == {
        "median_s": 20.0,
        "p95_s": None,
        "worst_s": 20.0,
        "measured": 20,
        "unbounded": 19,
    }
    assert whole["tiers"][0]["rto"]["p95_s"] is None
    most = assemble({}, ended[:1] + never, TIERS)["repeats"][0]["rto"]
    assert (most["median_s"], most["worst_s"], most["unbounded"]) == (None, 1.0, 19)


# -- the percentile ----------------------------------------------------------------------------


@given(st.lists(st.integers(0, 1000).map(float), max_size=150))
def test_percentile_is_the_nearest_rank(sample):
    if len(sample) < P95_FROM:
        assert percentile_95(sample) is None
        return
    # The smallest measurement that at least 95 % of them do not exceed.
    share = Fraction(95, 100) * len(sample)
    expected = min(value for value in sample if sum(other <= value for other in sample) >= share)
    assert percentile_95(sample) == expected


def test_percentile_takes_twenty_measurements():
    assert P95_FROM == 20
    assert percentile_95(range(19)) is None
    assert percentile_95(range(20)) == 18
    assert percentile_95(range(100)) == 94
    assert percentile_95(range(101)) == 95


def test_rank_is_never_off_by_a_rounding_error():
    for count in range(P95_FROM, 2_000):
        assert percentile_95(range(count)) == -(-95 * count // 100) - 1


def test_percentile_stands_in_the_rows_from_twenty_runs_on():
    runs = [record(f"t[{n}]", rto_s=float(n), repeat=("t", n)) for n in range(20)]
    whole = assemble({}, runs, TIERS)
    assert whole["tiers"][0]["rto"]["p95_s"] == whole["repeats"][0]["rto"]["p95_s"] == 18.0
    assert whole["tiers"][0]["drills"] == 1
    assert whole["tiers"][0]["rto"]["measured"] == 20
    assert assemble({}, runs[1:], TIERS)["tiers"][0]["rto"]["p95_s"] is None
