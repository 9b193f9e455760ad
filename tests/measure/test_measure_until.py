"""``until`` and ``wait_until``: a service with a history of ups and downs, watched by hand."""

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hand_clock import START, HandClock, Service
from pytest_drdrill import (
    DisasterNotObserved,
    Drill,
    DrillUsageError,
    NotRecovered,
    ObjectiveNotMeasured,
    Objectives,
    RTOExceeded,
)


def seconds(number):
    return None if number is None else timedelta(seconds=number)


def kinds(drill):
    return [type(breach) for breach in drill.judge()]


def watched(drill, service, **settings):
    """One outage from now on, watched by the blocking twin."""
    with drill.rto.outage() as outage:
        drill.rto.wait_until(service.check, **settings)
    return outage


# -- against the definition --------------------------------------------------------------------


def expected(service, interval, hold, timeout):
    """RTA, resolution and hold of a service, looked at on a fixed rate; None: not in time."""
    begun, failed, began = 0, 0, None
    while True:
        ended = begun + service.takes
        if service.up_at(ended):
            if began is None:
                began = ended
            if ended - began >= hold and ended <= timeout:
                return began, began - failed, ended - began
        else:
            began, failed = None, begun
        if ended >= timeout:
            return None
        begun = max(ended, min(begun + interval, timeout))


downs = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 8)).map(lambda pair: (pair[0], sum(pair))),
    max_size=4,
)


@given(downs, st.sampled_from([0, 1, 3]), st.integers(1, 4), st.integers(0, 6), st.integers(1, 50))
def test_recovery_is_the_start_of_the_run_that_held(down, takes, interval, hold, timeout):
    clock = HandClock()
    drill = Drill(clock=clock)
    service = Service(clock, down=down, takes=takes)
    known = expected(service, interval, hold, timeout)
    settings = {
        "interval": seconds(interval),
        "hold": seconds(hold),
        "timeout": seconds(timeout),
    }
    if known is None:
        with pytest.raises(NotRecovered), drill.rto.outage() as outage:
            drill.rto.wait_until(service.check, **settings)
        assert outage.actual is None
        return
    outage = watched(drill, service, **settings)
    recovered, resolution, held = known
    assert outage.actual == seconds(recovered)
    assert outage.resolution == resolution
    assert outage.held == held >= hold
    # The service can have come back anywhere in the resolution, and was up from then on.
    assert all(
        service.up_at(moment)
        for moment in service.looks_ended
        if recovered <= moment <= recovered + held
    )
    assert outage.down_seen == any(not service.up_at(moment) for moment in service.looks_ended)


@given(downs, st.integers(1, 4), st.integers(0, 6))
def test_both_twins_measure_the_same(down, interval, hold):
    found = []
    for twin in ("wait_until", "until"):
        clock = HandClock()
        drill = Drill(Objectives(rto="40s"), clock=clock)
        service = Service(clock, down=down)
        settings = {"interval": seconds(interval), "hold": seconds(hold)}
        with drill.rto.outage() as outage:
            if twin == "wait_until":
                drill.rto.wait_until(service.check, **settings)
            else:
                asyncio.run(drill.rto.until(service.check_async, **settings))
        found.append((outage.recovered_at, outage.resolution, outage.held, outage.down_seen))
        assert service.looks
    assert found[0] == found[1]


# -- one thing at a time -----------------------------------------------------------------------


def test_exit_adds_nothing_to_what_a_watch_fixed(drill, clock):
    service = Service(clock, down=[(0, 3)])
    with drill.rto.outage() as outage:
        drill.rto.wait_until(service.check, interval="1s")
        assert drill.rto.elapsed == seconds(3)
        clock.advance(100)  # the drill goes on to verify this and that
        assert drill.rto.elapsed == seconds(3)
    assert outage.actual == seconds(3)
    assert outage.resolution == 1
    events = [(event["at_s"], event["event"]) for event in drill.timeline.events()]
    assert events == [(0, "disaster"), (0, "down"), (3, "recovered")]


