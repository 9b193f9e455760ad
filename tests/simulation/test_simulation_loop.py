"""The virtual loop: when things happen, in what order, and what it says when nothing can."""

import asyncio
import contextvars
import gc
import heapq
import itertools
import logging
import signal
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_drdrill import (
    DeadlockError,
    HorizonError,
    LivelockError,
    SimulatedWorld,
    SimulationError,
    VirtualLoop,
    simulate,
)
from pytest_drdrill.simulation.loop import TURNS


def run(main, loop_class=VirtualLoop):
    """What ``main`` returns, run on a loop of its own."""
    with asyncio.Runner(loop_factory=loop_class) as runner:
        return runner.run(main())


def now():
    return asyncio.get_running_loop().time()


# Time.


def test_a_month_passes_at_once():
    async def main():
        await asyncio.sleep(30 * 86_400)
        return now()

    began = time.monotonic()
    assert run(main) == 2_592_000
    assert time.monotonic() - began < 5  # a month it is not


def test_times_are_exact_on_a_grid_of_microseconds():
    async def main():
        for _ in range(3):
            await asyncio.sleep(0.1)
        assert now() == 0.3
        await asyncio.sleep(1 / 3)
        assert now() == 0.633333
        await asyncio.sleep(0.0000016)
        assert now() == 0.633335
        asyncio.get_running_loop().call_at(0.9, times.append, "call_at")
        await asyncio.sleep(1)
        assert times == ["call_at"]

    times = []
    run(main)


@pytest.mark.parametrize("days", [195, 365 * 400, 1_000_000])
def test_time_does_not_get_stuck_however_late_it_is(days):
    from datetime import timedelta

    async def main():
        await asyncio.sleep(days * 86_400)
        for _ in range(3):
            await asyncio.sleep(0.5)
        return now()

    loop = lambda: VirtualLoop(timedelta(days=1_000_001))  # noqa: E731
    assert run(main, loop) == days * 86_400 + 1.5


@pytest.mark.parametrize("rest", [5e-17, 1e-9, 4e-7])
def test_a_wait_above_zero_takes_time_so_that_waiting_for_a_float_ends(rest):
    async def main():
        deadline = now() + 0.3 + rest
        await asyncio.sleep(0.3)
        while now() < deadline:  # noqa: ASYNC110 - what is tested
            await asyncio.sleep(deadline - now())
        return now()

    assert run(main) == pytest.approx(0.3, abs=1.1e-6)


def test_what_never_comes_is_no_timer():
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(float("inf"))
        assert now() == 5
        await asyncio.sleep(float("inf"))

    with pytest.raises(DeadlockError):
        run(main)


@given(st.lists(st.integers(0, 5), max_size=30))
@example([0, 1, 0, 1, 0, 2, 1, 1, 1, 1, 1, 1, 1, 2])
def test_timers_of_one_instant_run_in_the_order_in_which_they_were_set(delays):
    async def main():
        loop = asyncio.get_running_loop()
        for number, delay in enumerate(delays):
            loop.call_later(delay, lambda each=(delay, number): ran.append((*each, now())))
        await asyncio.sleep(6)

    ran = []
    run(main)
    assert ran == [(delay, n, delay) for delay, n in sorted(zip(delays, itertools.count()))]


class StockLoop(VirtualLoop):
    """The same timers under asyncio's own turns; nothing but the clock is swapped."""

    _run_once = asyncio.BaseEventLoop._run_once

    def __init__(self):
        super().__init__()
        self._selector = self
        self._clock_resolution = 1e-6

    def _schedule(self, method, delay, callback, args, context):
        when = self.after(delay) / 1e6
        timer = Timer(when, callback, args, self, context)
        timer.key = (when, next(self._timers))
        timer._scheduled = True
        heapq.heappush(self._scheduled, timer)
        return timer

    def select(self, timeout):
        if timeout:
            self._jump_to(round(self._scheduled[0]._when * 1e6))
        return ()

    def _process_events(self, events):
        pass

    def close(self):
        self._selector = None
        super().close()


class Timer(asyncio.TimerHandle):
    def __lt__(self, other):
        return self.key < other.key


STEPS = st.tuples(
    st.sampled_from(["sleep", "timeout", "wait_for", "event", "call", "cancel"]),
    st.integers(0, 4),
    st.integers(0, 4),
)


