"""What goes wrong between a drill and an HAProxy."""

from __future__ import annotations


class HAProxyError(RuntimeError):
    """HAProxy can't be asked, or did not do what it was asked for; the message says why."""


HAProxyError.__module__ = "pytest_drdrill"  # where it is imported from, which tracebacks then show
