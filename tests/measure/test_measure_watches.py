"""Several watches of one outage: which of them has the say."""

from datetime import timedelta

import pytest
from canary_store import run
from hypothesis import given
from hypothesis import strategies as st

from hand_clock import HandClock
from pytest_drdrill import Canary, Drill, NotRecovered
from pytest_drdrill.measure.outage import Recovery


@given(st.lists(st.tuples(st.sampled_from(["begin", "hold", "give up"]), st.integers(0, 9))))
def test_outage_is_measured_by_the_latest_recovery_that_nobody_has_taken_back(actions):
    drill = Drill(clock=HandClock())
    outage, watches = drill.rto.disaster(), drill.rto.watches
    under_way, ended = [], []  # those that ended: begun as which, held or not, its recovery
    for action, which in actions:
        drill.clock.advance(1)
        now = drill.clock.monotonic()
        if action == "begin":
            under_way.append(watches.attend(outage))
        elif under_way:
            place = under_way.pop(which % len(under_way))
            watches.looked(outage, passed=False)
            if action == "hold":
                watches.settle(outage, place, Recovery(now, 0.5, 0.0), 0.0)
            else:
                watches.gave_up(outage, now, None)
            begun = len(under_way) + len(ended) + 1
            ended.append((place, begun, action, now))
    last = max((n for n, each in enumerate(ended) if each[2] == "give up"), default=-1)
    since = ended[last + 1 :]
    if last >= 0:
        # The say of one that gave up ends with a watch that was begun after that, and held.
        mended = [n for n, (place, *_) in enumerate(since) if place > ended[last][1]]
        since = since if mended else []
    moments = [now for _, _, _, now in since]
    if under_way or not moments:
        assert outage.actual is None
    else:
        assert outage.actual == timedelta(seconds=max(moments) - outage.disaster.at)


def test_second_until_makes_up_for_the_first_beside_a_canary():
    async def body(drill, store):
        async with Canary(drill, write=store.write, read_all=store.read_all) as canary:
            await drill.clock.sleep(1 - store.age)
            with drill.rto.outage():
                with pytest.raises(NotRecovered):
                    await drill.rto.until(lambda: store.age >= 20, interval="1s", timeout="5s")
                await drill.rto.until(lambda: store.age >= 20, interval="1s", timeout="1m")
        return await canary.verify()

    drill, _, result = run(body, refuses=[(1, 4)])
    assert result.outage == timedelta(seconds=3)
    assert drill.rto.outages[0].actual == timedelta(seconds=19)
    assert drill.judge() == []


def test_canary_that_watched_all_along_makes_up_for_nobody():
    async def body(drill, store):
        async with Canary(drill, write=store.write, read_all=store.read_all) as canary:
            await drill.clock.sleep(1 - store.age)
            with drill.rto.outage(), pytest.raises(NotRecovered):
                await drill.rto.until(lambda: False, interval="1s", timeout="5s")
        return await canary.verify()

    drill, _, _ = run(body, refuses=[(1, 4)])
    assert drill.rto.outages[0].actual is None
    assert [type(each) for each in drill.judge()] == [NotRecovered]
