"""Canaries wired to the drill that asks for them: its clock, its timers, its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_drdrill.measure import Canary, DrillUsageError
from pytest_drdrill.session.start import run_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from pytest_drdrill.measure import CanaryClient


def canaries_of(request: pytest.FixtureRequest) -> Callable[..., Canary]:
    """A factory of canaries; what they see is on the drill's timeline, and in the world's trace."""
    run = run_of(request, "canary")

    def make(client: CanaryClient | None = None, **settings: Any) -> Canary:
        if targets := getattr(client, "targets", ()):
            from pytest_drdrill.session.live_parts import allowed_of  # only for adapters

            allowed = allowed_of(request)
            for each in targets:
                allowed.check(each)
        own = settings.pop("on_event", None)

        def told(what: str, detail: str) -> None:
            if run.world is not None:
                run.world.trace.add(run.drill.clock.monotonic(), made.name, what, detail)
            if own is not None:
                own(what, detail)

        made = Canary(run.drill, client, on_event=told, **settings)
        run.at_body_end.append(lambda: _end(made))
        return made

    return make


def _end(canary: Canary) -> None:
    """Stop a canary that the body left running, and close its client, in the loop of both.

    Raises:
        DrillUsageError: it ran; what it saw was never said to be all.
    """
    left_running = canary.loop is not None
    loop = canary.loop or canary.client_loop
    if loop is not None and not (loop.is_closed() or loop.is_running()):
        loop.run_until_complete(_stop_and_close(canary))
    if left_running:
        raise DrillUsageError(
            f"{canary.name} still wrote when the drill ended, and was stopped: leave its `async "
            "with` block before that, and await its verify()"
        )


async def _stop_and_close(canary: Canary) -> None:
    await canary.stop()
    await canary.close()
