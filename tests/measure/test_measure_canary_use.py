"""The canary: its warm-up, its wrong uses, and how it ends."""

import asyncio
import functools

import pytest
from canary_store import Store, run

from pytest_drdrill import (
    Canary,
    Drill,
    DrillUsageError,
    NotRecovered,
    PreconditionNotMet,
    SimulatedWorld,
    VirtualClock,
)


def refused(error, match):
    """For a ``PreconditionNotMet``, which pytest would take for a skip."""
    return pytest.raises(error, match=match)


def canary_of(drill, store, **settings):
    return Canary(drill, **{"write": store.write, "read_all": store.read_all, **settings})


# -- the warm-up ------------------------------------------------------------------------------


def test_block_begins_when_writes_in_a_row_were_acknowledged_and_read_back():
    async def body(drill, store):
        seen = []

        def read_all():  # what was written shows half a second later
            seen.append(store.age)
            return store.data if store.age >= 1.5 else {}

        async with canary_of(drill, store, warm_up=5, read_all=read_all):
            begun = store.age
        assert seen[0] == 1.2
        return begun

    # The fourth one is refused: the five that count follow it.
    _, _, begun = run(body, refuses=[(0.15, 1)])
    assert begun == 1.5


@pytest.mark.parametrize(
    ("settings", "behaviour", "message"),
    [
        (
            {},
            {"refuses": [(0, 99)]},
            r"met: canary: .* 3 writes in a row within 10s, but 0 of 20\d; .*Refused.*: nobody",
        ),
        (
            {"warm_up_timeout": "1s", "warm_up": 30},
            {},
            r"did not acknowledge 30 writes in a row within 1s, but 20 of 2\d$",
        ),
        ({"read_all": dict}, {}, r"canary: read_all\(\) did not give back what was written"),
        (
            {"read_all": lambda: 1 / 0},
            {},
            r"read_all\(\) did not .* 10s; the last attempt raised ZeroDivisionError: division by",
        ),
    ],
)
def test_system_that_was_not_seen_to_work_is_no_precondition(settings, behaviour, message):
    async def body(drill, store):
        with refused(PreconditionNotMet, message):
            async with canary_of(drill, store, **settings):
                pytest.fail("the block must not begin")

    drill, store, _ = run(body, **behaviour)
    assert drill.timeline.events()[-1]["event"] == "precondition not met"
    assert store.under_way == 0


def test_after_a_disaster_a_drill_is_not_called_off_any_more():
    async def body(drill, store):
        with drill.rto.outage():
            pass
        with refused(NotRecovered, "^canary: the system did not acknowledge 3 writes"):
            async with canary_of(drill, store):
                pytest.fail("the block must not begin")

    run(body, refuses=[(0, 99)])


def test_reading_that_is_no_reading_is_told_at_once():
    async def body(drill, store):
        for wrong in ("ab", 7, ["ab"], [1], [("a", "b", "c")]):
            with pytest.raises(TypeError, match=r"read_all\(\) gave .*it has to give a mapping"):
                async with canary_of(drill, store, read_all=lambda wrong=wrong: wrong):
                    pytest.fail("the block must not begin")
        assert store.age < 1

    run(body)


