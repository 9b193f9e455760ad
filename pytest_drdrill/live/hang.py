"""Where a body that had to be ended was at that moment."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType


def where_it_was(frame: FrameType | None, file: str) -> str:
    """The innermost line of a file on the stack, in a waiting task of asyncio first.

    Returns:
        ``" at test_it.py:12"``; empty where no line of it is on any stack.
    """
    found = _own_line(frame, file) or _in_tasks(file)
    return "" if found is None else f" at {file.rpartition('/')[2]}:{found}"


def _own_line(frame: FrameType | None, file: str) -> int | None:
    while frame is not None:
        if frame.f_code.co_filename == file:
            return frame.f_lineno
        frame = frame.f_back
    return None


def _in_tasks(file: str) -> int | None:
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:  # no loop runs
        return None
    # The oldest first, which is the body's own: "Task-9" comes before "Task-10".
    for task in sorted(tasks, key=lambda each: (len(each.get_name()), each.get_name())):
        awaited: Any = task.get_coro()
        line: int | None = None
        while awaited is not None:  # from what the task runs to what that waits for
            frame = getattr(awaited, "cr_frame", None)
            if frame is not None and frame.f_code.co_filename == file:
                line = frame.f_lineno
            awaited = getattr(awaited, "cr_await", None)
        if line is not None:
            return line
    return None
