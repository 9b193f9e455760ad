"""``--dr-check-replay``: a simulated drill has to go the same way twice."""

from __future__ import annotations

import pytest
from drill_sources import FAILS_OVER

SOURCE = f"""
@pytest.mark.rto("2m")
async def test_steady(simulated_endpoints, failover_manager, rto_timer):
{FAILS_OVER}
@pytest.mark.dr_service("x")
@pytest.mark.parametrize("n", [1, 2])
async def test_of_chance(simulated_endpoints, n):
    import random
    (store,) = simulated_endpoints("store")
    await asyncio.sleep(random.SystemRandom().uniform(1, 1000))
    store.fail()

@pytest.mark.dr_service("x")
async def test_of_the_wall(simulated_endpoints, drill):
    drill.event("ordered", time.perf_counter_ns())

@pytest.mark.dr_service("x")
def test_local(): pass
def test_ordinary(simulated_endpoints): pass
"""
STEADY = ["test_steady[run1]", "test_steady[run2]"]


def test_drill_that_goes_another_way_fails(drills, mode):
    outcome = drills(SOURCE, "--dr-check-replay", "--dr-seed=7", mode=mode)
    verdicts = outcome.verdicts
    assert [verdicts.pop(name) for name in STEADY] == ["passed", "passed"]
    assert verdicts.pop("test_local") == "passed"
    for name in ("test_of_chance[1-run{}]", "test_of_chance[2-run{}]", "test_of_the_wall[run{}]"):
        both = [verdicts.pop(name.format(run)) for run in (1, 2)]
        assert "failed" in both
        # In one process the first has nothing yet to differ from.
        assert mode == "n2" or both == ["passed", "failed"]
    assert not verdicts
    assert outcome.ret == 1
    text = outcome.text
    assert "selected: 5 drills\n" in text
    assert "ReplayDiffers: with the same seed the other run went another way: event 1 " in text
    assert "the drill ordered" in text
    rows = {row["base"].partition("::")[2]: row["verdict"] for row in outcome.record["repeats"]}
    assert rows["test_steady"] == "passed"
    assert rows["test_of_chance[1]"] == "failed"


def test_both_runs_have_the_seed_that_was_given(drills):
    seeds = """
    @pytest.mark.dr_service("x")
    def test_it(simulated_endpoints, drill):
        (store,) = simulated_endpoints("store")
        drill.note(store._world.seed)
    """.replace("\n    ", "\n")
    outcome = drills(seeds, "--dr-check-replay", "--dr-seed=7", mode="n0")
    assert [drill["notes"] for drill in outcome.drills.values()] == [["7"], ["7"]]


def test_examples_are_not_compared(drills):
    outcome = drills(
        """
from hypothesis import HealthCheck, given, settings, strategies as st
@pytest.mark.dr_service("x")
@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers())
def test_it(simulated_endpoints, drill, n): drill.event("drawn", time.perf_counter_ns())
""",
        "--dr-check-replay",
    )
    outcome.result.assert_outcomes(passed=2)


def test_ini_key_and_header(drills, mode):
    given = ("-o", "dr_check_replay=true")  # and nothing else of ours
    outcome = drills(SOURCE, "-k", "steady", *given, mode=mode, report=False)
    outcome.result.assert_outcomes(passed=2)
    assert "each simulated drill twice, with one seed" in outcome.text


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--dr-check-replay", "--dr-repeat=3"), "--dr-repeat: '3' has no meaning with"),
        (("--dr-check-replay", "-o", "dr_repeat=3"), "dr_repeat: '3' has no meaning with"),
        (("-o", "dr_check_replay=perhaps"), "dr_check_replay: invalid truth value 'perhaps'"),
    ],
)
def test_what_has_no_meaning_is_refused(drills, args, message):
    outcome = drills(SOURCE, *args, report=False)
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    assert message in outcome.result.stderr.str()


MEASURES_BY_CHANCE = """
@pytest.mark.rpo("1h")
def test_measures(simulated_endpoints, rpo_timer, rto_timer, drill):
    import os
    simulated_endpoints("store")
    rpo_timer.acknowledged("a")
    with rto_timer.outage():
        drill.sleep("1s")
    rpo_timer.survived(["a"])
    drill.metric("chance", int.from_bytes(os.urandom(6)))
"""


def test_what_was_measured_is_compared_as_well(drills):
    outcome = drills(MEASURES_BY_CHANCE, "--dr-check-replay")
    assert outcome.verdicts["test_measures[run2]"] == "failed"
    assert "ReplayDiffers" in outcome.text


def test_a_run_without_its_other_one_is_not_green(drills):
    outcome = drills(SOURCE, "--dr-check-replay", "-k", "test_steady and run2")
    assert outcome.verdicts == {"test_steady[run2]": "failed"}
    assert "nothing was compared: only one of its two runs was selected" in outcome.text