# -- wrong uses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"write": 3}, TypeError, r"canary\(write=...\) takes a function of a key and its value"),
        ({"write": lambda key: 1}, TypeError, "can't be called so: too many positional"),
        ({"read_all": None}, TypeError, r"canary\(read_all=...\) takes a function of no argument"),
        ({"read_all": lambda key: 1}, TypeError, "can't be called so: missing a required"),
        ({"interval": 5}, TypeError, r"canary\(interval=...\): 5 has no unit; write"),
        ({"interval": "0s"}, ValueError, r"canary\(interval='0s'\) must be above zero"),
        ({"timeout": "soon"}, ValueError, r"canary\(timeout=...\): 'soon' is no duration"),
        ({"timeout": "0s"}, ValueError, "must be above zero"),
        ({"warm_up_timeout": "0s"}, ValueError, "must be above zero"),
        ({"read_timeout": "0s"}, ValueError, "must be above zero"),
        ({"patience": "0s"}, ValueError, "must be above zero"),
        ({"hold": "-1s"}, ValueError, r"canary\(hold=...\): '-1s' is no duration"),
        ({"concurrency": 0}, ValueError, r"canary\(concurrency=0\) must be 1 or more"),
        ({"concurrency": 1.5}, TypeError, r"canary\(concurrency=...\) takes a whole number"),
        ({"concurrency": True}, TypeError, "takes a whole number, not True"),
        ({"warm_up": 0}, ValueError, "must be 1 or more"),
        ({"indeterminate": "x"}, TypeError, "takes classes of exceptions, not 'x'"),
        ({"indeterminate": [KeyboardInterrupt]}, TypeError, "takes classes of exceptions"),
        ({"name": 5}, TypeError, r"canary\(name=...\) takes a text, not 5"),
        ({"name": " "}, ValueError, "needs a name to show"),
    ],
)
def test_arguments_are_checked(settings, error, message):
    with SimulatedWorld() as world:
        drill = Drill(clock=world.clock)
        with pytest.raises(error, match=message) as raised:
            canary_of(drill, Store(world.clock), **settings)
    assert "\n" not in str(raised.value)


def test_hold_may_be_zero_and_what_is_called_may_be_bound_or_built_in():
    async def body(drill, store):
        write = functools.partial(store.write)
        async with canary_of(drill, store, hold="0s", write=write, read_all=store.data.items):
            pass

    run(body)


def test_each_wrong_use_is_one_sentence():
    async def body(drill, store):
        canary = canary_of(drill, store)
        with pytest.raises(DrillUsageError, match=r"verify\(\) was called before its block"):
            await canary.verify()
        async with canary:
            with pytest.raises(DrillUsageError, match="while it still writes: leave its"):
                await canary.verify()
        with pytest.raises(DrillUsageError, match=r"without a disaster: open rto_timer\.outage"):
            await canary.verify()
        with pytest.raises(DrillUsageError, match="was used already: make a new one"):
            await canary.__aenter__()
        with drill.rto.outage():
            store.refuses.append((store.age, store.age + 1))
            with pytest.raises(DrillUsageError, match="begins after the disaster"):
                await canary_of(drill, store).__aenter__()
        await drill.clock.sleep(1)
        async with (canary := canary_of(drill, store)):
            with drill.rto.outage():
                store.refuses.append((store.age, store.age + 1))
        await canary.verify()
        with pytest.raises(DrillUsageError, match="a second time: keep what the first"):
            await canary.verify()

    run(body)


def test_canary_that_saw_no_acknowledged_write_has_nothing_to_verify():
    async def body(drill, store):
        canary = canary_of(drill, store)
        with refused(PreconditionNotMet, "did not acknowledge"):
            await canary.__aenter__()
        with pytest.raises(DrillUsageError, match="saw no acknowledged write"):
            await canary.verify()

    run(body, refuses=[(0, 99)])


# -- the end ----------------------------------------------------------------------------------


def test_failed_body_is_not_kept_waiting_and_what_is_under_way_is_indeterminate():
    async def body(drill, store):
        canary = canary_of(drill, store)

        async def fails():
            async with canary:
                await drill.clock.sleep(1.12 - store.age)
                with drill.rto.outage():
                    await drill.clock.sleep(1)
                    raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fails()
        assert not canary.is_running
        assert not drill.rto.on_disaster

    drill, store, _ = run(body, hangs=[(1, 99)])
    assert store.age == 2.12
    assert store.under_way == 0
    drill.rpo.survived(store.data)
    found = drill.rpo.ledger.loss()
    assert (len(found.lost), len(found.indeterminate)) == (0, 2)  # one was given up at 2 s


def test_cancelled_drill_leaves_nothing_running():
    async def body(drill, store):
        async def inner():
            async with canary_of(drill, store):
                await drill.clock.sleep(1 - store.age)
                drill.rto.disaster()  # and the end of the block waits

        task = asyncio.create_task(inner())
        await drill.clock.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    _, store, _ = run(body, refuses=[(1, 99)])
    assert store.age == 5


