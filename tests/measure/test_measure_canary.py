"""The canary: what it says of an outage and of a loss, in virtual time."""

import asyncio
import math
from collections import Counter
from datetime import timedelta

import pytest
from canary_store import run, watched

from pytest_drdrill import (
    Canary,
    DisasterNotObserved,
    IndeterminateWriteError,
    NotRecovered,
    ObjectiveNotMeasured,
    RPOExceeded,
    RTOExceeded,
    VirtualClock,
)


def seconds(number):
    return timedelta(seconds=number)


def kinds(drill):
    return [type(breach) for breach in drill.judge()]


def number(key):
    return int(key.rpartition("-")[2])


# -- the outage -------------------------------------------------------------------------------


def test_outage_runs_from_the_disaster_to_the_first_write_that_was_acknowledged_again():
    drill, _, result = run(watched(), refuses=[(1, 4)], objectives={"rto": "3s", "rpo": "0s"})
    assert result.outage == seconds(3) == drill.rto.elapsed
    (outage,) = drill.rto.outages
    assert outage.resolution == pytest.approx(0.05)
    assert outage.down_seen is True
    # One before the disaster, and none since: the gap is longer than the outage.
    assert result.longest_gap == seconds(3.05)
    assert (result.acknowledged, result.failed, result.indeterminate) == (21, 60, 0)
    assert drill.rpo.data_loss == seconds(0)
    assert kinds(drill) == []


def test_gap_of_before_the_disaster_is_none_of_it():
    _, _, result = run(watched(), refuses=[(0.3, 0.9), (1, 1.2)])
    assert result.longest_gap == seconds(0.25)


def test_broken_promises_are_told_apart_from_kept_ones():
    drill, _, _ = run(watched(), refuses=[(1, 4)], objectives={"rto": "2s"})
    assert kinds(drill) == [RTOExceeded]


def test_exit_of_the_outage_adds_nothing_to_what_the_canary_saw():
    drill, _, result = run(watched(lasts=60), refuses=[(1, 4)])
    assert result.outage == seconds(3) == drill.rto.elapsed


def test_watch_beside_it_can_only_prolong_the_outage():
    async def body(drill, store):
        async with Canary(drill, write=store.write, read_all=store.read_all) as canary:
            await drill.clock.sleep(1 - store.age)
            with drill.rto.outage():
                await drill.rto.until(lambda: store.age >= 7, interval="1s")
        return await canary.verify()

    drill, _, result = run(body, refuses=[(1, 4)])
    assert (result.outage, drill.rto.elapsed) == (seconds(3), seconds(6))
    assert kinds(drill) == []


def test_disaster_without_a_block_is_closed_by_verify():
    async def body(drill, store):
        async with Canary(drill, write=store.write, read_all=store.read_all) as canary:
            await drill.clock.sleep(1 - store.age)
            drill.rto.disaster()
        assert drill.rto.in_outage
        await canary.verify()

    drill, _, _ = run(body, refuses=[(1, 4)], objectives={"rto": "5s"})
    assert not drill.rto.in_outage
    assert kinds(drill) == []


def test_hold_of_the_promise_is_waited_for_and_the_first_run_that_held_counts():
    flapping = [(1, 2), (2.5, 4), (20, 21)]
    drill, store, result = run(
        watched(lasts=22), refuses=flapping, objectives={"rto": "1m", "hold": "10s"}
    )
    assert result.outage == seconds(3)
    assert drill.rto.outages[0].held >= 10
    assert kinds(drill) == []
    # Without being told to wait: the end of the block does.
    _, store, result = run(watched(), refuses=flapping[:2], objectives={"rto": "1m", "hold": "10s"})
    assert result.outage == seconds(3)
    assert store.age >= 14


def test_without_a_hold_the_run_that_went_on_to_the_end_counts():
    _, _, result = run(watched(lasts=22), refuses=[(1, 2), (2.5, 4), (20, 21)])
    assert result.outage == seconds(20)


def test_hanging_write_that_fails_late_says_nothing_against_those_sent_since():
    async def body(drill, store):
        async def write(key, value):
            if 1 <= store.age < 1.1:
                await drill.clock.sleep(99)
            await store.write(key, value)

        async with Canary(
            drill, write=write, read_all=store.read_all, concurrency=8, timeout="4s"
        ) as canary:
            await drill.clock.sleep(1 - store.age)
            with drill.rto.outage():
                await drill.clock.sleep(10)  # at 5 s the two that hung are given up
        return await canary.verify()

    drill, _, result = run(body)
    assert result.indeterminate == 2
    assert drill.rto.outages[0].down_seen is True
    assert result.outage == seconds(0.1) == drill.rto.elapsed


