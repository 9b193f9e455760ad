"""Tests in virtual time: which ones they are, and how they run in their simulated world."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pytest_drdrill.session.markers import is_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_drdrill.simulation import SimulatedWorld

_SIMULATED = (
    "simulated_endpoints",
    "simulated_regions",
    "simulated_backups",
    "simulated_world",
)
"""Who asks for one of these runs in virtual time, and who gets an override without it does not."""
_HOME = "pytest_drdrill.fixtures"
_TIMES = "_dr_times"
"""Where the handle of a ``@given`` test keeps its ``_Times``."""
_ASYNC = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_MISTAKEN = (
    "ignore:The test .* is marked with '@pytest.mark.asyncio' "
    "but it is not an async function:pytest.PytestWarning"
)


class _Active(NamedTuple):
    """A test in virtual time, its world, whether it is a drill, and its handle of ``@given``."""

    item: pytest.Item
    world: SimulatedWorld
    is_drill: bool
    handle: object


_ACTIVE: list[_Active] = []
"""The test that runs; before it those around it, where a test runs tests."""


@dataclass(slots=True)
class _Times:
    """What Hypothesis can call: as the author wrote it, or in virtual time; and which it does."""

    real: Callable[..., Any]
    virtual: Callable[..., Any]
    is_virtual: bool = False


def asks_for_simulation(item: pytest.Item) -> bool:
    """Whether a test asks for a simulated fixture, by itself or through other fixtures."""
    names = getattr(item, "fixturenames", ())
    return any(
        definition.func.__module__ == _HOME
        for name in _SIMULATED
        if name in names
        for definition in _definitions(item, name)
    )


def _definitions(item: pytest.Item, name: str) -> Iterator[pytest.FixtureDef[Any]]:
    """The definition of a fixture that a test gets, and those that it overrides and asks for."""
    found = item._fixtureinfo.name2fixturedefs.get(name, ())  # type: ignore[attr-defined] # noqa: SLF001
    for definition in reversed(found):
        yield definition
        if name not in definition.argnames:
            return


def run_in_virtual_time(item: pytest.Item) -> None:
    """Make a test that asks for a simulated fixture synchronous: it runs on a loop of ours.

    To be called at collection, before any plugin for asynchronous tests has a look.
    """
    function = item.obj  # type: ignore[attr-defined] # of every test function
    handle = getattr(function, "hypothesis", None)
    if handle is not None:
        if not hasattr(handle, _TIMES):
            times = _Times(handle.inner_test, _converted(handle.inner_test, handle))
            setattr(handle, _TIMES, times)
        choose_time(item)
    elif is_async(function):
        item.obj = _converted(function)  # type: ignore[attr-defined]
    if item.get_closest_marker("asyncio") is not None:  # of its module, as likely as not
        item.add_marker(pytest.mark.filterwarnings(_MISTAKEN))


def choose_time(item: pytest.Item) -> None:
    """Have the examples of a ``@given`` test run in virtual time, or as its author wrote them.

    What Hypothesis calls is shared by all items of one function: its parameters, which are all
    alike, and the classes that inherit it, one of which may have fixtures of its own that leave
    virtual time. So it is set for an item when that is collected, where plugins for asynchronous
    tests look at it, and again when that runs.
    """
    handle = getattr(getattr(item, "obj", None), "hypothesis", None)
    times: _Times | None = getattr(handle, _TIMES, None)
    if handle is None or times is None:
        return
    is_virtual = asks_for_simulation(item)
    if times.is_virtual is not is_virtual:
        times.is_virtual = is_virtual
        handle.inner_test = times.virtual if is_virtual else times.real


def _converted(function: Callable[..., Any], handle: object = None) -> Callable[..., Any]:
    asynchronous = inspect.iscoroutinefunction(function)

    @functools.wraps(function)
    def in_virtual_time(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if handle is not None and not (_ACTIVE and _ACTIVE[-1].handle is handle):
            return function(*args, **kwargs)  # of an item that has left virtual time
        from pytest_drdrill.simulation.errors import (  # by now
            DeadlockError,
            HorizonError,
            LivelockError,
        )

        active = _ACTIVE[-1]
        world = active.world
        if handle is not None and not active.is_drill:  # each example of one has begun anew by now
            world.restart()
        outcome = function(*args, **kwargs)
        if not asynchronous:
            return None
        try:
            world.run(outcome)
        except (DeadlockError, HorizonError, LivelockError) as error:
            # They name the lines that wait; where they were raised is deep in asyncio.
            raise error.with_traceback(None) from error.__cause__
        return None

    return in_virtual_time


def refuse_what_is_real(item: pytest.Item) -> None:
    """Refuse a simulated test that would leave virtual time for a real event loop.

    Raises:
        pytest.fail.Exception: it would; one sentence says how, and what to do.
    """
    if not asks_for_simulation(item):
        _refuse(
            item,
            "asks for a simulated fixture while it runs already, too late for virtual time: name "
            "the fixture among its arguments",
        )
    choose_time(item)
    if is_async(item.obj):  # type: ignore[attr-defined]
        _refuse(
            item,
            "asks for a simulated fixture, and another plugin or its own class runs it on a real "
            "event loop: write it as a plain async function, or make it a local or live drill",
        )
    for name in item.fixturenames:  # type: ignore[attr-defined]
        for definition in _definitions(item, name):
            if _is_async_fixture(definition.func):
                _refuse(
                    item,
                    f"runs in virtual time, and its fixture {name!r} is asynchronous, which takes "
                    "a real event loop: make that a plain fixture, or this a local or live drill",
                )


def _is_async_fixture(function: Callable[..., Any]) -> bool:
    if type(function) is FunctionType and not function.__dict__:  # most are: the quick way
        return bool(function.__code__.co_flags & _ASYNC)
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _refuse(item: pytest.Item, why: str) -> None:
    pytest.fail(f"{item.nodeid} {why}", pytrace=False)


def world_of(request: pytest.FixtureRequest) -> SimulatedWorld:
    """The simulated world of a test, for a fixture of it: its drill's, or, of another, its own.

    It is closed with the first of the fixtures that ask for it, which is the last to be torn down.

    Raises:
        pytest.fail.Exception: the test would leave virtual time for a real event loop.
    """
    from pytest_drdrill.session.runner import RUN  # which needs this module
    from pytest_drdrill.session.start import settings_of  # likewise
    from pytest_drdrill.simulation.world import SimulatedWorld  # only for simulated tests

    if _ACTIVE and _ACTIVE[-1].item is request.node:
        return _ACTIVE[-1].world
    run = request.node.stash.get(RUN, None)
    world = run.world if run is not None else None
    if world is None:  # or else that was seen to when the drill began
        refuse_what_is_real(request.node)
        world = SimulatedWorld(settings_of(request.config).seed)
    handle = getattr(getattr(request.node, "obj", None), "hypothesis", None)
    _ACTIVE.append(_Active(request.node, world, run is not None, handle))

    def leave() -> None:
        _ACTIVE.pop()
        world.close()

    request.addfinalizer(leave)
    return world


def active_world() -> SimulatedWorld | None:
    """The world of the test that runs, where it is simulated."""
    return _ACTIVE[-1].world if _ACTIVE else None
