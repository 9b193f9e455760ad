"""The undo stack: whatever a drill breaks is put right, in reverse order, whatever happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class FaultError(Exception):
    """A fault was refused before it did anything; the message says why."""


class UndoFailed(ExceptionGroup[Exception]):
    """Some faults could not be undone; each inner exception says which and why."""


for _error in (FaultError, UndoFailed):
    _error.__module__ = "pytest_drdrill"  # where it is imported from, which tracebacks then show


class UndoStack:
    """Undo actions, run last in first out; each runs once, and one that fails stops no other."""

    def __init__(self) -> None:
        self._actions: list[tuple[str, Callable[[], None]]] = []

    def push(self, what: str, undo: Callable[[], None]) -> Callable[[], None]:
        """Add the undo of a fault.

        Args:
            what: the fault in words, for the error should its undo fail.
            undo: puts it right.

        Returns:
            A callable that undoes it early; calling it again does nothing.
        """
        entry = (what, undo)
        self._actions.append(entry)

        def early() -> None:
            for index, pending in enumerate(self._actions):
                if pending is entry:
                    del self._actions[index]
                    undo()
                    return

        return early

    def undo_all(self) -> None:
        """Undo what is left, the newest first.

        Raises:
            UndoFailed: for those that could not be undone, after all were tried.
            BaseException: the first interrupt that came meanwhile, after all were tried.
        """
        failures: list[Exception] = []
        interrupt: BaseException | None = None
        while self._actions:
            what, undo = self._actions.pop()
            try:
                undo()
            except Exception as error:  # noqa: BLE001 - every other fault has to be undone still
                error.add_note(f"while undoing: {what}")
                failures.append(error)
            except BaseException as error:  # noqa: BLE001 - on Ctrl-C, too, and raised below
                interrupt = interrupt or error
                error.add_note(f"while undoing: {what}")
        if interrupt is not None:
            for failure in failures:
                interrupt.add_note(f"not undone: {failure!r}")
            raise interrupt
        if failures:
            raise UndoFailed("faults that could not be undone", failures)