def test_acknowledgement_of_a_write_from_before_the_disaster_is_no_recovery():
    # One write is under way when it strikes, and answered; those that follow hang for 4 s.
    drill, _, result = run(
        watched(strikes=1.01, lasts=5, timeout="10s"), takes=0.02, hangs=[(1.02, 5.02)]
    )
    assert result.outage > seconds(3.9)
    assert drill.rto.elapsed == result.outage


def test_fault_that_missed_is_not_observed():
    drill, _, result = run(watched(lasts=1), objectives={"rto": "1m"})
    assert kinds(drill) == [DisasterNotObserved]
    assert (result.failed, result.indeterminate) == (0, 0)


def test_write_that_hung_before_the_disaster_and_is_given_up_after_it_shows_no_outage():
    async def body(drill, store):
        async def write(key, value):
            if 0.9 <= store.age < 0.95:
                await drill.clock.sleep(99)
            await store.write(key, value)

        async with Canary(drill, write=write, read_all=store.read_all, concurrency=8) as canary:
            await drill.clock.sleep(0.92 - store.age)
            with drill.rto.outage():
                await drill.clock.sleep(2)
        return await canary.verify()

    drill, _, result = run(body, objectives={"rto": "1m"})
    assert result.indeterminate == 1
    assert kinds(drill) == [DisasterNotObserved]


def test_write_that_the_disaster_itself_cuts_off_shows_the_outage():
    async def body(drill, store):
        cut_off = asyncio.Event()

        async def write(key, value):
            if 0.9 <= store.age < 0.95:
                await cut_off.wait()
                raise ConnectionResetError("by peer")
            await store.write(key, value)

        async with Canary(drill, write=write, read_all=store.read_all, concurrency=8) as canary:
            await drill.clock.sleep(0.92 - store.age)
            with drill.rto.outage():
                cut_off.set()
                await drill.clock.sleep(2)
        return await canary.verify()

    drill, _, result = run(body, objectives={"rto": "1m"})
    assert result.indeterminate == 1
    assert kinds(drill) == []


def test_what_was_given_up_says_after_how_long():
    drill, _, _ = run(watched(), hangs=[(1, 3.5)])
    (down,) = [each for each in drill.timeline.events() if each["event"] == "down"]
    assert down["detail"] == "a write of canary failed: TimeoutError: no answer within 1s"


def test_service_that_never_went_down_had_no_outage_to_within_the_longest_blind_time():
    async def body(drill, store):
        async with Canary(
            drill, write=store.write, read_all=store.read_all, timeout="5s", warm_up=1
        ) as canary:
            await drill.clock.sleep(max(0, 1.01 - store.age))
            with drill.rto.outage(expect_downtime=False):
                await drill.clock.sleep(5)
        return await canary.verify()

    drill, _, result = run(body, objectives={"rto": "1s"})
    assert drill.rto.elapsed == seconds(0) == result.outage
    assert drill.rto.outages[0].resolution == pytest.approx(0.05)
    assert kinds(drill) == []
    # Nobody could say so whose looks take two seconds each.
    drill, _, _ = run(body, takes=2.0, objectives={"rto": "1s"})
    assert kinds(drill) == [ObjectiveNotMeasured]


def test_each_disaster_in_its_block_has_an_outage_of_its_own():
    async def body(drill, store):
        async with Canary(drill, write=store.write, read_all=store.read_all) as canary:
            await drill.clock.sleep(1 - store.age)
            with drill.rto.outage("failover"):
                await drill.clock.sleep(5)
            await drill.clock.sleep(4)
            with drill.rto.outage("failback", rto="1s"):
                await drill.clock.sleep(5)
        return await canary.verify()

    drill, _, result = run(body, refuses=[(1, 4), (10, 10.5)], objectives={"rto": "3s"})
    assert [outage.actual for outage in drill.rto.outages] == [seconds(3), seconds(0.5)]
    assert result.outage == seconds(3)
    assert kinds(drill) == []


def test_second_canary_of_a_drill_has_a_name_and_keys_of_its_own():
    async def body(drill, store):
        names = []
        for _ in range(2):
            async with Canary(drill, write=store.write, read_all=store.read_all) as canary:
                with drill.rto.outage():
                    store.refuses.append((store.age, store.age + 1))
                    await drill.clock.sleep(2)
            await canary.verify()
            names.append(canary.name)
        return names

    drill, store, names = run(body)
    assert names == ["canary", "canary 2"]
    assert len({key.rpartition("-")[0] for key in store.data}) == 2
    assert drill.rpo.ledger.count == len(store.data)
    assert len(drill.rto.outages) == 2


