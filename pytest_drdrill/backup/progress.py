"""How far a run came, told to whoever asked, a few times a second at most."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_INTERVAL_S = 0.1


class BackupProgress(NamedTuple):
    """How far a run came.

    Attributes:
        stage: what is done.
        job_id: with which backup.
        entries: entries that were dealt with.
        size_bytes: bytes of content that were read or written.
    """

    stage: Literal["backup", "verify", "restore"]
    job_id: str
    entries: int
    size_bytes: int


class Reporter:
    """Tells a callback how far a run came; what that raises ends the run, which clears up.

    Args:
        tell: the callback, or None.
        stage: what is done.
        job_id: with which backup.

    Attributes:
        is_wanted: whether there is a callback.
    """

    def __init__(
        self,
        tell: Callable[[BackupProgress], object] | None,
        stage: Literal["backup", "verify", "restore"],
        job_id: str,
    ) -> None:
        self.is_wanted = tell is not None
        self._tell = tell
        self._stage = stage
        self._job_id = job_id
        self._told = float("-inf")
        self._last = (0, 0)

    def __call__(self, entries: int, size_bytes: int) -> None:
        """So far it came; told if the last time was long enough ago."""
        if self._tell is None:
            return
        self._last = entries, size_bytes
        now = time.monotonic()
        if now - self._told >= _INTERVAL_S:
            self._told = now
            self._say()

    def end(self) -> None:
        """It is done; told in any case."""
        if self._tell is not None:
            self._say()

    @contextlib.contextmanager
    def unwrapping(self) -> Iterator[None]:
        """Around the run: what the callback raised comes out of it as it was."""
        try:
            yield
        except CallbackError as wrapped:
            for note in getattr(wrapped, "__notes__", ()):
                wrapped.error.add_note(note)
            raise wrapped.error from wrapped.error.__cause__

    def _say(self) -> None:
        assert self._tell is not None
        try:
            self._tell(BackupProgress(self._stage, self._job_id, *self._last))
        except OSError as error:
            raise CallbackError(error) from None


class CallbackError(Exception):
    """An error of the caller's own, which is not to be taken for one of the disk.

    Attributes:
        error: the error.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


UNTOLD = Reporter(None, "backup", "")
"""For runs that nobody asked about."""
