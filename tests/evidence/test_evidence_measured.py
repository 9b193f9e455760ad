import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hand_clock import EPOCH, START, HandClock, Service
from pytest_drdrill import Drill, Objectives, RPOExceeded, RTOExceeded
from pytest_drdrill.evidence.measured import LOST_KEYS_KEPT, measured, nothing_measured


def promised(**objectives):
    return Drill(Objectives(**objectives), clock=HandClock())


def outage(drill, seconds, **settings):
    with drill.rto.outage(**settings):
        drill.clock.advance(seconds)


def kinds(drill):
    return [type(breach) for breach in drill.judge()]


def test_drill_that_did_nothing_measured_nothing():
    for objectives in (Objectives(), Objectives(rto="15m", rpo="5m")):
        drill = Drill(objectives, clock=HandClock())
        assert measured(drill) == nothing_measured(objectives)
    assert nothing_measured(Objectives(rto="15m", rpo="5m"))["rto"]["target_s"] == 900.0
    assert nothing_measured(Objectives(rto="15m", rpo="5m"))["rpo"]["target_s"] == 300.0


def test_record_holds_plain_values_alone():
    drill = promised(rto="15m", rpo="5m")
    for key in ("a", ("b", 1), b"c", 4, frozenset({5})):
        drill.rpo.acknowledged(key)
    drill.rto.assume("decide", "5m")
    with drill.step("restore", owner="dba"):
        outage(drill, 3, rto="10s")
    outage(drill, 2)
    drill.rpo.survived([4])
    drill.rpo.recovered_to(EPOCH)
    drill.metric("files", 3)
    drill.finding("x")
    drill.note("y")
    drill.participant("z")
    record = measured(drill)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["notes"] == ["y"]
    assert [part["name"] for part in record["participants"]] == ["z"]
    assert record["findings"][0]["text"] == "x"
    assert record["metrics"][0]["name"] == "files"
    assert record["steps"][0]["duration_s"] == 3.0
    assert record["timeline"] == drill.timeline.events()


def test_record_is_a_copy_of_the_lists():
    drill = promised()
    record = measured(drill)
    drill.note("later")
    drill.metric("later", 1)
    assert record["notes"] == record["metrics"] == []


# -- recovery time -----------------------------------------------------------------------------


def test_one_outage_in_full():
    drill = promised(rto="15m")
    drill.clock.advance(1.5)
    service = Service(drill.clock, down=[(0, 4)])
    with drill.rto.outage("orders"):
        drill.clock.advance(0.25)
        drill.rto.detected()
        drill.rto.wait_until(service.check, interval="1s", hold="2s")
    record = measured(drill)["rto"]
    assert record == {
        "target_s": 900.0,
        "actual_s": 4.25,
        "assumed": [],
        "resolution_s": 1.0,
        "met": True,
        "not_applicable": None,
        "outages": [
            {
                "name": "orders",
                "at_s": 1.5,
                "detected_s": 0.25,
                "actual_s": 4.25,
                "resolution_s": 1.0,
                "held_s": 2.0,
                "down_seen": True,
                "expect_downtime": True,
                "target_s": 900.0,
                "met": True,
            }
        ],
    }


@given(
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from([None, 5, 15])), max_size=4),
    st.sampled_from([None, 0, 10]),
    st.integers(0, 6),
    st.booleans(),
)
def test_longest_outage_held_to_the_drills_objective_decides(spans, target, assumed, left_open):
    drill = promised(rto=None if target is None else timedelta(seconds=target))
    if assumed:
        drill.rto.assume("decide", timedelta(seconds=assumed))
    for span, own in spans:
        drill.clock.advance(1)
        outage(drill, span, rto=None if own is None else timedelta(seconds=own))
    if left_open:
        drill.rto.disaster()
    record = measured(drill)["rto"]

    drills_own = [span for span, own in spans if own is None]
    if left_open or not drills_own:
        assert record["actual_s"] is None
    else:
        assert record["actual_s"] == max(drills_own) + assumed
    assert [part["seconds"] for part in record["assumed"]] == ([assumed] if assumed else [])
    limits = [target if own is None else own for _, own in spans]
    assert [out["met"] for out in record["outages"][: len(spans)]] == [
        None if limit is None else span + assumed <= limit
        for (span, _), limit in zip(spans, limits, strict=True)
    ]
    answers = [out["met"] for out in record["outages"]]
    if False in answers:
        assert record["met"] is False
    elif target is None or not drills_own:
        assert record["met"] is None
    else:
        assert record["met"] is True
    # The record and the verdict say the same.
    assert (RTOExceeded in kinds(drill)) == any(
        out["met"] is False and out["actual_s"] is not None for out in record["outages"]
    )


def test_open_outage_was_not_recovered():
    drill = promised(rto="15m")
    outage(drill, 5)
    drill.rto.disaster()
    record = measured(drill)["rto"]
    assert record["actual_s"] is None
    assert record["met"] is False
    assert [out["met"] for out in record["outages"]] == [True, False]
    assert record["outages"][1]["actual_s"] is None


def test_outage_that_failed_after_its_watch_was_not_recovered():
    drill = promised(rto="15m")
    service = Service(drill.clock, down=[(0, 4)])
    with pytest.raises(AssertionError), drill.rto.outage():  # noqa: PT012 - fails after the watch
        drill.rto.wait_until(service.check)
        raise AssertionError
    record = measured(drill)["rto"]
    assert record["actual_s"] is None
    assert record["met"] is False


