"""What a ``with`` block may have, and gives back at its end."""

from __future__ import annotations

from typing import Self


class Closing:
    """A context manager whose end closes it."""

    def close(self) -> None:
        """End it, and leave nothing; again, nothing happens."""
        raise NotImplementedError

    def _begin(self) -> None:
        """What its block begins with; it is closed where that fails."""

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
