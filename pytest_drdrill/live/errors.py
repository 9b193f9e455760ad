"""What adapters to real parts raise."""

from __future__ import annotations

from pytest_drdrill.measure.verdicts import PreconditionNotMet


class ComponentMissing(PreconditionNotMet):
    """A program or Python package that a drill needs is not on this machine: not verified.

    Args:
        what: what is missing.
        install: how to install it, as one would type it.
    """

    def __init__(self, what: str, install: str) -> None:
        super().__init__(f"this machine lacks {what}; install it: {install}")


class ServerFailed(RuntimeError):  # noqa: N818 - as the other outcomes are named
    """A scratch server did not start, or ended by itself; the message has the end of its log."""


for _error in (ComponentMissing, ServerFailed):
    _error.__module__ = "pytest_drdrill"  # where it is imported from, which tracebacks then show
