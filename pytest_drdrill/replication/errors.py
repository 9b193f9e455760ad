"""What goes wrong while changes are written, shipped and taken over."""

from __future__ import annotations


class ReplicationError(Exception):
    """The base of every error of this room, apart from bad arguments."""


class NotReplicatingError(ReplicationError, RuntimeError):
    """Something was asked that only a running replication of this event loop can do."""


class ReplicationFailed(ReplicationError):  # noqa: N818 - as the sibling of failover is named
    """The replication itself broke; the cause is the exception as it was raised."""


class RegionUnreachableError(ReplicationError, ConnectionError):
    """A region can't be reached from where it was asked; nothing was written."""


class SilentRegionError(RegionUnreachableError):
    """No answer, where a refusal would have been one: what was asked may have arrived or not."""


class WriteRefusedError(ReplicationError):
    """A region did not take a write: it is not the primary, is fenced, or is too far ahead."""


class IndeterminateWriteError(ReplicationError):
    """A write was taken and never acknowledged: it may survive, or may not.

    For ``rpo_timer.indeterminate(key)``: neither lost nor safe.

    Attributes:
        leaves_open: true, which tells a canary that this is no refusal.
    """

    leaves_open = True


class PromotionFailed(ReplicationError):  # noqa: N818 - as FailoverFailed is named
    """A region could not be made the primary; the one that was is still named."""


class CatchUpTimeoutError(ReplicationError, TimeoutError):
    """A secondary did not catch up in time."""


class StaleEpochError(ReplicationError):
    """A message of an epoch that is over; who sent it has been superseded."""


class DivergedError(ReplicationError):
    """A store can't take changes as they are: it holds others, or lacks what comes before them."""


for _error in (
    ReplicationError,
    NotReplicatingError,
    ReplicationFailed,
    RegionUnreachableError,
    SilentRegionError,
    WriteRefusedError,
    IndeterminateWriteError,
    PromotionFailed,
    CatchUpTimeoutError,
    StaleEpochError,
    DivergedError,
):
    _error.__module__ = "pytest_drdrill"  # where it is imported from, which tracebacks then show
