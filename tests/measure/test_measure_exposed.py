"""What a schedule left at stake, as a drill's measured loss."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest

from hand_clock import EPOCH
from pytest_drdrill import ObjectiveNotMeasured, RPOExceeded
from pytest_drdrill.evidence.measured import measured

HOUR = timedelta(hours=1)


def exposure(worst, hours=0.0, explanation="the night was skipped"):
    return SimpleNamespace(worst=worst, at=EPOCH + hours * HOUR, explanation=explanation)


def test_the_worst_instant_is_the_loss_and_needs_no_disaster(promised, clock):
    drill = promised(rpo="3h")
    clock.advance(3600)
    assert not drill.rpo.entered
    drill.rpo.exposed(exposure(3 * HOUR))
    assert drill.rpo.entered
    assert drill.rpo.data_loss == 3 * HOUR
    assert drill.rpo.measured().basis == "schedule"
    assert drill.judge() == []
    record = measured(drill)["rpo"]
    assert (record["actual_s"], record["basis"], record["met"]) == (3 * 3600, "schedule", True)
    assert (record["lost"], record["acknowledged"], record["unbounded"]) == (0, 0, False)


def test_more_than_promised_is_told_with_when_and_why(promised):
    drill = promised(rpo="3h")
    drill.rpo.exposed(exposure(3 * HOUR + timedelta(microseconds=1)))
    (breach,) = drill.judge()
    assert isinstance(breach, RPOExceeded)
    assert (breach.target, breach.actual) == (3 * HOUR, 3 * HOUR + timedelta(microseconds=1))
    assert str(breach) == (
        "RPO of 3h exceeded: up to 3h0.000001s of work lost at the worst instant "
        "(basis: schedule): the night was skipped"
    )
    assert measured(drill)["rpo"]["met"] is False


def test_without_a_bound_every_promise_is_broken(promised):
    drill = promised(rpo="365d")
    drill.rpo.exposed(exposure(timedelta.max, explanation="there was no backup"))
    assert drill.rpo.data_loss == timedelta.max
    (breach,) = drill.judge()
    assert str(breach) == "RPO of 365d exceeded: there was no backup"
    assert breach.actual is None
    record = measured(drill)["rpo"]
    assert (record["unbounded"], record["actual_s"], record["basis"]) == (True, None, "schedule")
    (event,) = drill.timeline.events()
    assert event["detail"] == "no bound: there was no backup"


def test_a_schedule_is_asked_for_its_exposure(promised):
    drill = promised(rpo="1h")
    drill.rpo.exposed(SimpleNamespace(exposure=lambda: exposure(HOUR)))
    assert drill.rpo.data_loss == HOUR


def of_a_day(worst, looked_at):
    """The exposure of a schedule whose slots are a day apart."""
    found = exposure(worst)
    found.start, found.end = EPOCH, EPOCH + looked_at
    found.longest_gap = 24 * HOUR
    return found


def test_a_glance_at_a_schedule_is_not_its_worst_case(promised):
    drill = promised(rpo="5m")
    short = of_a_day(timedelta(seconds=1), timedelta(milliseconds=30))
    for source in (short, SimpleNamespace(exposure=lambda: short)):
        with pytest.raises(ValueError, match="looked at 30ms") as caught:
            drill.rpo.exposed(source)
    assert str(caught.value) == (
        "looked at 30ms of a schedule whose slots are up to 1d apart: that is not its worst case; "
        "let it run longer, or give exposure() an earlier start"
    )
    assert not drill.rpo.entered
    with pytest.raises(ValueError, match="looked at 23h59m59"):
        drill.rpo.exposed(of_a_day(HOUR, 24 * HOUR - timedelta(microseconds=1)))
    drill.rpo.exposed(of_a_day(HOUR, 24 * HOUR))
    assert drill.rpo.data_loss == HOUR


def test_no_bound_is_none_however_short_the_glance(promised):
    drill = promised(rpo="5m")
    drill.rpo.exposed(of_a_day(timedelta.max, timedelta()))
    assert drill.rpo.data_loss == timedelta.max


def test_the_largest_of_all_sources_decides(promised, clock):
    drill = promised(rpo="1h")
    clock.advance(10)
    drill.rpo.exposed(exposure(HOUR))
    drill.rpo.exposed(exposure(HOUR / 2))
    assert drill.rpo.data_loss == HOUR
    drill.rpo.recovered_to(EPOCH - 2 * HOUR)
    assert drill.rpo.data_loss is None  # that one is measured from a disaster
    (breach,) = drill.judge()
    assert isinstance(breach, ObjectiveNotMeasured)
    assert "the moment of the disaster is unknown" in str(breach)
    with drill.rto.outage():
        pass
    assert drill.rpo.data_loss == 2 * HOUR + timedelta(seconds=10)
    assert drill.rpo.measured().basis == "backup"
    drill.rpo.exposed(exposure(3 * HOUR))
    assert drill.rpo.measured().basis == "schedule"


def test_it_is_on_the_timeline_at_the_worst_instant(drill, clock):
    clock.advance(2 * 3600)
    drill.rpo.exposed(exposure(HOUR, hours=1.5, explanation="two\nlines"))
    drill.rpo.exposed(exposure(HOUR, hours=-1))
    drill.rpo.exposed(exposure(HOUR, hours=3))
    events = [(event["at_s"], event["event"], event["detail"]) for event in drill.timeline.events()]
    assert events == [
        (5400, "worst exposure", "1h: two\\nlines"),
        (7200, "worst exposure", "1h: the night was skipped"),  # the drill had not begun
        (7200, "worst exposure", "1h: the night was skipped"),  # a clock of its own
    ]


def test_a_fresh_example_has_none(promised):
    drill = promised(rpo="1h")
    drill.rpo.exposed(exposure(2 * HOUR))
    drill._restart()
    assert not drill.rpo.entered
    (breach,) = drill.judge()
    assert isinstance(breach, ObjectiveNotMeasured)


@pytest.mark.parametrize("source", [None, 5, HOUR, SimpleNamespace(worst=3, at=EPOCH)])
def test_anything_else_is_refused(drill, source):
    with pytest.raises(TypeError, match="takes a schedule of backups, or the exposure that it gav"):
        drill.rpo.exposed(source)
    assert not drill.rpo.entered
