"""The canary in real time: plain functions in threads, and those that never return."""

import asyncio
import contextvars
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from canary_store import in_earnest

import pytest_drdrill.measure.write_stream as stream
from pytest_drdrill import (
    Canary,
    Drill,
    NotRecovered,
    Objectives,
    PreconditionNotMet,
    RealClock,
)
from pytest_drdrill.measure.canary_settings import read_settings


class Site:
    """A store with plain functions, whose writes hang or fail as a drill says."""

    def __init__(self):
        self.data = {}
        self.refuses = False
        self.hang = False
        self.released = threading.Event()
        self.threads = set()
        self.hanging = 0
        self._counts = threading.Lock()

    def write(self, key, value):
        self.threads.add(threading.current_thread())
        if self.refuses:
            raise ConnectionRefusedError
        if self.hang:
            with self._counts:
                self.hanging += 1
            self.released.wait()
            raise TimeoutError
        self.data[key] = value

    def read_all(self):
        return dict(self.data)


def carry_out(main):
    """Run a drill in real time, to its end."""
    with in_earnest():
        return asyncio.run(main())


async def comes(condition):
    patience = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < patience  # whoever waited for ever would tell nobody
        await asyncio.sleep(0.001)


@pytest.fixture
def site():
    found = Site()
    yield found
    found.released.set()  # or its threads would wait for as long as this process lives
    for thread in found.threads:
        thread.join()


def test_plain_functions_run_in_threads_with_the_context_of_the_drill(site):
    who = contextvars.ContextVar("who")
    seen = set()

    def write(key, value):
        seen.add(who.get())
        site.write(key, value)

    async def main():
        who.set("drill")
        drill = Drill(Objectives(rto="1m", rpo="0s"))
        canary = Canary(drill, write=write, read_all=site.read_all, interval="5ms", concurrency=2)
        async with canary:
            with drill.rto.outage():
                site.refuses = True
                await comes(lambda: drill.rto.outages[0].down_seen)
                site.refuses = False
        return drill, await canary.verify()

    drill, result = carry_out(main)
    assert seen == {"drill"}
    assert threading.current_thread() not in site.threads
    assert result.failed >= 1
    assert result.acknowledged == len(site.data) > 3
    assert not result.lost
    assert result.outage <= drill.rto.elapsed
    assert drill.judge() == []


def test_writer_that_never_returns_holds_up_neither_the_canary_nor_the_end_of_the_loop(
    site, monkeypatch
):
    monkeypatch.setattr(stream, "HANGING_LIMIT", 3)

    async def main():
        drill = Drill()
        canary = Canary(
            drill,
            write=site.write,
            read_all=site.read_all,
            interval="2ms",
            timeout="50ms",
            concurrency=2,
            patience="200ms",
        )
        async with canary:
            with drill.rto.outage():
                site.hang = True
                await comes(lambda: site.hanging == 5)
        assert len(asyncio.all_tasks()) == 1
        told = "not recovered .* 5 writes hang in their threads, .* have write give up by itself"
        with pytest.raises(NotRecovered, match=told):
            await canary.verify()
        return drill

    drill = carry_out(main)  # returns, and with it the loop is closed
    assert not site.released.is_set()
    # Two at a time and three that were given up: no more threads may hang at once.
    assert site.hanging == 5
    assert drill.rto.outages[0].down_seen is True
    assert len(drill.rpo.ledger.loss().indeterminate) >= 5


@pytest.mark.parametrize(("hanging", "sent"), [(2, 4), (3, 0)])
def test_of_writes_that_came_due_at_once_none_has_more_threads_hang_than_may(
    site, monkeypatch, hanging, sent
):
    monkeypatch.setattr(stream, "HANGING_LIMIT", 3)
    site.hang = True
    settings = read_settings(
        name="canary",
        write=site.write,
        read_all=site.read_all,
        read=None,
        indeterminate=(),
        interval="100us",
        timeout="60s",
        concurrency=4,
        warm_up=1,
        warm_up_timeout="60s",
        read_timeout="60s",
        hold=None,
        patience=None,
    )

    async def main():
        writes = stream.WriteStream(
            settings, RealClock(), "", on_sent=print, on_ended=print, on_stood_still=print
        )
        for number in range(hanging):
            writes._threads.submit(site.write, str(number), "")
        # Twenty of this interval are within what a timer can tell. Four may be under way.
        writes._catch_up(20)
        assert (writes.sent, writes.skipped) == (sent, 20 - sent)
        await comes(lambda: site.hanging == hanging + sent)
        writes._catch_up(20)
        assert writes.sent == sent
        await writes.halt(cancel=True)
        assert writes._threads.alive == site.hanging <= 3 + 4

    carry_out(main)


def test_writer_is_back_once_its_hanging_threads_are(site, monkeypatch):
    monkeypatch.setattr(stream, "HANGING_LIMIT", 1)

    async def main():
        drill = Drill()
        canary = Canary(
            drill, write=site.write, read_all=site.read_all, interval="2ms", timeout="50ms"
        )
        async with canary:
            with drill.rto.outage():
                site.hang = True
                await comes(lambda: site.hanging == 2)
                site.hang = False
                site.released.set()
        return await canary.verify()

    result = carry_out(main)
    assert result.indeterminate >= 2
    assert result.outage is not None
    assert not result.lost


