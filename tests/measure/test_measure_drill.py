import subprocess
import sys
import unittest
from datetime import date, timedelta
from fractions import Fraction

import pytest

from pytest_drdrill import Drill, DrillUsageError, PreconditionNotMet, RealClock
from pytest_drdrill.measure.timeline import EVENT_LIMIT


class Broken:
    def __str__(self):
        raise RuntimeError


class BrokenError(Exception):
    __str__ = Broken.__str__


def test_script_needs_no_pytest():
    script = """
import sys
from pytest_drdrill import Drill, Objectives, RTOExceeded
drill = Drill(Objectives(rto="15m", rpo="0s"))
drill.rpo.acknowledged(1)
with drill.rto.outage():
    pass
drill.rpo.survived([1])
assert not drill.judge(), drill.judge()
assert not Drill().judge()
slow = Drill(Objectives(rto="0s"))
with slow.rto.outage():
    while not slow.rto.elapsed:
        pass
assert [type(breach) for breach in slow.judge()] == [RTOExceeded]
assert not {"pytest", "asyncio", "aiohttp", "hypothesis"} & set(sys.modules), sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_drill_has_the_machines_clock_unless_given_one(clock):
    assert isinstance(Drill().clock, RealClock)
    assert Drill(clock=clock).timeline.clock is clock


def test_step_keeps_owner_begin_duration_and_outcome(drill, clock):
    clock.advance(1)
    with drill.step("promote the standby", owner="dba"):
        assert drill.steps[0]["outcome"] == "unfinished"
        clock.advance(2.5)
    with pytest.raises(ValueError, match="no"), drill.step("switch"):  # noqa: PT012 - time passes first
        clock.advance(1)
        raise ValueError("no")
    assert drill.steps == [
        {
            "name": "promote the standby",
            "owner": "dba",
            "at_s": 1.0,
            "duration_s": 2.5,
            "outcome": "done",
        },
        {"name": "switch", "owner": None, "at_s": 3.5, "duration_s": 1.0, "outcome": "failed"},
    ]
    events = drill.timeline.events()
    assert [(event["at_s"], event["event"], event["detail"]) for event in events] == [
        (1.0, "step", "promote the standby"),
        (3.5, "step", "switch"),
    ]


def test_steps_nest(drill, clock):
    with drill.step("outer"), drill.step("inner"):
        clock.advance(1)
    assert [step["name"] for step in drill.steps] == ["outer", "inner"]


@pytest.mark.parametrize("check", [True, 1, "yes", lambda: True, lambda: [0]])
def test_precondition_that_holds_is_on_the_timeline(drill, check):
    drill.require("sync standby attached", check)
    (event,) = drill.timeline.events()
    assert (event["event"], event["detail"]) == ("precondition met", "sync standby attached")


@pytest.mark.parametrize("check", [False, None, 0, lambda: None, lambda: 1 / 0])
def test_precondition_that_does_not_hold_is_not_verified(drill, check):
    with pytest.raises(PreconditionNotMet, match="precondition not met: sync standby attached"):
        drill.require("sync standby attached", check)
    assert drill.timeline.events()[0]["event"] == "precondition not met"
    assert issubclass(PreconditionNotMet, unittest.SkipTest)


def test_precondition_tells_what_its_check_raised(drill):
    with pytest.raises(PreconditionNotMet, match=r"\(ZeroDivisionError: division by zero\)"):
        drill.require("x", lambda: 1 / 0)

    def check():
        raise BrokenError

    with pytest.raises(PreconditionNotMet, match="whose str"):
        drill.require("x", check)


def test_asynchronous_precondition_is_to_be_awaited_first(drill):
    async def check():
        return True

    for given in (check, check()):
        with pytest.raises(TypeError, match="await the check and pass its outcome"):
            drill.require("x", given)


def test_metrics_are_finite_numbers(drill):
    drill.metric("files", 3)
    drill.metric("size", 1.5, "MB")
    assert drill.metrics == [
        {"name": "files", "value": 3.0, "unit": ""},
        {"name": "size", "value": 1.5, "unit": "MB"},
    ]


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**400])
def test_metric_that_no_file_can_hold_is_refused(drill, value):
    with pytest.raises(ValueError, match="metric 'x'"):
        drill.metric("x", value)
    assert drill.metrics == []


@pytest.mark.parametrize("value", [True, "5", None, timedelta(1), Fraction(1, 2)])
def test_metric_that_is_no_number_is_refused(drill, value):
    with pytest.raises(TypeError, match="is no number"):
        drill.metric("x", value)


def test_notes_findings_participants_and_events(drill):
    drill.note("all hands")
    drill.note(Broken())
    drill.finding("verify backups", owner="platform", due=date(2026, 4, 1))
    drill.finding("automate")
    drill.participant("Kim", "incident lead")
    drill.participant("Lee")
    drill.event("primary isolated", 5)
    assert drill.notes == ["all hands", "<Broken whose str() raised RuntimeError>"]
    assert drill.findings == [
        {"text": "verify backups", "owner": "platform", "due": "2026-04-01"},
        {"text": "automate", "owner": None, "due": None},
    ]
    assert drill.participants == [
        {"name": "Kim", "role": "incident lead"},
        {"name": "Lee", "role": ""},
    ]
    assert drill.timeline.events()[0]["detail"] == "5"


def test_hostile_text_is_made_storable_everywhere(drill):
    bad = "\udc80" + "x" * 1_000_000
    with drill.step(bad, owner=bad):
        drill.metric(bad, 1, bad)
    drill.note(bad)
    drill.finding(bad, owner=bad, due=bad)
    drill.participant(bad, bad)
    drill.event(bad, bad)
    drill.rto.assume(bad, "1s")
    drill.rto.not_applicable(bad)
    drill.rpo.not_applicable(bad)
    with pytest.raises(PreconditionNotMet) as caught:
        drill.require(bad, check=False)
    with drill.rto.outage(bad):
        pass
    texts = [str(caught.value), *drill.notes, drill.rto.outages[0].name, drill.rto.assumed[0][0]]
    texts += [drill.rto.reason_not_applicable, drill.rpo.reason_not_applicable]
    for record in (
        *drill.steps,
        *drill.metrics,
        *drill.findings,
        *drill.participants,
        *drill.timeline.events(),
    ):
        texts += [value for value in record.values() if isinstance(value, str)]
    assert len(texts) > 20
    for text in texts:
        text.encode()
        assert len(text) < 11_000


def test_time_passes_on_the_drills_clock(drill, clock):
    before = clock.seconds
    drill.sleep("1m30s")
    drill.sleep(timedelta(seconds=1))
    assert clock.seconds == before + 91
    with pytest.raises(TypeError, match="has no unit"):
        drill.sleep(5)


@pytest.mark.asyncio
async def test_sleep_would_block_the_loop(drill):
    with pytest.raises(DrillUsageError, match=r"await drill.clock.sleep\(seconds\)"):
        drill.sleep("1s")


def test_restart_begins_again(drill, clock):
    with drill.step("x"):
        drill.metric("x", 1)
    drill.note("x")
    drill.finding("x")
    drill.participant("x")
    kept = drill.steps
    clock.advance(5)
    drill._restart()
    assert drill.timeline.events() == []
    for notes in (drill.steps, drill.metrics, drill.notes, drill.findings, drill.participants):
        assert notes == []
    assert len(kept) == 1  # what was handed out before stays as it was
    assert drill.timeline.started.at == clock.seconds


def test_nothing_can_be_required_after_the_disaster(drill):
    drill.rto.disaster()
    with pytest.raises(DrillUsageError, match=r"after the disaster: .* assert it instead"):
        drill.require("peer", check=True)


def test_a_full_timeline_keeps_what_a_verdict_rests_on(drill):
    with drill.rto.outage("power"):
        for _ in range(EVENT_LIMIT + 5):
            drill.event("tick")
        drill.rto.detected()
    events = [event["event"] for event in drill.timeline.events()]
    assert [name for name in events if name != "tick"] == [
        "disaster",
        "detected",
        "recovered",
        "timeline full",
    ]
    assert len(events) == EVENT_LIMIT + 3
