"""How a canary's write or read through a real client can end, other than well."""

from __future__ import annotations


class NotWrittenError(Exception):
    """The system refused a write, or was never asked: it can't have been carried out."""


class MaybeWrittenError(Exception):
    """A write was sent and not confirmed: it may have been carried out, or may not.

    Attributes:
        leaves_open: true, which tells a canary that this is no refusal.
    """

    leaves_open = True


class NotReadError(Exception):
    """What was written could not be read back: no answer, or one that is not understood."""


for _error in (NotWrittenError, MaybeWrittenError, NotReadError):
    _error.__module__ = "pytest_drdrill"  # tracebacks then name no inner module