# -- no recovery ------------------------------------------------------------------------------


def test_patience_ends_and_verify_says_so_after_the_loss_was_measured():
    async def body(drill, store):
        canary = Canary(drill, write=store.write, read_all=store.read_all, patience="7s")
        async with canary:
            await drill.clock.sleep(1 - store.age)
            with drill.rto.outage():
                pass
        with pytest.raises(NotRecovered, match=r"not recovered 7s after .*nobody listens"):
            await canary.verify()

    drill, store, _ = run(body, refuses=[(1, 999)], objectives={"rpo": "0s"})
    assert store.age == 8
    assert drill.rpo.data_loss == seconds(0)
    assert kinds(drill) == [NotRecovered]


def test_patience_is_by_default_that_of_until():
    async def body(drill, store):
        async with Canary(drill, write=store.write, read_all=store.read_all) as canary:
            await drill.clock.sleep(1 - store.age)
            with drill.rto.outage():
                pass
        with pytest.raises(RTOExceeded, match="past the RTO of 20s"):
            await canary.verify()

    _, store, _ = run(body, refuses=[(1, 999)], objectives={"rto": "20s"})
    assert store.age == 1 + 20 + 20


def test_run_that_began_in_time_is_given_its_hold():
    drill, store, result = run(
        watched(), refuses=[(1, 38)], objectives={"rto": "20s", "hold": "10s"}
    )
    assert result.outage == seconds(37)
    assert store.age == pytest.approx(48, abs=0.1)
    assert kinds(drill) == [RTOExceeded]


def test_last_answers_that_undo_the_run_have_it_go_on():
    # Until 3 s every second write hangs, and each time so does the last one that is sent: what
    # was acknowledged beside it was no recovery yet when the block would have ended.
    async def body(drill, store):
        async def write(key, value):
            if 1 <= store.age < 3 and number(key) % 2 == 0:
                await drill.clock.sleep(99)
            await drill.clock.sleep(0.17)
            await store.write(key, value)

        async with Canary(drill, write=write, read_all=store.read_all, concurrency=40) as canary:
            await drill.clock.sleep(1 - store.age)
            drill.rto.disaster()
        return await canary.verify()

    _, _, result = run(body)
    assert result.indeterminate > 0
    assert seconds(2) < result.outage < seconds(3)


def test_canary_that_was_not_verified_leaves_its_outage_unmeasured():
    async def body(drill, store):
        async with Canary(drill, write=store.write, read_all=store.read_all):
            await drill.clock.sleep(1 - store.age)
            with drill.rto.outage():
                await drill.clock.sleep(5)

    drill, _, _ = run(body, refuses=[(1, 4)], objectives={"rto": "1m", "rpo": "0s"})
    breaches = drill.judge()
    assert [type(each) for each in breaches] == [NotRecovered, ObjectiveNotMeasured]
    assert "a canary was not verified" in str(breaches[0])
    assert "never read back" in str(breaches[1])


# -- writes -----------------------------------------------------------------------------------


def test_writes_start_at_a_fixed_rate_whatever_each_takes():
    _, store, _ = run(watched(strikes=30), takes=0.03, refuses=[(30, 31)])
    assert len(store.sent) > 600
    assert store.sent == [round(index * 0.05, 6) for index in range(len(store.sent))]


def test_schedule_does_not_drift_where_every_wait_is_a_little_long():
    class LateClock(VirtualClock):
        async def sleep(self, seconds):
            await super().sleep(seconds + 0.001)

    _, store, _ = run(watched(strikes=30), clock=LateClock, refuses=[(30, 31)])
    assert len(store.sent) > 600
    late = [at - round(index * 0.05, 6) for index, at in enumerate(store.sent)]
    assert max(late) == pytest.approx(0.001)


class CoarseClock(VirtualClock):
    """As an event loop's timers, which know whole milliseconds alone."""

    async def sleep(self, seconds):
        now = self.monotonic()
        await super().sleep((math.floor(now * 1000 + seconds * 1000) + 1) / 1000 - now)


def test_thousands_a_second_go_out_with_timers_that_know_milliseconds_alone():
    rates = {}
    for interval in ("100us", "1ms", "3ms"):
        settings = {"interval": interval, "concurrency": 50}
        drill, store, _ = run(watched(lasts=0.5, **settings), clock=CoarseClock, takes=0.002)
        rates[interval] = len(store.sent) / store.age
        assert "stand still" not in str(drill.timeline.events())
    assert rates["100us"] == pytest.approx(10_000, rel=0.1)
    assert rates["1ms"] == pytest.approx(1000, rel=0.1)
    assert rates["3ms"] == pytest.approx(333, rel=0.1)


