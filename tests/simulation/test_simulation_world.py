"""A simulated world: its clock, its chance, its trace, its end."""

import asyncio
import gc
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from pytest_drdrill import (
    DeadlockError,
    SimulatedWorld,
    SimulationError,
    Trace,
    TraceEvent,
    VirtualClock,
    VirtualLoop,
    simulate,
)


def test_the_clock_tells_virtual_time_from_a_fixed_epoch():
    async def main(world):
        clock = world.clock
        assert (clock.now(), clock.monotonic()) == (datetime(2000, 1, 1, tzinfo=UTC), 0)
        await clock.sleep(0.000001)
        assert clock.now() == datetime(2000, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
        with pytest.raises(TimeoutError):
            async with clock.timeout(5):
                await clock.sleep(6)
        async with clock.timeout(None):
            await clock.sleep(86_400)
        assert clock.now() == datetime(2000, 1, 2, 0, 0, 5, 1, tzinfo=UTC)

    simulate(main)


def test_a_clock_serves_its_own_world_alone():
    other = VirtualLoop()
    clock = VirtualClock(other)

    async def main(world):
        with pytest.raises(SimulationError, match="belongs to another event loop"):
            await clock.sleep(1)
        with pytest.raises(SimulationError, match="belongs to another event loop"):
            clock.timeout(1)
        with pytest.raises(SimulationError, match="would stop the running event loop"):
            clock.block(1)

    simulate(main)
    other.close()


def test_what_main_returns_and_raises_comes_out():
    async def main(world):
        await world.clock.sleep(5)
        return world.clock.monotonic()

    async def fail(world):
        raise ValueError("as it is")

    assert simulate(main) == 5
    with pytest.raises(ValueError, match="as it is"):
        simulate(fail)


def test_chance_is_that_of_the_seed_and_of_each_name():
    def draws(seed, *names):
        with SimulatedWorld(seed) as world:
            return {name: world.random(name).random() for name in names}

    alone = draws(1, "a")
    assert draws(1, "b", "a")["a"] == alone["a"]  # whatever others have drawn
    assert len(set(draws(1, "a", "b", "c").values())) == 3
    assert draws(2, "a") != alone
    with SimulatedWorld(1) as world:
        first = world.random("a").random()
        assert world.random("a").random() != first  # it goes on
    with pytest.raises(TypeError, match="a seed must be a whole number, not '7'"):
        SimulatedWorld("7")


def test_a_world_that_begins_anew_remembers_nothing():
    ended = []

    async def leave_running(world):
        world.record("test", "began")
        left.append(asyncio.create_task(endless()))
        await world.clock.sleep(7)

    async def endless():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(asyncio.get_running_loop().time())

    left = []
    with SimulatedWorld(seed=3) as world:
        clock, loop, first = world.clock, world.loop, world.random("a").random()
        world.run(leave_running(world))
        assert (len(world.trace), ended) == (1, [])
        world.restart()
        assert ended == [7]
        assert loop.is_closed()
        assert world.clock is clock
        assert clock.monotonic() == 0
        assert (len(world.trace), world.seed) == (0, 3)
        assert world.random("a").random() == first
        world.run(clock.sleep(1))
    assert world.loop.is_closed()
    world.close()  # twice is no error


def test_the_first_error_stands_where_the_end_has_one_too(caplog):
    async def main(world):
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.Event().wait()

    with pytest.raises(DeadlockError) as caught:
        simulate(main)
    (note,) = caught.value.__notes__
    assert note.startswith("while its tasks were ended: waiting for what can never come")

    async def quiet(world):
        left.append(asyncio.create_task(main(world)))
        await asyncio.sleep(1)

    left = []
    with pytest.raises(DeadlockError):
        simulate(quiet)  # nothing else went wrong: then the end's own error is raised
    del caught
    left.clear()
    gc.collect()
    assert caplog.text == ""


def test_a_trace_is_written_read_and_compared(tmp_path):
    told = []

    async def main(world):
        world.record("primary", "fails", "refused \udc80")
        await world.clock.sleep(1.5)
        world.record("standby", "took over")

    with SimulatedWorld(on_event=lambda *event: told.append(event)) as world:
        world.run(main(world))
    path = tmp_path / "trace.jsonl"
    world.trace.write(path)
    assert path.read_text("ascii").splitlines()[1] == (
        '{"at_s": 1.5, "source": "standby", "event": "took over", "detail": ""}'
    )
    read = Trace.read(path)
    assert read == world.trace
    assert list(read) == [
        TraceEvent(0.0, "primary", "fails", "refused \\udc80"),
        TraceEvent(1.5, "standby", "took over"),
    ]
    assert read.difference(world.trace) is None
    read.add(2, "primary", "recovers")
    assert read != world.trace
    assert world.trace.difference(read) == (
        "event 3 differs: no more events; primary recovers at 2s"
    )
    other = Trace([TraceEvent(0.0, "primary", "fails", "silent")])
    assert other.difference(read).startswith(
        "event 1 differs: primary fails (silent) at 0s; primary"
    )
    assert told == [("primary fails", "refused \udc80"), ("standby took over", "")]
    path.write_text('{"at_s": 1}\n')
    with pytest.raises(ValueError, match=r"trace\.jsonl, line 1: .* is no event of a trace"):
        Trace.read(path)


SCRIPT = """
import asyncio
from pytest_drdrill import simulate

async def numbers():
    yield 1
    yield 2

async def main(world):
    left = [asyncio.create_task(asyncio.sleep(100)) for _ in range(3)]
    kept = numbers()
    await anext(kept)
    async with asyncio.timeout(50):
        await asyncio.to_thread(print, "hello")
        await world.clock.sleep(10)
    print(world.clock.now(), asyncio.get_running_loop().get_debug())
    left.append(kept)

simulate(main)
"""


@pytest.mark.parametrize("options", [(), ("-X", "dev")], ids=["plain", "debug"])
def test_a_script_runs_without_a_warning(options):
    done = subprocess.run(
        [sys.executable, "-W", "error", *options, "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout == f"hello\n2000-01-01 00:00:10+00:00 {bool(options)}\n"