@given(st.lists(st.lists(STEPS, max_size=6), min_size=1, max_size=5))
def test_what_happens_is_what_asyncios_own_turns_do(plans):  # noqa: C901 - one step of each kind
    def trace_of(loop_class):
        trace = []

        async def worker(number):
            loop = asyncio.get_running_loop()
            event = asyncio.Event()
            for step, (kind, a, b) in enumerate(plans[number]):
                outcome = "done"
                try:
                    if kind == "sleep":
                        await asyncio.sleep(a)
                    elif kind == "timeout":
                        async with asyncio.timeout(a):
                            await asyncio.sleep(b)
                    elif kind == "wait_for":
                        await asyncio.wait_for(asyncio.sleep(b), a)
                    elif kind == "event":
                        loop.call_later(a, event.set)
                        async with asyncio.timeout(b):
                            await event.wait()
                        event.clear()
                    elif kind == "cancel":
                        other = asyncio.create_task(asyncio.sleep(a))
                        loop.call_later(b, other.cancel)
                        await asyncio.wait([other])
                        outcome = other.cancelled()
                    else:
                        loop.call_later(a, lambda at=(number, step): trace.append((now(), *at)))
                except TimeoutError:
                    outcome = "timed out"
                trace.append((now(), number, step, outcome))

        async def main():
            await asyncio.gather(*[worker(number) for number in range(len(plans))])
            await asyncio.sleep(5)

        run(main, loop_class)
        return trace

    assert trace_of(VirtualLoop) == trace_of(StockLoop)


def test_cancelled_timers_take_no_time_and_no_room():
    async def main():
        loop = asyncio.get_running_loop()
        largest = 0
        for _ in range(10_000):
            async with asyncio.timeout(3_600):
                await asyncio.sleep(0.001)
            largest = max(largest, len(loop._scheduled))
        assert now() == 10
        assert largest < 300
        keep = loop.call_later(7, fired.append, "kept")
        loop.call_later(3, fired.append, "cancelled").cancel()
        keep.cancel()
        keep.cancel()
        loop.call_later(20, fired.append, "fired")
        await asyncio.sleep(30)
        left = [timer.cancelled() for *_, timer in loop._scheduled]
        assert loop._timer_cancelled_count == left.count(True) == len(left)

    fired = []
    run(main)
    assert fired == ["fired"]


# What can't go on.


def test_a_deadlock_says_who_waits_and_where():
    async def consumer(queue):
        await queue.get()

    async def main():
        task = asyncio.create_task(consumer(asyncio.Queue()), name="consumer of orders")
        await asyncio.sleep(90)
        try:
            await task
        finally:
            cleaned.append(True)

    cleaned = []
    with pytest.raises(DeadlockError) as caught:
        simulate(lambda world: main())
    text = str(caught.value)
    assert text.startswith("waiting for what can never come, at 1m30s of virtual time:")
    first, second = text.splitlines()[1:]
    here = "test_simulation_loop.py"
    assert first.startswith(f"  Task-1: main ({here}:")
    assert second.startswith(f"  consumer of orders: consumer ({here}:")
    assert "> get (queues.py:" in second
    assert cleaned == [True]


def test_a_deadlock_of_many_lists_some():
    async def main():
        await asyncio.gather(*[asyncio.Event().wait() for _ in range(50)])

    with pytest.raises(DeadlockError) as caught:
        run(main)
    assert len(str(caught.value).splitlines()) == 22
    assert str(caught.value).endswith("  and 31 more")


def test_a_livelock_is_an_error_and_its_tasks_still_end():
    async def main():
        await asyncio.sleep(12)
        try:
            while True:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0)
        finally:
            await asyncio.sleep(1)
            cleaned.append(now())

    cleaned = []
    with pytest.raises(LivelockError, match=r"the clock stands still at 12s .*100,000 turns"):
        run(main)
    assert cleaned == [13]


def test_as_many_turns_as_it_takes_are_no_livelock_while_time_passes():
    async def main():
        for _ in range(3):
            for _ in range(TURNS - 10):
                await asyncio.sleep(0)
            await asyncio.sleep(0.001)

    run(main)


def test_a_simulation_without_an_end_is_ended():
    async def main():
        ticking = asyncio.create_task(ticks())
        try:
            await asyncio.Event().wait()
        finally:
            ticking.cancel()
            await asyncio.sleep(86_400)
            cleaned.append(now() / 86_400)

    async def ticks():
        while True:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(86_400)

    cleaned = []
    with pytest.raises(HorizonError, match=r"still going on at 366d .*horizon of 366d") as caught:
        run(main)
    assert cleaned == [367]
    assert "ticks (test_simulation_loop.py:" in str(caught.value)


# What asyncio promises.


def test_contexts_are_those_of_who_called():
    who = contextvars.ContextVar("who", default="nobody")

    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        who.set("main")
        loop.call_later(1, lambda: seen.append(who.get()))
        loop.call_at(2, lambda: seen.append(who.get()), context=contextvars.Context())
        loop.call_soon(who.set, "callback")
        task = asyncio.create_task(asyncio.to_thread(who.get))
        other = loop.create_task(asyncio.to_thread(who.get), context=contextvars.Context())
        await asyncio.sleep(3)
        return [*seen, await task, await other, who.get()]

    assert run(main) == ["main", "nobody", "main", "nobody", "main"]


