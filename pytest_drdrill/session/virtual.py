"""Tests in virtual time: which ones they are, and how they run in their simulated world."""

from __future__ import annotations

import functools
import inspect
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pytest_drdrill.session.markers import is_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_drdrill.simulation import SimulatedWorld

ROOT = "_dr_simulation"
"""The fixture below every simulated one; whoever overrides those without it leaves virtual time."""
_SIMULATED = ("simulated_endpoints", "simulated_regions")
_CONVERTED = "_dr_in_virtual_time"
_MISTAKEN = (
    "ignore:The test .* is marked with '@pytest.mark.asyncio' "
    "but it is not an async function:pytest.PytestWarning"
)

_ACTIVE: list[tuple[SimulatedWorld, bool]] = []
"""The world of the test that runs, and whether that is a drill; before it those of the tests around
it, where a test runs tests."""


def asks_for_simulation(item: pytest.Item) -> bool:
    """Whether a test asks for a simulated fixture, by itself or through other fixtures."""
    names = getattr(item, "fixturenames", ())
    if ROOT in names:
        return True
    # Before pytest 9.2, what an overridden fixture asks for is not among the names.
    return any(
        ROOT in definition.argnames
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
    if handle is not None:  # shared by all parameters of the test
        if not hasattr(handle.inner_test, _CONVERTED):
            handle.inner_test = _converted(handle.inner_test, example=True)
    elif is_async(function):
        item.obj = _converted(function, example=False)  # type: ignore[attr-defined]
    if item.get_closest_marker("asyncio") is not None:  # of its module, as likely as not
        item.add_marker(pytest.mark.filterwarnings(_MISTAKEN))


def _converted(function: Callable[..., Any], *, example: bool) -> Callable[..., None]:
    asynchronous = inspect.iscoroutinefunction(function)

    @functools.wraps(function)
    def in_virtual_time(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        from pytest_drdrill.simulation import DeadlockError, HorizonError, LivelockError  # by now

        world, is_drill = _ACTIVE[-1]
        if example and not is_drill:  # of a drill each example has begun anew by now
            world.restart()
        outcome = function(*args, **kwargs)
        if not asynchronous:
            return
        try:
            world.run(outcome)
        except (DeadlockError, HorizonError, LivelockError) as error:
            # They name the lines that wait; where they were raised is deep in asyncio.
            raise error.with_traceback(None) from error.__cause__

    setattr(in_virtual_time, _CONVERTED, True)
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
    if is_async(item.obj):  # type: ignore[attr-defined]
        _refuse(
            item,
            "asks for a simulated fixture, and another plugin or its own class runs it on a real "
            "event loop: write it as a plain async function, or make it a local or live drill",
        )
    for name in item.fixturenames:  # type: ignore[attr-defined]
        for definition in _definitions(item, name):
            function = definition.func
            if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
                _refuse(
                    item,
                    f"runs in virtual time, and its fixture {name!r} is asynchronous, which takes "
                    "a real event loop: make that a plain fixture, or this a local or live drill",
                )


def _refuse(item: pytest.Item, why: str) -> None:
    pytest.fail(f"{item.nodeid} {why}", pytrace=False)


@contextmanager
def simulated_world(request: pytest.FixtureRequest) -> Iterator[SimulatedWorld]:
    """The simulated world of a test: its drill's, or, of an ordinary test, one of its own."""
    from pytest_drdrill.session.runner import RUN  # which needs this module
    from pytest_drdrill.session.start import settings_of  # likewise
    from pytest_drdrill.simulation import SimulatedWorld  # only for simulated tests

    refuse_what_is_real(request.node)
    run = request.node.stash.get(RUN, None)
    world = run.world if run is not None else None
    if world is None:
        world = SimulatedWorld(settings_of(request.config).seed)
    _ACTIVE.append((world, run is not None))
    try:
        yield world
    finally:
        _ACTIVE.pop()
        world.close()


def active_world() -> SimulatedWorld | None:
    """The world of the test that runs, where it is simulated."""
    return _ACTIVE[-1][0] if _ACTIVE else None
