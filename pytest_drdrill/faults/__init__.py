"""What goes wrong, on purpose: faults, and the stack that undoes them."""

from pytest_drdrill.faults.injector import Fault, FaultInjector
from pytest_drdrill.faults.undo import FaultError, UndoFailed, UndoStack

__all__ = ["Fault", "FaultError", "FaultInjector", "UndoFailed", "UndoStack"]
