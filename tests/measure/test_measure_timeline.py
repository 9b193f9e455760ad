import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from hand_clock import EPOCH, START
from pytest_drdrill import RealClock, Timeline
from pytest_drdrill.measure.outage import Outage
from pytest_drdrill.measure.timeline import EVENT_LIMIT


@pytest.fixture
def timeline(clock):
    return Timeline(clock)


def test_events_are_told_by_time_whenever_they_were_entered(timeline, clock):
    timeline.record("first")
    clock.advance(3)
    timeline.record("third", "with a detail")
    timeline.record("second", at=START + 1.5)
    timeline.record("third, too")
    assert [(event["at_s"], event["event"], event["detail"]) for event in timeline.events()] == [
        (0.0, "first", ""),
        (1.5, "second", ""),
        (3.0, "third", "with a detail"),
        (3.0, "third, too", ""),
    ]


def test_both_scales_agree(timeline, clock):
    clock.advance(90)
    moment = timeline.moment()
    assert moment.at == START + 90
    assert moment.utc == EPOCH + timedelta(seconds=90)
    assert timeline.since_start(moment.at) == 90.0
    assert timeline.since_start(START + 0.123456789) == 0.123457


def test_no_event_lies_before_the_start(timeline):
    timeline.record("early", at=START - 10)
    assert timeline.events()[0]["at_s"] == 0.0


def test_runaway_loop_is_counted_but_not_kept(timeline, clock):
    for number in range(EVENT_LIMIT + 5):
        clock.advance(1)
        timeline.record(f"event {number}")
    events = timeline.events()
    assert len(events) == EVENT_LIMIT + 1
    assert events[-1] == {
        "at_s": float(EVENT_LIMIT),
        "event": "timeline full",
        "detail": "5 later events were left out",
    }
    assert timeline.events() == events


def test_hostile_text_is_made_storable(timeline):
    timeline.record("na\udc80me" * 1000, "x" * 1_000_000)
    event = timeline.events()[0]
    event["event"].encode()
    assert len(event["event"]) < 4_000
    assert len(event["detail"]) < 11_000


def test_restart_forgets_and_starts_now(timeline, clock):
    timeline.record("old")
    timeline.outages.append(Outage("", timeline.moment()))
    assert timeline.disasters == [timeline.moment()]
    clock.advance(5)
    timeline._restart()
    assert timeline.events() == []
    assert timeline.disasters == []
    assert timeline.started.at == START + 5
    assert timeline.started.utc == EPOCH + timedelta(seconds=5)


def test_real_clock_reads_the_machines_clocks():
    clock = RealClock()
    before, now, after = datetime.now(UTC), clock.now(), datetime.now(UTC)
    assert before <= now <= after
    assert now.utcoffset() == timedelta(0)
    before, now, after = time.monotonic(), clock.monotonic(), time.monotonic()
    assert before <= now <= after


def test_real_clock_waits_as_its_callers_do(monkeypatch):
    waited = []

    async def sleep(seconds):
        waited.append(("sleep", seconds))

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(time, "sleep", lambda seconds: waited.append(("block", seconds)))
    asyncio.run(RealClock().sleep(1.5))
    RealClock().block(2.5)
    assert waited == [("sleep", 1.5), ("block", 2.5)]