def test_stop_ends_one_that_was_left_running_and_no_other():
    async def body(drill, store):
        canary = canary_of(drill, store)
        await canary.stop()
        await canary.__aenter__()
        assert canary.is_running
        assert canary.loop is asyncio.get_running_loop()
        await canary.stop()
        await canary.stop()
        assert not canary.is_running
        assert canary.loop is None

        async with (canary := canary_of(drill, store)):
            drill.rto.disaster()
            store.refuses.append((store.age, 99))
            await canary.stop()
            stopped = store.age
        assert store.age == stopped  # what writes no more sees no recovery
        with pytest.raises(NotRecovered):
            await canary.verify()

    run(body)


def test_verdict_of_a_writer_is_told_at_the_end_of_the_block():
    async def body(drill, store):
        async def write(key, value):
            if store.age >= 1:
                pytest.fail("the writer has seen what must not be")
            await store.write(key, value)

        async def drills():
            async with canary_of(drill, store, write=write):
                await drill.clock.sleep(2 - store.age)
                drill.rto.disaster()

        with pytest.raises(pytest.fail.Exception, match="what must not be"):
            await drills()
        assert store.age == 2  # nobody waits for a recovery

    run(body)


def test_clock_that_fails_the_schedule_is_told_at_the_end_of_the_block():
    class Clock(VirtualClock):
        async def sleep(self, seconds):
            if self.monotonic() >= 1 and "sends" in asyncio.current_task().get_name():
                raise LookupError("no more time")
            await super().sleep(seconds)

    async def body(drill, store):
        async def drills():
            async with canary_of(drill, store):
                await drill.clock.sleep(3 - store.age)

        with pytest.raises(LookupError, match="no more time"):
            await drills()

    run(body, clock=Clock)


def test_reading_that_hangs_or_fails_is_told_and_can_be_tried_again():
    async def body(drill, store):
        ways = ["works", "hangs", "fails", "works"]

        async def read_all():
            way = ways.pop(0)
            if way == "hangs":
                await drill.clock.sleep(999)
            if way == "fails":
                raise LookupError("no such table")
            return store.data

        async with canary_of(drill, store, read_all=read_all, read_timeout="7s") as canary:
            await drill.clock.sleep(1 - store.age)
            with drill.rto.outage():
                pass
        with pytest.raises(TimeoutError, match=r"canary: read_all\(\) gave no answer within 7 s"):
            await canary.verify()
        with pytest.raises(LookupError):
            await canary.verify()
        return await canary.verify()

    drill, _, result = run(body, refuses=[(1, 2)])
    assert not result.lost
    assert len([e for e in drill.timeline.events() if e["event"] == "recovered"]) == 1


def test_verdict_on_a_dead_system_is_not_hidden_by_a_reading_that_fails():
    async def body(drill, store):
        def read_all():
            if store.age >= 1:
                raise ConnectionRefusedError
            return store.data

        async with canary_of(drill, store, read_all=read_all, patience="3s") as canary:
            await drill.clock.sleep(1 - store.age)
            with drill.rto.outage():
                pass
        with pytest.raises(NotRecovered) as raised:
            await canary.verify()
        assert type(raised.value.__cause__) is ConnectionRefusedError

    run(body, refuses=[(1, 99)])


def test_drill_that_never_ends_does_not_write_for_ever(monkeypatch):
    import pytest_drdrill.measure.write_stream as stream
    from pytest_drdrill import DeadlockError

    monkeypatch.setattr(stream, "WRITE_LIMIT", 100)

    async def waits(drill, store):
        async with canary_of(drill, store):
            await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlockError):
        run(waits)

    async def ends(drill, store):
        with pytest.raises(DrillUsageError, match="has sent 100 writes and was still not told"):
            async with canary_of(drill, store):
                await drill.clock.sleep(60)

    run(ends)


def test_same_drill_writes_the_same_record_each_time():
    from canary_store import watched

    from pytest_drdrill.evidence.measured import measured

    def record():
        drill, store, _ = run(
            watched(lasts=9, concurrency=3), refuses=[(2, 3)], hangs=[(1, 2), (4, 7.77)]
        )
        return measured(drill), store.sent, list(store.data)

    assert record() == record()