def test_flapping_is_one_outage_up_to_the_run_that_held(drill, clock):
    service = Service(clock, down=[(0, 2), (4, 6), (7, 8)])
    outage = watched(drill, service, interval="1s", hold="5s")
    assert outage.actual == seconds(8)
    assert outage.held == 5
    assert len(drill.rto.outages) == 1
    assert "held" in [event["event"] for event in drill.timeline.events()]


def test_hold_of_the_promise_is_the_default(promised, clock):
    drill = promised(rto="1m", hold="4s")
    outage = watched(drill, Service(clock, down=[(0, 1)]), interval="1s")
    assert outage.held == 4
    assert drill.judge() == []


def test_smaller_hold_than_promised_is_not_measured(promised, clock):
    drill = promised(rto="1m", hold="4s")
    watched(drill, Service(clock, down=[(0, 1)]), interval="1s", hold="3s")
    assert kinds(drill) == [ObjectiveNotMeasured]
    assert "has to hold for 4s" in str(drill.judge()[0])


def test_hold_without_repeated_checks_is_not_measured(promised, clock):
    drill = promised(rto="1m", hold="4s")
    with drill.rto.outage():
        clock.advance(1)
    assert kinds(drill) == [ObjectiveNotMeasured]


def test_later_watch_can_only_prolong_an_outage(drill, clock):
    service = Service(clock, down=[(0, 3), (5, 9)])
    with drill.rto.outage() as outage:
        drill.rto.wait_until(service.check, interval="1s")
        assert outage.actual == seconds(3)
        clock.advance(2)
        drill.rto.wait_until(service.check, interval="1s", hold="2s")
    assert outage.actual == seconds(9)
    assert outage.held == 0  # the first watch asked for no hold


def test_later_watch_that_gives_up_takes_the_recovery_back(drill, clock):
    service = Service(clock, down=[(0, 3), (5, 99)])
    with drill.rto.outage() as outage:
        drill.rto.wait_until(service.check, interval="1s")
        clock.advance(2)
        with pytest.raises(NotRecovered):
            drill.rto.wait_until(service.check, interval="1s", timeout="4s")
    assert outage.actual is outage.held is outage.resolution is None


def test_of_two_things_watched_the_later_recovery_counts(drill, clock):
    web, database = Service(clock, down=[(0, 3)]), Service(clock, down=[(0, 7)])
    with drill.rto.outage() as outage:
        drill.rto.wait_until(database.check, interval="1s")
        drill.rto.wait_until(web.check, interval="1s")
    assert outage.actual == seconds(7)
    assert drill.judge() == []


def test_watch_within_a_watch_counts_when_it_ends_first(drill, clock):
    web, database = Service(clock, down=[(0, 3)]), Service(clock, down=[(0, 7)])

    def check():
        up = web.check()
        if clock.seconds == START + 5:
            drill.rto.wait_until(database.check, interval="1s")
        return up

    with drill.rto.outage() as outage:
        drill.rto.wait_until(check, interval="1s", hold="9s")
    assert outage.actual == seconds(7)  # the outer run began earlier, at 3
    assert outage.held == 0


@pytest.mark.asyncio
async def test_things_watched_at_once_share_the_outage(drill, clock):
    recovered = {"web": asyncio.Event(), "database": asyncio.Event()}

    async def check(name):
        clock.advance(1)
        await asyncio.sleep(0)
        if clock.seconds > START + 10:
            recovered[name].set()
        return recovered[name].is_set()

    with drill.rto.outage() as outage:
        await asyncio.gather(
            drill.rto.until(lambda: check("web")), drill.rto.until(lambda: check("database"))
        )
    assert outage.actual > seconds(10)
    assert outage.recovered_at == max(
        START + event["at_s"] for event in drill.timeline.events() if event["event"] == "recovered"
    )
    assert drill.judge() == []


# -- the fault that missed ---------------------------------------------------------------------


def test_check_that_never_fails_means_that_the_fault_missed(promised, clock):
    drill = promised(rto="1m")
    outage = watched(drill, Service(clock), interval="1s", hold="5s")
    assert outage.down_seen is False
    assert kinds(drill) == [DisasterNotObserved]