def test_a_loop_that_stood_still_is_not_made_up_for_by_a_burst():
    waits = []

    class StuckClock(CoarseClock):
        async def sleep(self, seconds):
            stuck = self.monotonic() > 0.9 and not waits
            waits.extend([1] * stuck)
            await super().sleep(seconds + stuck)

    settings = {"interval": "100us", "concurrency": 500}
    _, store, result = run(watched(lasts=1.5, **settings), clock=StuckClock)
    bursts = Counter(store.sent)
    assert max(bursts.values()) <= 21
    assert result.skipped >= 9000


def test_write_that_was_given_up_is_indeterminate_whatever_else_counts_as_such():
    _, _, result = run(watched(indeterminate=()), hangs=[(1, 3.5)])
    assert result.failed == 0
    assert result.indeterminate > 0


def test_hanging_writer_neither_piles_up_nor_is_made_up_for():
    drill, store, result = run(
        watched(timeout="1s", concurrency=3), hangs=[(1, 9.99)], objectives={"rpo": "0s"}
    )
    assert store.most_under_way == 3
    ticks = [round(at / 0.05, 3) for at in store.sent]
    assert all(tick.is_integer() for tick in ticks)
    assert len(set(ticks)) == len(ticks)
    # Three at a time, each given up after a second.
    assert result.indeterminate == 24
    assert result.skipped == 153
    assert result.outage == seconds(8.99)
    assert len(drill.rpo.ledger.loss().indeterminate) == result.indeterminate


def test_outcomes_are_told_apart():
    async def body(drill, store):
        raised = {
            20: ConnectionResetError(),
            21: TimeoutError(),
            22: asyncio.CancelledError(),
            23: ValueError("refused"),
            25: LookupError(),
            26: IndeterminateWriteError("taken, and never acknowledged"),
        }

        async def write(key, value):
            index = number(key)
            if index in raised:
                raise raised[index]
            store.data[key] = value
            return index != 24  # False says that it was refused; it is there all the same

        async with Canary(
            drill,
            write=write,
            read_all=store.read_all,
            indeterminate=(ConnectionResetError, LookupError),
        ) as canary:
            await drill.clock.sleep(1 - store.age)
            with drill.rto.outage():
                await drill.clock.sleep(2)
        return await canary.verify()

    drill, _, result = run(body)
    found = drill.rpo.ledger.loss()
    # Without a TimeoutError among them, one that the writer raises itself says that it was refused.
    assert sorted(map(number, found.indeterminate)) == [20, 22, 25, 26]
    assert (result.indeterminate, result.failed) == (4, 3)
    assert list(map(number, result.resurrected)) == [24]
    assert "came back though their writes were refused" in drill.findings[0]["text"]
    assert not result.lost


def test_plain_writers_run_inline_in_virtual_time():
    import threading

    async def body(drill, store):
        where = set()

        def write(key, value):
            where.add(threading.current_thread())
            if 1 <= store.age < 3:
                raise ConnectionRefusedError
            store.data[key] = value

        async with Canary(drill, write=write, read_all=store.read_all) as canary:
            await drill.clock.sleep(1 - store.age)
            with drill.rto.outage():
                pass
        assert where == {threading.current_thread()}
        return await canary.verify()

    _, _, result = run(body)
    assert result.outage == seconds(2)


def test_plain_function_around_an_asynchronous_one_is_awaited():
    async def body(drill, store):
        async with Canary(
            drill,
            write=lambda *pair: store.write(*pair[:2]),
            read_all=lambda: asyncio.sleep(0.1, list(store.data.items())),
        ) as canary:
            await drill.clock.sleep(1 - store.age)
            with drill.rto.outage():
                pass
        return await canary.verify()

    _, _, result = run(body, refuses=[(1, 2)])
    assert result.outage == seconds(1)
    assert not result.lost


# -- what was lost ----------------------------------------------------------------------------


