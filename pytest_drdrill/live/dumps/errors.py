"""What can go wrong with a dump, one class for each thing a caller may want to tell apart."""
# ruff: noqa: N818 - named for what happened, like the verdicts RTOExceeded and its siblings

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.measure.verdicts import DrillFailure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_drdrill.live.dumps.findings import RestoreFinding


class DumpError(Exception):
    """A dump that can't be had or restored; the message is one sentence for a reader."""


class DumpNotFound(DumpError):
    """No file or folder matches the pattern."""


class DumpUnfinished(DumpError):
    """The newest dump is still being written, or its writer died in the middle of it."""


class DumpRefused(DumpError):
    """It is no dump that can be restored here (empty, encrypted, of a newer PostgreSQL ...)."""


class RecoveryPointUnknown(DumpError):
    """Nothing says from which moment the data of a dump are."""


class RestoreFailed(DumpError):
    """The restore did not come to its end (the disk was full, the scratch server ended ...)."""


class RestoreUnsound(DrillFailure):
    """A dump was restored, or would be, with serious findings that nobody said to ignore.

    Attributes:
        findings: all of them, ignored and harmless ones too.
    """

    def __init__(self, message: str, findings: Sequence[RestoreFinding] = ()) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


for _error in (
    DumpError,
    DumpNotFound,
    DumpUnfinished,
    DumpRefused,
    RecoveryPointUnknown,
    RestoreFailed,
    RestoreUnsound,
):
    _error.__module__ = "pytest_drdrill"  # where it is imported from, which tracebacks then show