def test_database_on_disk_is_written_and_read_back_through_its_own_rows(tmp_path):
    """A real store, whose connections belong to the thread that made them."""
    path = tmp_path / "orders.db"

    def connected(sql, *values):
        connection = sqlite3.connect(path, timeout=0.05)
        connection.row_factory = sqlite3.Row
        try:
            with connection:
                return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    connected("CREATE TABLE orders (id TEXT, body BLOB)")

    def write(key, value):
        connected("INSERT INTO orders VALUES (?, ?)", key, value.encode())

    async def main():
        drill = Drill(Objectives(rto="1m", rpo="0s"))
        canary = Canary(
            drill,
            write=write,
            read_all=lambda: connected("SELECT id, body FROM orders"),
            interval="5ms",
        )
        async with canary:
            with drill.rto.outage():
                connected("ALTER TABLE orders RENAME TO gone")
                await comes(lambda: drill.rto.outages[0].down_seen)
                connected("ALTER TABLE gone RENAME TO orders")
                connected("DELETE FROM orders WHERE rowid = 2")
                connected("INSERT INTO orders SELECT * FROM orders WHERE rowid = 1")
        return drill, await canary.verify()

    drill, result = carry_out(main)
    assert result.failed >= 1
    assert [key.rpartition("-")[2] for key in result.lost] == ["1"]
    assert [key.rpartition("-")[2] for key in result.duplicated] == ["0"]
    assert result.holes == result.lost == drill.rpo.holes
    assert len(drill.judge()) == 1


def test_plain_function_that_stops_an_iteration_is_an_error_like_any_other(site):
    def write(key, value):
        raise StopIteration

    async def main():
        drill = Drill()
        canary = Canary(
            drill,
            write=write,
            read_all=site.read_all,
            interval="2ms",
            warm_up_timeout="50ms",
        )
        with pytest.raises(PreconditionNotMet, match="raised RuntimeError: a function that was"):
            await canary.__aenter__()

    carry_out(main)


def test_loop_that_was_blocked_is_not_made_up_for(site):
    async def main():
        drill = Drill()
        canary = Canary(
            drill, write=site.write, read_all=site.read_all, interval="5ms", concurrency=1000
        )
        async with canary:
            with drill.rto.outage(expect_downtime=False):
                time.sleep(0.2)  # noqa: ASYNC251 - the drill itself blocks the loop
        return await canary.verify()

    result = carry_out(main)
    assert result.skipped >= 38


SCRIPT = """
import asyncio, sys, threading
from pytest_drdrill import Canary, Drill, NotRecovered, Objectives

data, down = {}, False

def write(key, value):
    if down:
        threading.Event().wait()  # for ever
    data[key] = value

async def main():
    global down
    drill = Drill(Objectives(rto="100ms", rpo="0s"))
    canary = Canary(
        drill, write=write, read_all=lambda: data, interval="2ms", timeout="50ms", patience="100ms"
    )
    async with canary:
        with drill.rto.outage():
            down = True
    try:
        await canary.verify()
    except NotRecovered:
        raise SystemExit("expected the other verdict") from None
    except AssertionError as verdict:
        print(type(verdict).__name__, [type(each).__name__ for each in drill.judge()])
    assert not {"pytest", "_pytest"} & sys.modules.keys()

asyncio.run(main())
"""


def test_plain_script_ends_though_its_writers_hang_for_ever():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.stdout == "RTOExceeded ['NotRecovered']\n"
    assert done.returncode == 0


def test_answer_that_a_blocked_loop_sees_late_counts_from_when_it_came(site):
    """What a plain writer confirmed and is gone is lost, though the drill blocked the loop."""
    began, written = [], {}

    def write(key, value):
        began.append(key)
        time.sleep(0.05)
        if site.refuses:
            raise ConnectionRefusedError
        site.write(key, value)
        written[key] = time.monotonic()

    async def main():
        drill = Drill()
        canary = Canary(drill, write=write, read_all=site.read_all, interval="100ms", timeout="2s")
        async with canary:
            sent = len(began)
            await comes(lambda: len(began) > sent)
            key = began[-1]  # under way
            with drill.rto.outage():
                while key not in written:
                    time.sleep(0.001)  # noqa: ASYNC251 - as a restore that is no coroutine
                time.sleep(2.2)  # noqa: ASYNC251 - likewise
                del site.data[key]
                site.refuses = True
                await comes(lambda: drill.rto.outages[0].down_seen)
                site.refuses = False
        return drill, await canary.verify(), key

    drill, result, key = carry_out(main)
    assert key in result.lost
    assert result.indeterminate == 0
    (at,) = drill.rpo.ledger.loss().lost_at
    assert at < written[key] + 1


def test_reading_that_is_lazy_is_read_in_its_thread(tmp_path):
    path = tmp_path / "data.db"

    def connected():
        return sqlite3.connect(path, timeout=5)

    made = connected()
    made.execute("create table t (k text, v text)")
    made.close()

    def write(key, value):
        connection = connected()
        with connection:
            connection.execute("insert into t values (?, ?)", (key, value))
        connection.close()

    def rows():
        connection = connected()  # which only its own thread may use
        found = connection.execute("select k, v from t")

        def each():
            yield from found
            connection.close()

        return each()

    async def main():
        drill = Drill()
        async with Canary(drill, write=write, read_all=rows, interval="5ms") as canary:
            with drill.rto.outage(expect_downtime=False):
                pass
        return await canary.verify()

    assert not carry_out(main).lost
