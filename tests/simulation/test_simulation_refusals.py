"""The way out of virtual time is closed: what would wait for the real world is refused."""

import asyncio
import contextlib
import inspect
import signal
import socket
import sys
import threading

import pytest

from pytest_drdrill import RealIOError, SimulatedWorld, SimulationError, VirtualLoop, simulate
from pytest_drdrill.simulation.refusals import REFUSED

ESCAPES = {
    "a network connection": lambda: asyncio.open_connection("127.0.0.1", 1),
    "a server": lambda: asyncio.start_server(lambda *_: None, "127.0.0.1", 0),
    "a DNS look-up": lambda: asyncio.get_running_loop().getaddrinfo("example.org", 80),
    "a process": lambda: asyncio.create_subprocess_exec(sys.executable, "-V"),
    "a pipe": lambda: asyncio.get_running_loop().connect_read_pipe(asyncio.Protocol, sys.stdin),
}


@pytest.mark.parametrize("what", ESCAPES)
def test_real_io_is_refused_in_a_sentence_that_says_where_it_belongs(what):
    async def main(world):
        await ESCAPES[what]()

    with pytest.raises(RealIOError) as caught:
        simulate(main)
    assert str(caught.value) == (
        f"{what} was asked for in virtual time, where nothing real can take part: use simulated "
        "parts, or make this a local or live drill, which runs in real time"
    )


def test_sockets_and_signals_are_refused_too():
    async def main(world):
        loop = asyncio.get_running_loop()
        with socket.socket() as plain:
            for ask in (
                lambda: loop.add_reader(plain, print),
                lambda: loop.sock_connect(plain, ("127.0.0.1", 1)),
                lambda: loop.add_signal_handler(signal.SIGTERM, print),
            ):
                with pytest.raises(RealIOError):
                    ask()
            assert loop.remove_reader(plain) is loop.remove_writer(plain) is False
            assert loop.remove_signal_handler(signal.SIGTERM) is False
        world.loop.escaped = None

    simulate(main)


def test_every_method_of_a_loop_is_either_there_or_refused():
    """Whatever a Python adds to event loops."""
    there = set()
    for name, method in inspect.getmembers(asyncio.AbstractEventLoop, inspect.isfunction):
        if name.startswith("_") or name in REFUSED:
            continue
        assert getattr(VirtualLoop, name) is not method, f"{name} is neither there nor refused"
        there.add(name)
    assert {"call_later", "create_task", "run_in_executor", "shutdown_asyncgens"} <= there
    for name in REFUSED:
        assert getattr(VirtualLoop, name).__doc__.startswith("Refused: ")
        # Whoever is asked for anything real is known to asyncio's own loops.
        assert hasattr(asyncio.SelectorEventLoop, name)


def test_a_call_from_another_thread_is_refused():
    async def nothing():
        pass

    async def main(world):
        loop = asyncio.get_running_loop()

        def foreign():
            coroutine = nothing()
            try:
                asyncio.run_coroutine_threadsafe(coroutine, loop)
            except RealIOError as error:
                errors.append(str(error))
            finally:
                coroutine.close()

        thread = threading.Thread(target=foreign)
        thread.start()
        thread.join()
        loop.call_soon_threadsafe(errors.append, "from here it is welcome")
        await asyncio.sleep(0)

    errors = []
    with pytest.raises(RealIOError):
        simulate(main)
    assert errors[0].startswith("a call from another thread was asked for in virtual time")
    assert errors[1:] == ["from here it is welcome"]


def test_a_refusal_that_somebody_swallows_is_told_at_the_end():
    """A check that takes it for a service that is down must not decide a drill."""

    async def swallow():
        with contextlib.suppress(Exception):
            await asyncio.open_connection("127.0.0.1", 1)

    async def fine(world):
        await swallow()

    async def failing(world):
        await swallow()
        assert world is None, "what the body says"

    async def wrapping(world):
        try:
            await asyncio.open_connection("127.0.0.1", 1)
        except RealIOError as error:
            raise ValueError("wrapped") from error

    with pytest.raises(RealIOError, match="a network connection"):
        simulate(fine)
    with pytest.raises(AssertionError, match="what the body says") as caught:
        simulate(failing)
    (note,) = caught.value.__notes__
    assert note.startswith("besides: a network connection was asked for in virtual time")
    with pytest.raises(ValueError, match="wrapped") as caught:
        simulate(wrapping)
    assert not hasattr(caught.value, "__notes__")
    with SimulatedWorld() as world:
        with pytest.raises(RealIOError):
            world.run(fine(world))
        world.run(asyncio.sleep(1))  # told once


def test_a_world_is_not_run_inside_a_running_loop():
    async def inner(world):
        pass

    async def main(world):
        with pytest.raises(SimulationError, match="one runs here already"):
            simulate(inner)

    simulate(main)


def test_what_asks_for_real_io_after_the_last_run_is_told_at_the_end():
    async def main(world):
        async def later():
            try:
                await asyncio.sleep(10)
            finally:
                with contextlib.suppress(RealIOError):
                    await asyncio.open_connection("db.test", 5432)

        left.append(asyncio.create_task(later()))
        await asyncio.sleep(1)

    left = []
    with pytest.raises(RealIOError, match="a network connection"):
        simulate(main)


def test_a_function_for_a_thread_that_waits_for_the_loop_is_refused():
    async def main(world):
        loop = asyncio.get_running_loop()

        async def ask():
            return 1

        def wait():
            asked = ask()
            try:
                return asyncio.run_coroutine_threadsafe(asked, loop).result()
            finally:
                asked.close()

        await asyncio.to_thread(wait)

    with pytest.raises(RealIOError, match="a call from another thread"):
        simulate(main)
