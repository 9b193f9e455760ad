"""The undo stack: whatever a drill breaks is put right, in reverse order, whatever happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.measure.verdicts import PreconditionNotMet

if TYPE_CHECKING:
    from collections.abc import Callable


class FaultError(Exception):
    """A fault was refused before it did anything, or failed half way; the message says which."""


class FaultNotPermitted(FaultError, PreconditionNotMet):  # noqa: N818 - an outcome
    """This machine does not permit a fault, so the drill is not verified; the message says why.

    Args:
        fault: its name, as of the method.
        why: what is missing, and how to come by it.
    """

    def __init__(self, fault: str, why: str) -> None:
        super().__init__(f"{fault} is not permitted on this machine: {why}")


class UndoFailed(ExceptionGroup[Exception]):
    """Some faults could not be undone; each inner exception says which and why."""


for _error in (FaultError, FaultNotPermitted, UndoFailed):
    _error.__module__ = "pytest_drdrill"  # where it is imported from, which tracebacks then show


class _Action:
    def __init__(self, what: str, undo: Callable[[], None]) -> None:
        self.what = what
        self.undo = undo
        self.was_interrupted = False


class UndoStack:
    """Undo actions, run last in first out; one that fails stops no other.

    Each runs once, but for one that an interrupt hit: nobody knows how far it had come, so it is
    run a second time.
    """

    def __init__(self) -> None:
        self._actions: list[_Action] = []

    def push(self, what: str, undo: Callable[[], None]) -> Callable[[], None]:
        """Add the undo of a fault.

        Args:
            what: the fault in words, for the error should its undo fail.
            undo: puts it right; after an interrupt it may be called once more, and in a live drill
                whose body hangs from another thread, meanwhile too.

        Returns:
            A callable that undoes it early; calling it again does nothing.
        """
        action = _Action(what, undo)
        self._actions.append(action)

        def early() -> None:
            if action in self._actions:
                self._run(action)

        return early

    def undo_all(self) -> None:
        """Undo what is left, the newest first.

        Raises:
            UndoFailed: for those that could not be undone, after all were tried.
            BaseException: the first interrupt that came meanwhile, after all were tried.
        """
        failures: list[Exception] = []
        interrupts: list[BaseException] = []
        try:
            self._undo_rest(failures, interrupts)
        except BaseException as error:  # noqa: BLE001 - came between two undos; raised below
            interrupts.append(error)
            self._undo_rest(failures, interrupts)
        if interrupts:
            for failure in failures:
                interrupts[0].add_note(f"not undone: {failure!r}")
            raise interrupts[0]
        if failures:
            raise UndoFailed("faults that could not be undone", failures)

    def _undo_rest(self, failures: list[Exception], interrupts: list[BaseException]) -> None:
        while self._actions:
            action = self._actions[-1]
            try:
                self._run(action)
            except Exception as error:  # noqa: BLE001 - every other fault has to be undone still
                error.add_note(f"while undoing: {action.what}")
                failures.append(error)
            except BaseException as error:  # noqa: BLE001 - on Ctrl-C, too, and raised by undo_all
                error.add_note(f"while undoing: {action.what}")
                interrupts.append(error)
                if action.was_interrupted:
                    self._remove(action)
                action.was_interrupted = True

    def _run(self, action: _Action) -> None:
        # Removed only after: what an interrupt keeps from running is still there to be undone.
        try:
            action.undo()
        except Exception:
            self._remove(action)
            raise
        self._remove(action)

    def _remove(self, action: _Action) -> None:
        if action in self._actions:  # its undo may have run the stack itself
            self._actions.remove(action)
