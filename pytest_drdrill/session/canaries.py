"""Canaries wired to the drill that asks for them: its clock, its timers, its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_drdrill.measure import Canary, DrillUsageError
from pytest_drdrill.session.start import run_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


def canaries_of(request: pytest.FixtureRequest) -> Callable[..., Canary]:
    """A factory of canaries; what they see is on the drill's timeline, and in the world's trace."""
    run = run_of(request, "canary")

    def make(**settings: Any) -> Canary:
        own = settings.pop("on_event", None)

        def told(what: str, detail: str) -> None:
            if run.world is not None:
                run.world.trace.add(run.drill.clock.monotonic(), made.name, what, detail)
            if own is not None:
                own(what, detail)

        made = Canary(run.drill, on_event=told, **settings)
        run.at_body_end.append(lambda: _end(made))
        return made

    return make


def _end(canary: Canary) -> None:
    """Stop a canary that the body left running, in the loop it runs in.

    Raises:
        DrillUsageError: it did; what it saw was never said to be all.
    """
    loop = canary.loop
    if loop is None:
        return
    if not (loop.is_closed() or loop.is_running()):
        loop.run_until_complete(canary.stop())
    raise DrillUsageError(
        f"{canary.name} still wrote when the drill ended, and was stopped: leave its `async with` "
        "block before that, and await its verify()"
    )
