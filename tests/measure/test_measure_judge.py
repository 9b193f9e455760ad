"""The verdict table: what a body that passed is judged to have shown."""

from datetime import timedelta

import pytest

from hand_clock import START
from pytest_drdrill import (
    DisasterNotObserved,
    DrillFailure,
    NotRecovered,
    ObjectiveNotMeasured,
    RPOExceeded,
    RTOExceeded,
)


def kinds(drill):
    return [type(breach) for breach in drill.judge()]


def outage(drill, seconds, **settings):
    with drill.rto.outage(**settings):
        drill.clock.advance(seconds)


def lose(drill, *, acknowledged, survivors):
    for moment in acknowledged:
        drill.rpo.acknowledged(moment, at=START + moment)
    drill.rpo.survived(survivors)


def test_nothing_promised_and_nothing_done_is_nothing_broken(drill):
    assert drill.judge() == []


def test_both_objectives_measured_and_met(promised):
    drill = promised(rto="10s", rpo="5s")
    drill.clock.advance(20)
    outage(drill, 10)
    lose(drill, acknowledged=[14, 15], survivors=[14])
    assert drill.judge() == []


def test_each_objective_that_nothing_measured_is_named(promised):
    drill = promised(tier="critical", rto="15m", rpo="5m")
    assert kinds(drill) == [ObjectiveNotMeasured, ObjectiveNotMeasured]
    rto, rpo = map(str, drill.judge())
    assert "an RTO of 15m is promised" in rto
    assert "rto_timer.not_applicable(reason)" in rto
    assert "an RPO of 5m is promised" in rpo
    assert "rpo_timer.not_applicable(reason)" in rpo


def test_reasons_answer_for_what_is_not_measured(promised):
    drill = promised(rto="15m", rpo="5m")
    drill.rto.not_applicable("measured elsewhere")
    assert kinds(drill) == [ObjectiveNotMeasured]
    drill.rpo.not_applicable("stateless")
    (breach,) = drill.judge()
    assert isinstance(breach, ObjectiveNotMeasured)
    assert "every objective promised is said not to apply" in str(breach)


def test_reason_answers_for_one_of_two(promised):
    drill = promised(rto="15m", rpo="5m")
    drill.rpo.not_applicable("stateless")
    outage(drill, 6)
    assert drill.judge() == []
    drill = promised(rto="15m", rpo="5m")
    drill.rto.not_applicable("nobody waits for it")
    outage(drill, 6, rto="1h")  # a failback's
    assert kinds(drill) == [ObjectiveNotMeasured]  # the RPO
    drill.rpo.not_applicable("stateless")
    assert drill.judge() == []


def test_sole_objective_has_to_be_measured(promised):
    drill = promised(rpo="5m")
    drill.rpo.not_applicable("stateless")
    assert kinds(drill) == [ObjectiveNotMeasured]
    assert promised().judge() == []


def test_reason_does_not_answer_for_an_outage_that_was_measured(promised):
    drill = promised(rto="5s")
    drill.rto.not_applicable("measured elsewhere")
    outage(drill, 6)
    assert kinds(drill) == [RTOExceeded]


@pytest.mark.parametrize(("took", "broken"), [(9.999999, 0), (10, 0), (10.000001, 1)])
def test_objective_holds_up_to_and_with_its_limit(promised, took, broken):
    drill = promised(rto="10s")
    outage(drill, took)
    assert kinds(drill) == [RTOExceeded] * broken


def test_broken_rto_tells_target_and_actual(promised):
    drill = promised(rto="10s")
    outage(drill, 12.5, name="orders")
    (breach,) = drill.judge()
    assert (breach.target, breach.actual) == (timedelta(seconds=10), timedelta(seconds=12.5))
    assert str(breach) == (
        "outage 'orders': RTO of 10s exceeded: recovered after 12.5s, 2.5s too late"
    )


@pytest.mark.parametrize("excess_us", [1, 400, 499, 500, 1_000, 999_999])
def test_near_miss_never_reads_like_its_target(promised, excess_us):
    drill = promised(rto="15m")
    outage(drill, 900 + excess_us / 1e6)
    (breach,) = drill.judge()
    assert "recovered after 15m," not in str(breach)


def test_assumed_time_counts_and_is_told_apart(promised):
    drill = promised(rto="15m")
    drill.rto.assume("notice", "6m")
    drill.rto.assume("decide", "5m")
    outage(drill, 240)
    assert drill.judge() == []
    drill.rto.assume("sign off", "1s")
    (breach,) = drill.judge()
    assert breach.actual == timedelta(minutes=15, seconds=1)
    assert "recovered after 15m1s (4m measured, 11m1s assumed), 1s too late" in str(breach)


def test_assumed_time_alone_measures_nothing(promised):
    drill = promised(rto="15m")
    drill.rto.assume("decide", "5m")
    assert kinds(drill) == [ObjectiveNotMeasured]