def test_service_that_should_not_go_down_had_no_outage(promised, clock):
    drill = promised(rto="1m")
    service = Service(clock, takes=2)
    with drill.rto.outage(expect_downtime=False) as outage:
        clock.advance(3)
        drill.rto.wait_until(service.check, interval="1s", hold="5s")
    assert outage.actual == timedelta(0)
    assert outage.resolution == 5  # from the disaster to the first good look
    assert drill.judge() == []


def test_service_that_went_down_all_the_same_is_measured(promised, clock):
    drill = promised(rto="3s")
    service = Service(clock, down=[(0, 4)])
    with drill.rto.outage(expect_downtime=False) as outage:
        drill.rto.wait_until(service.check, interval="1s")
    assert outage.actual == seconds(4)
    assert kinds(drill) == [RTOExceeded]


def test_service_found_down_once_had_an_outage_whatever_a_later_watch_sees(drill, clock):
    steady = Service(clock)
    with drill.rto.outage(expect_downtime=False) as outage:
        with pytest.raises(NotRecovered):
            drill.rto.wait_until(lambda: False, interval="1s", timeout="3s")
        drill.rto.wait_until(steady.check, interval="1s")
    assert outage.actual == seconds(3)


def test_down_seen_by_any_watch_of_the_outage_counts(drill, clock):
    down, steady = Service(clock, down=[(0, 2)]), Service(clock)
    with drill.rto.outage() as outage:
        drill.rto.wait_until(down.check, interval="1s")
        drill.rto.wait_until(steady.check, interval="1s")
    assert outage.down_seen
    assert drill.judge() == []


# -- patience ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rto", "patience"),
    [
        (None, 60),  # nothing promised
        ("1s", 11),  # at least ten seconds past the objective
        ("30s", 60),  # as long again
        ("15m", 960),  # at most a minute past it
    ],
)
def test_default_patience(promised, clock, rto, patience):
    drill = promised(rto=rto)
    service = Service(clock, down=[(0, 10_000)])
    kind = NotRecovered if rto is None else RTOExceeded
    with pytest.raises(kind), drill.rto.outage():
        drill.rto.wait_until(service.check, interval="7s")
    assert clock.seconds == START + patience
    assert service.looks[-1] == patience  # the last look is at the deadline itself


def test_default_patience_lasts_ten_seconds_whatever_went_before(promised, clock):
    drill = promised(rto="1s")
    drill.rto.disaster()
    clock.advance(100)
    with pytest.raises(RTOExceeded):
        drill.rto.wait_until(lambda: False, interval="1s")
    assert clock.seconds == START + 110


def test_broken_objective_is_measured_too(promised, clock):
    drill = promised(rto="3s")
    outage = watched(drill, Service(clock, down=[(0, 8)]), interval="1s")
    assert outage.actual == seconds(8)
    assert kinds(drill) == [RTOExceeded]


def test_run_that_began_in_time_is_given_its_hold(promised, clock):
    drill = promised(rto="30s")
    outage = watched(drill, Service(clock, down=[(0, 59)]), interval="1s", hold="20s")
    assert outage.actual == seconds(59)
    assert outage.held == 20


def test_explicit_timeout_is_for_the_whole_wait(promised, clock):
    drill = promised(rto="30s")
    service = Service(clock, down=[(0, 9)])
    with pytest.raises(NotRecovered) as caught, drill.rto.outage():
        drill.rto.wait_until(service.check, interval="1s", hold="20s", timeout="10s")
    assert "not recovered 10s after the disaster" in str(caught.value)
    assert clock.seconds == START + 10


def test_timeout_past_the_objective_is_a_broken_objective(promised, clock):
    drill = promised(rto="5s")
    with pytest.raises(RTOExceeded) as caught, drill.rto.outage():
        drill.rto.wait_until(lambda: False, interval="1s", timeout="6s")
    assert caught.value.target == seconds(5)
    assert caught.value.actual is None
    assert "past the RTO of 5s" in str(caught.value)


def test_assumed_time_counts_towards_a_broken_objective(promised, clock):
    drill = promised(rto="5m")
    drill.rto.assume("decide", "4m59s")
    with pytest.raises(RTOExceeded), drill.rto.outage():
        drill.rto.wait_until(lambda: False, interval="1s", timeout="1s")