def test_resolution_is_that_of_the_outage_that_decides():
    drill = promised()
    for down, interval in (((0, 9), "3s"), ((0, 4), "1s")):
        service = Service(drill.clock, down=[down])
        with drill.rto.outage():
            drill.rto.wait_until(service.check, interval=interval)
    record = measured(drill)["rto"]
    assert (record["actual_s"], record["resolution_s"]) == (9.0, 3.0)


@pytest.mark.parametrize(("took", "met"), [(4, None), (6, False)])
def test_hold_that_was_not_watched_is_not_met_but_can_be_broken(took, met):
    drill = promised(rto="5s", hold="2s")
    outage(drill, took)
    assert measured(drill)["rto"]["met"] is met
    assert (RTOExceeded in kinds(drill)) == (met is False)


def test_hold_is_not_asked_of_an_outage_with_its_own_objective():
    drill = promised(rto="5s", hold="2s")
    outage(drill, 4, rto="4s")
    assert measured(drill)["rto"]["outages"][0]["met"] is True


@pytest.mark.parametrize(("took", "met"), [(4, None), (6, False)])
def test_fault_that_missed_shows_nothing_met(took, met):
    drill = promised(rto="5s")
    with drill.rto.outage():
        drill.clock.advance(took)
        drill.rto.wait_until(lambda: True)
    record = measured(drill)["rto"]
    assert record["met"] is met
    assert record["outages"][0]["down_seen"] is False
    drill = promised(rto="5s")
    with drill.rto.outage(expect_downtime=False):
        drill.clock.advance(took)
        drill.rto.wait_until(lambda: True)
    record = measured(drill)["rto"]
    # Nobody looked for so long: it is no outage only where a longer one than the RTO can't hide.
    assert (record["met"], record["actual_s"]) == ((True, 0.0) if took < 5 else (None, None))


def test_reason_and_measurement_can_stand_together():
    drill = promised(rto="5s", rpo="5s")
    drill.rto.not_applicable("people recover this one")
    drill.rpo.not_applicable("stateless")
    outage(drill, 6)
    record = measured(drill)
    assert record["rto"]["not_applicable"] == "people recover this one"
    assert record["rto"]["met"] is False
    assert record["rpo"]["not_applicable"] == "stateless"
    assert record["rpo"]["met"] is None


# -- lost work ---------------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 50), min_size=1, unique=True),
    st.sets(st.integers(0, 50)),
    st.sampled_from([None, 0, 7, 30]),
)
def test_record_of_a_ledger_says_what_the_verdict_says(writes, survivors, target):
    drill = promised(rpo=None if target is None else timedelta(seconds=target))
    for write in writes:
        drill.rpo.acknowledged(write, at=START + write)
    drill.rpo.indeterminate("maybe")
    drill.clock.advance(60)  # after the last write: each was at risk
    outage(drill, 1)
    drill.rpo.survived(survivors)
    record = measured(drill)["rpo"]
    lost = sorted(set(writes) - survivors)
    unbounded = len(lost) == len(writes)
    assert record["acknowledged"] == len(writes)
    assert record["lost"] == len(lost)
    assert record["lost_keys"] == [str(key) for key in lost]
    assert record["holes"] == len(drill.rpo.holes)
    assert record["indeterminate"] == 1
    assert record["basis"] == "ledger"
    assert record["unbounded"] == unbounded
    if unbounded:
        assert record["actual_s"] is None
    else:
        assert record["actual_s"] == drill.rpo.data_loss.total_seconds()
    assert record["met"] == (None if target is None else RPOExceeded not in kinds(drill))


def test_lost_keys_are_all_counted_and_the_first_ones_named():
    drill = promised(rpo="0s")
    for number in range(LOST_KEYS_KEPT + 20):
        drill.rpo.acknowledged(f"\udc80{number}" + "x" * 1000)
    drill.rpo.acknowledged("kept")
    outage(drill, 1)
    drill.rpo.survived(["kept"])
    record = measured(drill)["rpo"]
    assert record["lost"] == LOST_KEYS_KEPT + 20
    assert len(record["lost_keys"]) == LOST_KEYS_KEPT
    assert record["lost_keys"][1].startswith("\\udc801xxx")
    assert max(map(len, record["lost_keys"])) < 600


def test_ledger_that_was_never_read_back_claims_nothing():
    drill = promised(rpo="5m")
    drill.rpo.acknowledged(1)
    outage(drill, 1)
    record = measured(drill)["rpo"]
    assert record["acknowledged"] == 1
    assert record["actual_s"] is record["basis"] is record["met"] is None
    assert record["unbounded"] is False


def test_loss_of_unknown_length_is_counted_and_not_met():
    drill = promised(rpo="5m")
    drill.rpo.acknowledged(1)
    drill.rpo.acknowledged(2)
    drill.rpo.survived([1])  # and no disaster is known
    record = measured(drill)["rpo"]
    assert (record["lost"], record["actual_s"], record["met"]) == (1, None, None)


@pytest.mark.parametrize(("before", "basis", "met"), [(600, "backup", False), (0, "staged", True)])
def test_record_of_a_recovery_point_names_its_basis(before, basis, met):
    drill = promised(rpo="5m")
    drill.clock.advance(3)
    outage(drill, 1)
    drill.rpo.recovered_to(EPOCH - timedelta(seconds=before))
    record = measured(drill)["rpo"]
    assert (record["actual_s"], record["basis"], record["met"]) == (before + 3.0, basis, met)
    assert record["acknowledged"] == record["lost"] == 0
