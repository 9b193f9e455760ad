"""Who waits, and where: what the errors of a simulation say of its tasks."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from pytest_drdrill.text import storable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator
    from types import CodeType, FrameType

_SHOWN = 20
"""Tasks that a message lists; a thousand of them would say no more."""


def list_tasks(tasks: Iterable[asyncio.Task[Any]]) -> str:
    """One line for each task, with the awaits that it is in, outermost first."""
    lines = [f"  {storable(task.get_name())}: {_where(task)}" for task in tasks]
    left = len(lines) - _SHOWN
    if left > 0:
        lines[_SHOWN:] = [f"  and {left} more"]
    return "\n".join(lines)


def _where(task: asyncio.Task[Any]) -> str:
    places = [
        f"{code.co_name} ({PurePath(code.co_filename).name}:{frame.f_lineno})"
        for code, frame in _frames(task.get_coro())
    ]
    return " > ".join(places) or "not begun"


def _frames(awaited: Any) -> Iterator[tuple[CodeType, FrameType]]:
    """The frames of a coroutine and of what it awaits, down to what is no Python code."""
    while awaited is not None:
        for kind, inner in (("cr", "await"), ("gi", "yieldfrom"), ("ag", "await")):
            frame = getattr(awaited, f"{kind}_frame", None)
            if frame is not None:
                yield frame.f_code, frame
                awaited = getattr(awaited, f"{kind}_{inner}", None)
                break
        else:
            return
