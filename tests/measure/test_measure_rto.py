from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hand_clock import START, HandClock
from pytest_drdrill import (
    Drill,
    DrillUsageError,
    NotRecovered,
    ObjectiveNotMeasured,
    Objectives,
    RTOExceeded,
)


def seconds(number):
    return timedelta(seconds=number)


def events(drill):
    return [(event["at_s"], event["event"]) for event in drill.timeline.events()]


def test_outage_lasts_from_entry_to_exit(drill, clock):
    clock.advance(2)
    with drill.rto.outage("orders") as outage:
        assert drill.rto.in_outage
        clock.advance(3)
        assert drill.rto.elapsed == seconds(3)
        drill.rto.detected()
        clock.advance(1.25)
    assert not drill.rto.in_outage
    assert drill.rto.outages == [outage]
    assert outage.actual == drill.rto.elapsed == seconds(4.25)
    assert outage.disaster.at == START + 2
    assert outage.detected_at == START + 5
    assert (outage.resolution, outage.held, outage.down_seen) == (None, None, None)
    assert events(drill) == [(2, "disaster"), (5, "detected"), (6.25, "recovered")]


def test_clock_starts_at_the_disaster_and_not_at_detection(promised, clock):
    drill = promised(rto="10s")
    drill.rto.disaster()
    clock.advance(8)
    drill.rto.detected()
    clock.advance(3)
    drill.rto.recovered()
    assert drill.rto.outages[0].actual == seconds(11)
    assert [type(breach) for breach in drill.judge()] == [RTOExceeded]


def test_first_notice_counts(drill, clock):
    with drill.rto.outage() as outage:
        clock.advance(1)
        drill.rto.detected()
        clock.advance(1)
        drill.rto.detected()
    assert outage.detected_at == START + 1
    assert [name for _, name in events(drill)].count("detected") == 1


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=5), st.floats(0, 1e6))
def test_longest_of_several_outages_decides(spans, target):
    clock = HandClock()
    drill = Drill(Objectives(rto=seconds(target)), clock=clock)
    for span in spans:
        clock.advance(1)
        with drill.rto.outage():
            clock.advance(span)
    measured = [outage.actual.total_seconds() for outage in drill.rto.outages]
    assert measured == pytest.approx(spans, abs=2e-6)
    assert drill.rto.elapsed == max(outage.actual for outage in drill.rto.outages)
    broken = sum(outage.actual > seconds(target) for outage in drill.rto.outages)
    assert len(drill.judge()) == broken
    assert bool(broken) == (drill.rto.elapsed > seconds(target))


def test_outage_within_an_outage_is_refused_before_it_changes_anything(drill):
    with drill.rto.outage():
        with pytest.raises(DrillUsageError, match="open already"):
            drill.rto.disaster()
        with pytest.raises(DrillUsageError, match="open already"), drill.rto.outage():
            pass
        assert len(drill.rto.outages) == len(drill.timeline.disasters) == 1


@pytest.mark.parametrize("call", ["detected", "recovered"])
def test_nothing_recovers_before_a_disaster(drill, call):
    with pytest.raises(DrillUsageError, match=f"{call}\\(\\): no outage is open"):
        getattr(drill.rto, call)()


@pytest.mark.asyncio
async def test_nothing_is_watched_before_a_disaster(drill):
    with pytest.raises(DrillUsageError, match="no outage is open"):
        await drill.rto.until(lambda: True)


def test_bad_objective_of_an_outage_is_refused_before_the_disaster(drill):
    with pytest.raises(TypeError, match="has no unit"):
        drill.rto.disaster(rto=5)
    assert drill.rto.outages == []
    assert drill.timeline.disasters == []


@pytest.mark.parametrize("error", [AssertionError, KeyboardInterrupt, SystemExit])
def test_exception_leaves_the_outage_open(drill, clock, error):
    with pytest.raises(error), drill.rto.outage() as outage:  # noqa: PT012 - time passes first
        clock.advance(3)
        raise error
    assert outage.actual is None
    assert drill.rto.in_outage
    clock.advance(2)
    assert drill.rto.elapsed == seconds(5)
    assert [type(breach) for breach in drill.judge()] == [NotRecovered]


