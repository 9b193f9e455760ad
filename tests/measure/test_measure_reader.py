"""A canary that reads through the disaster as well: what readers saw, apart from the writers."""

import asyncio
import threading
from datetime import timedelta

import pytest
from canary_store import in_earnest, run, watched

from pytest_drdrill import Canary, Drill
from pytest_drdrill.evidence.measured import measured


def seconds(number):
    return timedelta(seconds=number)


def reading(read, *, strikes=1.0, lasts=0.0, **settings):
    """A body: ``read(drill, store, key)`` is what the canary reads by."""

    async def body(drill, store):
        async def asked(key):
            return await read(drill, store, key)

        async with Canary(
            drill, write=store.write, read_all=store.read_all, read=asked, **settings
        ) as canary:
            await drill.clock.sleep(strikes - store.age)
            with drill.rto.outage():
                await drill.clock.sleep(lasts)
        return await canary.verify()

    return body


async def as_written(drill, store, key):
    return store.data.get(key)


def between(begin, end, *, or_else=as_written):
    """Reads are refused in a time of their own."""

    async def read(drill, store, key):
        if begin <= store.age < end:
            raise ConnectionRefusedError("no reads")
        return await or_else(drill, store, key)

    return read


def test_readers_have_an_outage_of_their_own_that_is_none_of_the_drills():
    drill, _, result = run(reading(between(1, 3)), refuses=[(1, 2)], objectives={"rto": "90s"})
    assert result.outage == seconds(1) == drill.rto.elapsed
    assert result.readers.outage == pytest.approx(seconds(2), abs=seconds(0.05))
    assert result.readers.failed == pytest.approx(40, abs=1)
    assert result.readers.served > 10
    assert (result.readers.missing, result.readers.misread) == (0, [])
    found = measured(drill)
    metrics = {each["name"]: each["value"] for each in found["metrics"]}
    assert metrics["canary: outage that readers saw"] == pytest.approx(2, abs=0.05)
    assert metrics["canary: reads failed"] == result.readers.failed
    events = {each["event"]: each["detail"] for each in found["timeline"]}
    assert events["canary reads fail"] == "ConnectionRefusedError: no reads"
    assert events["canary reads are served again"].endswith("after the disaster")
    assert "0 of which found nothing" in events["canary read"]
    assert drill.judge() == []


def test_readers_that_are_served_all_along_saw_no_failure():
    # It strikes between two reads, the next of which is served.
    _, _, result = run(reading(as_written, strikes=0.98, lasts=5), refuses=[(1, 4)])
    assert result.outage == seconds(3.02)
    assert result.readers.failed == 0
    assert result.readers.outage == seconds(0)


def test_readers_that_are_never_served_again_leave_the_drill_to_the_writers():
    drill, _, result = run(
        reading(between(1, 999), patience="7s"), refuses=[(1, 4)], objectives={"rto": "90s"}
    )
    assert result.readers.outage is None
    assert drill.rto.outages[0].actual == seconds(3)
    (event,) = [each for each in drill.timeline.events() if each["event"] == "canary read"]
    assert event["detail"].endswith("the outage that readers saw did not end")
    assert drill.judge() == []


def test_value_that_was_not_written_is_corruption_and_none_is_a_copy_that_lags():
    async def read(drill, store, key):
        if 2 <= store.age < 2.1:
            return None
        if 3 <= store.age < 3.1:
            return "torn"
        return store.data[key].encode()  # as many stores give them

    drill, _, result = run(reading(read, lasts=4), refuses=[(1, 1.5)])
    assert result.readers.missing == 2
    assert len(result.readers.misread) == 2
    (finding,) = drill.findings
    assert "2 keys were read with another value than was written: canary-" in finding["text"]


class Deferred:
    """What many clients return: neither a coroutine nor a future, and to be awaited."""

    def __init__(self, found):
        self.found = found

    def __await__(self):
        return self.found.__await__()


@pytest.mark.parametrize("kind", ["task", "awaitable", "coroutine"])
def test_what_a_plain_function_gives_to_await_is_awaited(kind):
    async def body(drill, store):
        loop = asyncio.get_running_loop()
        kinds = {"task": loop.create_task, "awaitable": Deferred, "coroutine": lambda made: made}

        async def get(key):
            await drill.clock.sleep(0.001)
            return store.data[key]

        async with Canary(
            drill,
            write=store.write,
            read_all=store.read_all,
            read=lambda key: kinds[kind](get(key)),
        ) as canary:
            with drill.rto.outage(expect_downtime=False):
                await drill.clock.sleep(0.3)
        return await canary.verify()

    _, _, result = run(body)
    assert result.readers.served >= 5
    assert (result.readers.failed, result.readers.misread) == (0, [])


def test_nothing_is_read_meanwhile_by_default():
    drill, _, result = run(watched(), refuses=[(1, 2)])
    assert result.readers is None
    assert not any("read" in each["name"] for each in drill.metrics)


def test_verdict_of_a_reader_is_for_the_drill():
    async def read(drill, store, key):
        pytest.fail("seen by a reader")

    with pytest.raises(pytest.fail.Exception, match="seen by a reader"):
        run(reading(read), refuses=[(1, 2)])


@pytest.mark.parametrize("wrapped", [False, True])
def test_plain_readers_run_in_threads_of_their_own(wrapped):
    data, where, enough = {}, set(), threading.Event()

    def read(key):
        where.add(threading.current_thread())
        if len(where) == 3:
            enough.set()
        return asyncio.sleep(0, data[key]) if wrapped else data[key]

    async def main():
        drill = Drill()
        canary = Canary(
            drill, write=data.__setitem__, read_all=lambda: data, read=read, interval="5ms"
        )
        async with canary:
            with drill.rto.outage(expect_downtime=False):
                await asyncio.to_thread(enough.wait)
        return await canary.verify()

    with in_earnest():
        readers = asyncio.run(main()).readers
    assert threading.current_thread() not in where
    assert readers.served >= 2
    assert (readers.failed, readers.missing, readers.misread) == (0, 0, [])


@pytest.mark.parametrize(
    ("read", "message"), [(7, "of a key, plain or .* not 7"), (lambda: None, "can't be called so")]
)
def test_what_can_not_read_is_refused(read, message):
    with pytest.raises(TypeError, match=message):
        Canary(Drill(), write=lambda key, value: None, read_all=dict, read=read)