def test_outage_with_its_own_objective_waits_for_that(promised, clock):
    drill = promised(rto="15m")
    with pytest.raises(RTOExceeded), drill.rto.outage(rto="20s"):
        drill.rto.wait_until(lambda: False, interval="1s")
    assert clock.seconds == START + 40


def test_what_the_last_check_raised_is_told(drill):
    def check():
        raise ConnectionError("refused \udc80")

    with pytest.raises(NotRecovered) as caught, drill.rto.outage():
        drill.rto.wait_until(check, interval="1s", timeout="2s")
    assert "the last check raised ConnectionError: refused \\udc80" in str(caught.value)
    last = drill.timeline.events()[-1]
    assert last["event"] == "gave up waiting"
    assert "ConnectionError" in last["detail"]


def test_error_without_a_text_harms_nothing(drill):
    class SilentError(Exception):
        def __str__(self):
            raise ValueError

    def check():
        raise SilentError

    with pytest.raises(NotRecovered, match="whose str"), drill.rto.outage():
        drill.rto.wait_until(check, interval="1s", timeout="2s")


def test_watch_that_gave_up_leaves_nothing_recovered(drill, clock):
    with drill.rto.outage() as outage:
        with pytest.raises(NotRecovered):
            drill.rto.wait_until(lambda: False, interval="1s", timeout="2s")
        clock.advance(1)
    assert outage.actual is None
    assert not drill.rto.in_outage
    assert kinds(drill) == [NotRecovered]
    assert "no watched check held" in str(drill.judge()[0])


def test_other_means_recover_after_a_watch_that_gave_up(drill, clock):
    with drill.rto.outage() as outage:
        with pytest.raises(NotRecovered):
            drill.rto.wait_until(lambda: False, interval="1s", timeout="2s")
        clock.advance(5)  # plan B
        drill.rto.recovered()
        clock.advance(5)
    assert outage.actual == seconds(7)
    assert drill.judge() == []


# -- usage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"interval": "0s"}, ValueError, "would spin"),
        ({"interval": 1}, TypeError, "has no unit"),
        ({"hold": "soon"}, ValueError, "is no duration"),
        ({"timeout": -1}, TypeError, "has no unit"),
    ],
)
def test_bad_settings_are_refused(drill, settings, kind, message):
    drill.rto.disaster()
    with pytest.raises(kind, match=message):
        drill.rto.wait_until(lambda: True, **settings)
    drill.rto.recovered()
    assert drill.judge() == []


@pytest.mark.asyncio
async def test_blocking_twin_is_an_error_in_an_async_drill(drill):
    drill.rto.disaster()
    with pytest.raises(DrillUsageError, match=r"await rto_timer.until\(...\)"):
        drill.rto.wait_until(lambda: True)


def test_asynchronous_check_of_the_blocking_twin_is_an_error(drill):
    async def check():
        return True

    drill.rto.disaster()
    with pytest.raises(TypeError, match="plain check"):
        drill.rto.wait_until(check)


@pytest.mark.asyncio
async def test_check_that_hangs_is_cancelled_when_patience_ends(drill):
    cancelled = []

    async def check():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(NotRecovered, match="TimeoutError"), drill.rto.outage() as outage:
        await drill.rto.until(check, timeout="0s")  # the one look that is left has a millisecond
    assert cancelled == [True]
    assert outage.down_seen


@pytest.mark.asyncio
async def test_cancelled_watch_is_no_failed_check(drill):
    started = asyncio.Event()

    async def check():
        started.set()
        await asyncio.Event().wait()

    async def body():
        with drill.rto.outage():
            await drill.rto.until(check)

    task = asyncio.create_task(body())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (outage,) = drill.rto.outages
    assert outage.actual is None
    assert outage.down_seen is None  # no look ever ended
    assert kinds(drill) == [NotRecovered]


@pytest.mark.asyncio
async def test_check_that_hangs_does_not_use_up_all_patience(drill):
    looks = []

    async def check():
        looks.append(True)
        if len(looks) == 1:
            await asyncio.Event().wait()  # a frozen server takes the request and says nothing
        return True

    with drill.rto.outage() as outage:
        await drill.rto.until(check, interval="1ms", check_timeout="1ms")
    assert len(looks) == 2
    assert outage.down_seen
    assert outage.recovered_at is not None