@pytest.mark.parametrize("error", [AssertionError, KeyboardInterrupt])
def test_exception_after_a_watch_leaves_the_outage_open_too(drill, clock, error):
    with pytest.raises(error), drill.rto.outage() as outage:  # noqa: PT012 - what was watched came back
        drill.rto.wait_until(lambda: clock.seconds > START + 1)
        assert outage.actual is not None
        raise error
    assert outage.actual is outage.resolution is outage.held is None
    assert [type(breach) for breach in drill.judge()] == [NotRecovered]


def test_outage_left_open_is_recovered_by_a_later_word(drill, clock):
    with pytest.raises(ValueError, match="plan A"), drill.rto.outage() as outage:
        raise ValueError("plan A")
    clock.advance(7)
    drill.rto.recovered()
    assert outage.actual == seconds(7)
    assert drill.judge() == []


def test_recovery_told_inside_the_block_stands(drill, clock):
    with pytest.raises(ValueError, match="later"), drill.rto.outage() as outage:  # noqa: PT012 - fails afterwards
        clock.advance(3)
        drill.rto.recovered()
        clock.advance(5)
        raise ValueError("later")
    assert outage.actual == seconds(3)


def test_disaster_in_one_step_and_recovery_in_another(drill, clock):
    outage = drill.rto.disaster("orders", rto="5s", expect_downtime=False)
    assert (outage.name, outage.target, outage.expect_downtime) == ("orders", seconds(5), False)
    clock.advance(4)
    drill.rto.recovered()
    assert outage.actual == seconds(4)
    with pytest.raises(DrillUsageError, match="no outage is open"):
        drill.rto.recovered()


def test_assumed_time_is_kept_apart(drill, clock):
    drill.rto.assume("notice", "5m")
    with drill.rto.outage() as outage:
        clock.advance(1)
    drill.rto.assume("decide", timedelta(minutes=10))
    assert drill.rto.assumed == [
        ("notice", timedelta(minutes=5)),
        ("decide", timedelta(minutes=10)),
    ]
    assert outage.actual == drill.rto.elapsed == seconds(1)
    with pytest.raises(ValueError, match="can't be negative"):
        drill.rto.assume("time travel", timedelta(minutes=-5))
    with pytest.raises(TypeError, match="has no unit"):
        drill.rto.assume("decide", 10)


@pytest.mark.parametrize(
    ("reason", "error"), [("", ValueError), ("  ", ValueError), (None, TypeError), (5, TypeError)]
)
def test_not_applicable_takes_a_reason(drill, reason, error):
    with pytest.raises(error, match=r"^not_applicable\(\) takes a reason, e.g. .*, not "):
        drill.rto.not_applicable(reason)
    assert drill.rto.reason_not_applicable is None


def test_elapsed_before_any_disaster_is_zero(drill, clock):
    clock.advance(5)
    assert drill.rto.elapsed == timedelta(0)


def test_lists_handed_out_are_copies(drill):
    drill.rto.outages.append("x")
    drill.rto.assumed.append("x")
    assert drill.rto.outages == drill.rto.assumed == []


def test_restart_forgets_everything(promised, clock):
    drill = promised(rto="1s")
    drill.rto.assume("decide", "5m")
    drill.rto.not_applicable("for a reason")
    drill.rto.disaster()
    drill._restart()
    assert (drill.rto.outages, drill.rto.assumed) == ([], [])
    assert drill.rto.reason_not_applicable is None
    assert not drill.rto.in_outage
    assert [type(breach) for breach in drill.judge()] == [ObjectiveNotMeasured]


def test_what_is_assumed_stays_a_time(drill):
    drill.rto.assume("decision", "999999d")
    with pytest.raises(ValueError, match="more than a million days"):
        drill.rto.assume("travel", "2d")
    with pytest.raises(ValueError, match="out of range"):
        drill.rto.assume("forever", timedelta.max)
    with drill.rto.outage():
        pass
    assert drill.judge() == []
