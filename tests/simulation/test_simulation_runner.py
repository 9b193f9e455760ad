"""Coroutines are run as asyncio's own runner does, and what they leave is ended in order."""

import asyncio
import contextvars
import signal

import pytest

from pytest_drdrill import SimulatedWorld


@pytest.fixture
def heard():
    """Ctrl-C is heard as by default, also where the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
def test_the_first_ctrl_c_lets_a_coroutine_undo_what_it_did():
    done = []

    async def main(world):
        try:
            signal.raise_signal(signal.SIGINT)
            await world.clock.sleep(1)
        except asyncio.CancelledError:
            await world.clock.sleep(5)
            done.append(world.clock.monotonic())
            raise

    before = signal.getsignal(signal.SIGINT)
    with SimulatedWorld() as world:
        with pytest.raises(KeyboardInterrupt):
            world.run(main(world))
        assert done == [5]
        assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("heard")
def test_the_second_ctrl_c_waits_for_nothing():
    async def main(world):
        try:
            signal.raise_signal(signal.SIGINT)
            await world.clock.sleep(1)
        finally:
            signal.raise_signal(signal.SIGINT)

    with SimulatedWorld() as world, pytest.raises(KeyboardInterrupt):
        world.run(main(world))


def test_a_handler_of_somebody_else_stays(monkeypatch):
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append("SIGINT"))

    async def main():
        signal.raise_signal(signal.SIGINT)

    try:
        with SimulatedWorld() as world:
            world.run(main())
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == ["SIGINT"]


def test_a_cancellation_that_is_no_ctrl_c_stays_one():
    async def main():
        asyncio.current_task().cancel()
        await asyncio.sleep(1)

    with SimulatedWorld() as world, pytest.raises(asyncio.CancelledError):
        world.run(main())


def test_what_is_left_running_is_ended_in_the_order_in_which_it_was_begun():
    ended = []

    async def wait(number):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    async def main():
        # More than a set would keep in their order by chance.
        world.left = [asyncio.create_task(wait(number)) for number in range(100)]
        for task in world.left[:90:2]:
            task.cancel()
        await asyncio.sleep(0)
        ended.clear()

    with SimulatedWorld() as world:
        world.run(main())
    assert ended == [number for number in range(100) if number % 2 or number >= 90]


def test_an_asynchronous_generator_that_was_left_is_closed():
    closed = []

    async def numbers():
        try:
            for number in range(3):
                yield number
        finally:
            await asyncio.sleep(1)
            closed.append(True)

    async def main():
        world.left = numbers()
        return await anext(world.left)

    with SimulatedWorld() as world:
        assert world.run(main()) == 0
    assert closed == [True]


def test_runs_share_the_context_that_the_first_one_saw():
    name = contextvars.ContextVar("name", default="nobody")

    async def main(new):
        was = name.get()
        name.set(new)
        return was

    with SimulatedWorld() as world:
        name.set("fixture")  # after the world was made
        assert world.run(main("first")) == "fixture"
        assert world.run(main("second")) == "first"
    assert name.get() == "fixture"