class Unspeakable:
    def __str__(self):
        raise OSError


def test_label_that_can_not_be_told_breaks_nothing(drill):
    drill.require(Unspeakable(), True)
    drill.rto.assume(Unspeakable(), "1s")
    assert drill.rto.assumed[0][0] == "<Unspeakable whose str() raised OSError>"


def test_check_has_to_be_one(drill):
    with drill.rto.outage():
        with pytest.raises(TypeError, match=r"wait_until\(\) takes a check that it can call"):
            drill.rto.wait_until(True)
        with pytest.raises(TypeError, match=r"until\(\) takes a check that it can call"):
            drill.rto.until("up")


def test_what_a_check_raised_is_told_on_one_line(drill, clock):
    def check():
        clock.advance(100)
        raise OSError("\x1b]0;title\x07\x1b[2K\rall passed")

    with pytest.raises(NotRecovered) as failure, drill.rto.outage():
        drill.rto.wait_until(check, timeout="1s")
    assert str(failure.value).isprintable()


def test_watch_that_was_never_awaited_says_so(drill):
    with drill.rto.outage():
        drill.rto.until(lambda: True).close()
    (breach,) = drill.judge()
    assert "write `await rto_timer.until(...)`" in str(breach)


def test_every_watch_that_was_begun_has_a_say(drill, clock):
    with drill.rto.outage():
        drill.rto.wait_until(Service(clock, down=[(0, 3)]).check)
        drill.rto.until(lambda: True).close()  # never awaited
    (breach,) = drill.judge()
    assert isinstance(breach, NotRecovered)
    assert "not awaited to its end" in str(breach)


def test_watch_that_was_cut_off_leaves_the_outage_unrecovered(drill):
    async def body():
        with drill.rto.outage():
            await drill.rto.until(Service(drill.clock, down=[(0, 3)]).check)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await drill.rto.until(asyncio.Event().wait, timeout="10m")

    asyncio.run(body())
    assert [type(breach) for breach in drill.judge()] == [NotRecovered]


def test_one_that_gave_up_counts_in_whatever_order_they_end(drill, clock):
    with drill.rto.outage():
        web, database = drill.rto.until(lambda: True), drill.rto.until(lambda: False, timeout="1s")
        with pytest.raises(NotRecovered):
            asyncio.run(database)
        asyncio.run(web)
    assert [type(breach) for breach in drill.judge()] == [NotRecovered]


def test_later_watch_makes_up_for_one_that_gave_up(drill, clock):
    with drill.rto.outage():
        with pytest.raises(NotRecovered):
            drill.rto.wait_until(lambda: False, timeout="1s")
        drill.rto.wait_until(lambda: True)
    assert kinds(drill) == []


@pytest.mark.parametrize(("slept", "unseen"), [(0.5, 0), (1800, 1)])
def test_outage_could_hide_where_nobody_looked(slept, unseen):
    clock = HandClock()
    drill = Drill(Objectives(rto="1s"), clock=clock)
    with drill.rto.outage(expect_downtime=False):
        clock.advance(slept)
        drill.rto.wait_until(lambda: True)
    assert [type(breach) for breach in drill.judge()] == [ObjectiveNotMeasured] * unseen


def test_looks_too_far_apart_hide_an_outage_too():
    clock = HandClock()
    drill = Drill(Objectives(rto="1m"), clock=clock)
    with drill.rto.outage(expect_downtime=False) as outage:
        drill.rto.wait_until(lambda: True, interval="1h", hold="1h")
    assert outage.resolution >= 3600
    assert [type(breach) for breach in drill.judge()] == [ObjectiveNotMeasured]


def test_one_check_has_its_own_patience(drill, clock):
    """It is cancelled by then: without it, a frozen server would use up all of it."""
    looks = []

    async def frozen_at_first():
        looks.append(clock.monotonic())
        if len(looks) == 1:
            await asyncio.Event().wait()
        return True

    async def body():
        with drill.rto.outage():
            watch = drill.rto.until(frozen_at_first, check_timeout="10ms", timeout="1h")
            await asyncio.wait_for(watch, 30)

    asyncio.run(body())
    assert len(looks) == 2
