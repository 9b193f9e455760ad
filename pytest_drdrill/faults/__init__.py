"""What goes wrong, on purpose: faults, and the stack that undoes them."""

from pytest_drdrill.faults.disks import SmallDisk
from pytest_drdrill.faults.fault import Fault, FlippedBit, FlippedBits, LeakedFiles
from pytest_drdrill.faults.injector import FaultInjector
from pytest_drdrill.faults.restart import RestartedProcess
from pytest_drdrill.faults.undo import FaultError, FaultNotPermitted, UndoFailed, UndoStack

__all__ = [
    "Fault",
    "FaultError",
    "FaultInjector",
    "FaultNotPermitted",
    "FlippedBit",
    "FlippedBits",
    "LeakedFiles",
    "RestartedProcess",
    "SmallDisk",
    "UndoFailed",
    "UndoStack",
]