def test_every_broken_outage_is_named_in_order(promised):
    drill = promised(rto="5s")
    outage(drill, 6, name="one")
    outage(drill, 4, name="two")
    outage(drill, 7, name="three")
    assert [str(breach).split(":")[0] for breach in drill.judge()] == [
        "outage 'one'",
        "outage 'three'",
    ]


def test_outage_with_an_objective_of_its_own_is_held_to_that(promised):
    drill = promised(rto="10s")
    outage(drill, 5)
    outage(drill, 60, name="failback", rto="1m")
    assert drill.judge() == []
    outage(drill, 3, name="again", rto="2s")
    (breach,) = drill.judge()
    assert isinstance(breach, RTOExceeded)
    assert breach.target == timedelta(seconds=2)


def test_outage_with_an_objective_of_its_own_does_not_answer_for_the_drills(promised):
    drill = promised(rto="10s")
    outage(drill, 5, rto="1h")
    (breach,) = drill.judge()
    assert isinstance(breach, ObjectiveNotMeasured)
    assert "an outage with an rto of its own does not" in str(breach)


def test_objective_of_an_outage_needs_none_of_the_drill(drill):
    outage(drill, 5, rto="4s")
    assert kinds(drill) == [RTOExceeded]


def test_outage_never_closed_is_a_failure_whatever_was_promised(promised):
    for objectives in ({}, {"rto": "1h"}):
        drill = promised(**objectives)
        drill.rto.disaster("orders")
        (breach,) = drill.judge()
        assert isinstance(breach, NotRecovered)
        assert str(breach) == ("outage 'orders': still open when the drill ended: never recovered")
        assert breach.target == drill.objectives.rto
        assert breach.actual is None


def test_fault_that_missed_is_told_even_when_the_objective_is_broken_too(promised):
    drill = promised(rto="1s")
    with drill.rto.outage():
        drill.clock.advance(5)
        drill.rto.wait_until(lambda: True)
    assert kinds(drill) == [DisasterNotObserved, RTOExceeded]


def test_hold_is_asked_only_of_outages_held_to_the_drills_objective(promised):
    drill = promised(rto="10s", hold="5s")
    outage(drill, 5, rto="1m")
    with drill.rto.outage():
        drill.rto.wait_until(iter([False, *[True] * 60]).__next__, interval="1s")
    assert drill.judge() == []


def test_broken_rpo_tells_how_and_how_many(promised):
    drill = promised(rpo="3s")
    drill.clock.advance(20)
    outage(drill, 1)
    lose(drill, acknowledged=[10, 11, 12, 13], survivors=[10, 12])
    (breach,) = drill.judge()
    assert isinstance(breach, RPOExceeded)
    assert (breach.target, breach.actual) == (timedelta(seconds=3), timedelta(seconds=9))
    assert str(breach) == (
        "RPO of 3s exceeded: 9s of work lost, 2 acknowledged writes lost, "
        "1 of them holes before later survivors (basis: ledger)"
    )


def test_unbounded_loss_breaks_any_rpo(promised):
    drill = promised(rpo="365d")
    drill.clock.advance(20)
    outage(drill, 1)
    lose(drill, acknowledged=[19], survivors=[])
    (breach,) = drill.judge()
    assert isinstance(breach, RPOExceeded)
    assert "none of 1 acknowledged writes survived" in str(breach)


def test_loss_without_a_promise_breaks_nothing(drill):
    drill.clock.advance(20)
    outage(drill, 1)
    lose(drill, acknowledged=[19], survivors=[])
    assert drill.judge() == []


def test_what_is_acknowledged_after_the_disaster_makes_no_hole_of_a_cut_off_tail(drill):
    drill.clock.advance(20)
    outage(drill, 1)
    lose(drill, acknowledged=[17, 18, 19, 22], survivors=[17, 22])
    assert (drill.rpo.lost, drill.rpo.holes) == ([18, 19], [])
    drill.rpo.survived([19])
    assert (drill.rpo.lost, drill.rpo.holes) == ([18], [18])


def test_an_acknowledgement_that_was_worth_less_breaks_an_rpo_of_zero_alone(promised):
    for limit, breaches in (("0s", [RPOExceeded]), ("1s", [])):
        drill = promised(rpo=limit)
        drill.clock.advance(20)
        outage(drill, 1)
        lose(drill, acknowledged=[19], survivors=[19])
        assert kinds(drill) == []
        drill.rpo.weakened("the secondary was not waited for")
        assert kinds(drill) == breaches
        drill._restart()
        assert drill.rpo.weaknesses == ()
    for reason, error in ((" ", ValueError), (5, TypeError)):
        with pytest.raises(error, match=r"^weakened\(\) takes a reason, e.g. .*, not "):
            drill.rpo.weakened(reason)


def test_every_verdict_is_an_assertion_error():
    for kind in (
        RTOExceeded,
        RPOExceeded,
        NotRecovered,
        DisasterNotObserved,
        ObjectiveNotMeasured,
    ):
        assert issubclass(kind, DrillFailure)
        assert issubclass(kind, AssertionError)
