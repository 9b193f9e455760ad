"""A canary whose event loop stands still: what it can't have seen, it does not claim."""

from datetime import timedelta

import pytest
from canary_store import run
from hypothesis import given
from hypothesis import strategies as st

from pytest_drdrill import Canary, DisasterNotObserved
from pytest_drdrill.evidence.measured import measured
from pytest_drdrill.measure.pulse import Pulse


def stand_still(drill, seconds):
    """As a synchronous call of the drill's own would have the loop do."""
    loop = drill.clock.loop
    loop._jump_to(loop.now_us + round(seconds * 1e6))


def blocked_for(seconds, *, after, then=1.0, **settings):
    """A body whose loop stands still, so long after the disaster."""

    async def body(drill, store):
        async with Canary(drill, write=store.write, read_all=store.read_all, **settings) as canary:
            await drill.clock.sleep(1 - store.age)
            with drill.rto.outage():
                await drill.clock.sleep(after)
                stand_still(drill, seconds)
                await drill.clock.sleep(then)
        return await canary.verify()

    return body


def kinds(drill):
    return [type(breach) for breach in drill.judge()]


def test_write_whose_answer_could_not_be_seen_is_no_failure():
    drill, _, result = run(blocked_for(3, after=0.11), takes=0.02, objectives={"rto": "1m"})
    assert result.indeterminate == 1  # its answer was there before it was given up, and unseen
    assert kinds(drill) == [DisasterNotObserved]


def test_write_that_hung_while_the_loop_ran_is_one():
    # It was given up 0.2 s late, after 0.9 s in which an answer would have been seen.
    drill, _, result = run(blocked_for(0.3, after=0.9), hangs=[(1, 1.95)], objectives={"rto": "1m"})
    assert result.indeterminate == 1
    assert kinds(drill) == []


def test_no_figure_is_finer_than_the_time_for_which_the_loop_stood_still():
    drill, _, result = run(blocked_for(3, after=0.51), refuses=[(1, 1.3)], takes=0.02)
    (outage,) = drill.rto.outages
    assert result.standstill == pytest.approx(timedelta(seconds=2.96), abs=timedelta(seconds=0.01))
    # It was back long before, and that was seen; how long it was away meanwhile, nobody knows.
    assert outage.actual == pytest.approx(timedelta(seconds=0.32), abs=timedelta(seconds=0.01))
    assert timedelta(seconds=outage.resolution) == result.standstill
    found = measured(drill)
    told = [each for each in found["timeline"] if "stand still" in each["event"]]
    assert [each["event"] for each in told] == ["canary saw the event loop stand still"]
    assert told[0]["detail"] == "for 2.96s: what came meanwhile was seen late"
    metrics = {each["name"]: each["value"] for each in found["metrics"]}
    assert metrics["canary: longest standstill of the event loop"] == pytest.approx(2.96, abs=0.01)


def test_write_whose_answer_could_not_be_seen_holds_up_no_recovery():
    drill, _, result = run(blocked_for(3, after=0.51, hold="1s"), refuses=[(1, 1.3)], takes=0.02)
    assert result.indeterminate == 1
    (outage,) = drill.rto.outages
    assert outage.actual == pytest.approx(timedelta(seconds=0.32), abs=timedelta(seconds=0.01))


def test_loop_that_keeps_time_is_not_mentioned():
    drill, _, result = run(blocked_for(0, after=0.5), refuses=[(1, 1.3)])
    assert result.standstill == timedelta()
    assert drill.rto.outages[0].resolution == pytest.approx(0.05)
    assert not any("standstill" in each["name"] for each in drill.metrics)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 30))))
def test_pulse_tells_each_beat_that_came_late_by_more_than_an_interval(beats):
    pulse, now = Pulse(5), 0
    for wait, late in beats:
        pulse.rest(now + wait)
        now += wait + late
        assert pulse.beat(now) == (late if late > 5 else 0)


@pytest.mark.parametrize(
    ("deadline", "now", "least", "hidden"),
    [
        (15, 30, 5, True),  # noticed before the beat that was due at 10
        (15, 30, 6, False),  # the loop ran for a part of the last six seconds
        (9, 30, 1, False),  # it was over by then
        (12, 14, 2, False),  # a little late is not still
    ],
)
def test_deadline_is_hidden_where_the_loop_stood_still_up_to_it(deadline, now, least, hidden):
    pulse = Pulse(5)
    pulse.rest(10)
    assert pulse.hid(deadline, now, least) is hidden
    pulse.beat(now)  # and after it as well
    pulse.rest(now + 5)
    assert pulse.hid(deadline, now, least) is hidden
    pulse.stop()
    assert not pulse.hid(now + 99, now + 99, 1)