def test_what_is_missing_afterwards_is_lost_and_counted_as_the_ledger_does():
    async def body(drill, store):
        async with Canary(drill, write=store.write, read_all=store.read_all) as canary:
            await drill.clock.sleep(1.99 - store.age)
            with drill.rto.outage():
                for key in [key for key in store.data if number(key) >= 30]:
                    del store.data[key]  # the last ten: 1.50 to 1.95 s
                store.refuses.append((0, 4))
        return await canary.verify()

    drill, _, result = run(body, objectives={"rpo": "400ms"})
    assert list(map(number, result.lost)) == list(range(30, 40))
    assert result.holes == [] == drill.rpo.holes  # what the successor took is no later survivor
    assert drill.rpo.lost == result.lost
    assert drill.rpo.data_loss == seconds(0.49)
    assert kinds(drill) == [RPOExceeded]


def test_what_was_confirmed_between_the_disaster_and_the_death_is_lost_and_no_hole():
    async def body(drill, store):
        async with Canary(drill, write=store.write, read_all=store.read_all) as canary:
            await drill.clock.sleep(1.99 - store.age)
            with drill.rto.outage():
                await drill.clock.sleep(0.1)  # it takes that long to kill it
                lost = [key for key in store.data if number(key) >= 39]
                for key in lost:
                    del store.data[key]
                store.refuses.append((0, 4))
                await drill.clock.sleep(0.1)
        return len(lost), await canary.verify()

    drill, _, (count, result) = run(body)
    assert count == len(result.lost) == 3
    assert result.holes == [] == drill.rpo.holes


def test_holes_corruption_and_duplicates_are_listed_apart():
    async def body(drill, store):
        rows = store.data
        async with Canary(drill, write=store.write, read_all=lambda: rows) as canary:
            await drill.clock.sleep(1.99 - store.age)
            with drill.rto.outage():
                store.refuses.append((0, 4))
        keys = {number(key): key for key in store.data}
        rows = [(key, value) for key, value in store.data.items() if number(key) != 10]
        rows = [(key, "torn" if number(key) == 11 else value) for key, value in rows]
        rows.append((keys[12], store.data[keys[12]]))
        rows.append((f"{keys[13]}777", "x"))
        rows.append(("orders-1", "somebody else's"))
        return await canary.verify()

    drill, _, result = run(body, objectives={"rpo": "0s"})
    assert [list(map(number, keys)) for keys in (result.lost, result.holes)] == [[10, 11]] * 2
    assert list(map(number, result.corrupted)) == [11, 13777]
    assert list(map(number, result.duplicated)) == [12]
    assert [finding["text"].partition(": ")[2].split(":")[0] for finding in drill.findings] == [
        "2 keys came back with another value than was written",
        "1 keys came back more than once",
    ]


def test_no_survivor_at_all_has_no_bound():
    async def body(drill, store):
        async with Canary(drill, write=store.write, read_all=store.read_all) as canary:
            await drill.clock.sleep(1 - store.age)
            with drill.rto.outage():
                pass
        store.data.clear()
        return await canary.verify()

    drill, _, result = run(body, refuses=[(1, 2)], objectives={"rpo": "1d"})
    assert len(result.lost) == result.acknowledged
    assert drill.rpo.data_loss == timedelta.max


def test_what_it_saw_is_on_the_timeline_and_among_the_figures():
    from pytest_drdrill.evidence.measured import measured

    drill, _, _ = run(watched(lasts=10), refuses=[(1, 4), (6, 7)], objectives={"rpo": "0s"})
    found = measured(drill)
    events = [(event["at_s"], event["event"], event["detail"]) for event in found["timeline"]]
    refused = "ConnectionRefusedError: nobody listens"
    started = "a write every 50ms, given up after 1s; 3 in a row were acknowledged and read back"
    for event in (
        (0.1, "canary started", started),
        (1, "down", f"a write of canary failed: {refused}"),
        (1, "canary writes fail", refused),
        (4, "canary writes are acknowledged again", "3s after the disaster"),
        (7, "canary writes are acknowledged again", "6s after the disaster"),
        (7, "recovered", ""),
    ):
        assert event in events
    (verified,) = [event for event in events if event[1] == "canary verified"]
    assert verified[2].startswith("140 writes acknowledged, 80 failed, 0 indeterminate; 0 lost")
    assert verified[2].endswith("longest gap 3.05s")
    metrics = {metric["name"]: (metric["value"], metric["unit"]) for metric in found["metrics"]}
    assert metrics == {
        "canary: longest gap between acknowledgements": (3.05, "s"),
        "canary: writes refused": (80, ""),
    }


def test_flapping_service_does_not_fill_the_timeline():
    drill, _, result = run(
        watched(lasts=60), refuses=[(1 + i / 5, 1.1 + i / 5) for i in range(250)]
    )
    turns = [event for event in drill.timeline.events() if "canary writes" in event["event"]]
    assert len(turns) == 50
    assert result.failed > 500
