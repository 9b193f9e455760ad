"""Why a live system is not touched."""

from __future__ import annotations


class LiveRefused(Exception):  # noqa: N818 - a refusal, not an error of the program
    """A live system is not touched: the message says what, why, and what is accepted."""


class TargetHeld(LiveRefused):
    """Another drill holds the target; the message says which, in which process, since when."""


class TargetUnset(LiveRefused):
    """The environment variable that names the target is not set here."""


for _error in (LiveRefused, TargetHeld, TargetUnset):
    _error.__module__ = "pytest_drdrill"  # where it is imported from, which tracebacks then show
