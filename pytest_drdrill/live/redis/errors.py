"""How a write, or a reading, of the canary's client ended where it did not end well."""

from __future__ import annotations


class RedisWriteError(Exception):
    """A write was refused, or nobody knows what became of it; or reading gave no answer.

    Args:
        message: what happened, where; without any secret.
        leaves_open: whether the write may have been carried out all the same.

    Attributes:
        leaves_open: as given.
    """

    def __init__(self, message: str, *, leaves_open: bool = False) -> None:
        super().__init__(message)
        self.leaves_open = leaves_open


RedisWriteError.__module__ = "pytest_drdrill"  # where it is imported from