def test_asynchronous_generators_are_shut_down():
    async def numbers():
        try:
            yield 1
        finally:
            await asyncio.sleep(1)
            closed.append(now())

    async def main():
        kept.append(numbers())
        await anext(kept[0])

    closed, kept = [], []
    run(main)
    assert closed == [1]


def test_what_nobody_took_from_a_task_reaches_the_exception_handler(caplog):
    async def fail():
        raise ValueError("nobody asks")

    async def main(handler):
        asyncio.get_running_loop().set_exception_handler(handler)
        task = asyncio.create_task(fail())
        await asyncio.sleep(1)
        del task
        gc.collect()

    told = []
    run(lambda: main(lambda loop, context: told.append(context["exception"])))
    assert [str(error) for error in told] == ["nobody asks"]
    with caplog.at_level(logging.ERROR, "asyncio"):
        run(lambda: main(None))
    assert "Task exception was never retrieved" in caplog.text


def test_debug_mode_checks_what_is_called_and_says_where_it_came_from(caplog):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        with pytest.raises(TypeError, match="coroutines cannot be used with call_later"):
            loop.call_later(1, main)
        with pytest.raises(TypeError, match="cannot be used with run_in_executor"):
            loop.run_in_executor(None, main)
        loop.call_soon(loop.call_later, 1, lambda: 1 / 0)
        await asyncio.sleep(2)
        loop.call_soon(loop.call_exception_handler, {"message": "in a callback"})
        await asyncio.sleep(1)

    with caplog.at_level(logging.ERROR, "asyncio"):
        run(main)
    assert "ZeroDivisionError" in caplog.text
    assert "Object created at (most recent call last)" in caplog.text
    assert "Handle created at (most recent call last)" in caplog.text


def test_a_task_factory_of_ones_own_is_used():
    class Own(asyncio.Task):
        pass

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, coro, **given: Own(coro, loop=loop, **given))
        task = asyncio.create_task(asyncio.sleep(1), name="own")
        assert type(task) is Own
        assert task.get_name() == "own"
        await task

    run(main)


def test_tasks_are_named_by_their_number_in_this_loop():
    async def main():
        tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(2)]
        named = asyncio.create_task(asyncio.sleep(0), name=7)
        await asyncio.wait([*tasks, named])
        return [task.get_name() for task in (asyncio.current_task(), *tasks, named)]

    assert run(main) == run(main) == ["Task-1", "Task-2", "Task-3", "7"]


@pytest.fixture
def hears_ctrl_c():
    """Python's own answer to it, which a process that began in the background has not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_it_as_it_ends_any_run(hears_ctrl_c):
    async def main():
        try:
            await asyncio.sleep(5)
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(5)
        finally:
            cleaned.append(now())

    cleaned = []
    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert cleaned == [5]


# Threads, in virtual time.


def test_functions_meant_for_a_thread_run_here_in_no_time():
    def work(number):
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        return number + asyncio.run(asyncio.sleep(0, 1))

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(object())
        results = await asyncio.to_thread(work, 1), await loop.run_in_executor(object(), work, 2)
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)
        with pytest.raises(RuntimeError, match="raised StopIteration"):
            await asyncio.to_thread(next, iter(()))
        with pytest.raises(SystemExit):
            await asyncio.to_thread(exit)
        dropped = loop.run_in_executor(None, ran.append, "dropped")
        dropped.cancel()
        await asyncio.sleep(0)
        assert asyncio.get_running_loop() is loop
        return results, now()

    ran = []
    assert run(main) == ((2, 3), 0)
    assert ran == []


def test_ctrl_c_in_such_a_function_ends_the_run():
    def interrupted():
        raise KeyboardInterrupt

    async def main():
        await asyncio.to_thread(interrupted)

    with pytest.raises(KeyboardInterrupt):
        run(main)


# Blocking.


def test_time_that_blocking_code_takes_lets_the_rest_go_on():
    with SimulatedWorld() as world:
        ticks = []
        world.loop.call_later(2, ticks.append, "early")
        world.loop.call_later(9, ticks.append, "late")
        world.clock.block(5)
        assert ticks == ["early"]
        assert world.clock.monotonic() == 5
        world.clock.block(0)
        assert world.clock.monotonic() == 5
    world.clock.block(2.5)  # a fixture may, after the end
    assert world.clock.monotonic() == 7.5


def test_a_running_loop_can_not_be_blocked():
    async def main(world):
        with pytest.raises(SimulationError, match=r"await clock\.sleep"):
            world.clock.block(1)
        with pytest.raises(SimulationError, match=r"await clock\.sleep"):
            await asyncio.to_thread(world.clock.block, 1)
        with pytest.raises(RuntimeError, match=r"await clock\.sleep"):
            world.loop.advance(1)

    simulate(main)
