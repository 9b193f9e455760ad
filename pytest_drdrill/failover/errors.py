"""What goes wrong while traffic is watched and moved."""

from __future__ import annotations


class FailoverError(Exception):
    """The base of every error of this room, apart from bad arguments."""


class NotMonitoringError(FailoverError, RuntimeError):
    """Something was asked that only a running monitor of this event loop can do."""


class FailoverTimeoutError(FailoverError, TimeoutError):
    """An endpoint did not become the active one in time."""


class FailoverFailed(FailoverError):  # noqa: N818 - the design's name for it
    """Traffic could not be moved; the endpoint that was active is still the active one."""


class MonitorShortageError(FailoverError):
    """The monitor's own machine has run out of something that a check needs, such as descriptors.

    It says nothing of the endpoint, so it ends the monitoring: the cause of a ``MonitoringFailed``.
    """


class MonitoringFailed(FailoverError):  # noqa: N818 - the sibling of FailoverFailed
    """The monitor itself broke, so nothing that it said since can be relied on.

    The cause is the exception as it was raised: a prober that raised something other than an
    ``OSError``, an ``on_event`` that raised, a monitoring task cancelled from outside.
    """


for _error in (
    FailoverError,
    NotMonitoringError,
    FailoverTimeoutError,
    FailoverFailed,
    MonitorShortageError,
    MonitoringFailed,
):
    _error.__module__ = "pytest_drdrill"  # where it is imported from, which tracebacks then show
