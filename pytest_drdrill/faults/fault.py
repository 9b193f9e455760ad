"""A fault that has been applied, and what some of them tell about themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType


class Fault:
    """A fault that has been applied; as a context manager, it is undone early, on exit.

    Attributes:
        what: the fault in words.
        undoable: False where nothing can undo it, so that it runs on scratch alone.
    """

    def __init__(self, what: str, undo: Callable[[], None] | None = None) -> None:
        self.what = what
        self.undoable = undo is not None
        self._undo = undo

    def undo(self) -> None:
        """Put it right now; nothing happens a second time, or where it can't be undone."""
        if self._undo is not None:
            self._undo()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.undo()


class FlippedBit(NamedTuple):
    """A bit that was flipped.

    Attributes:
        path: the file.
        offset: the byte, counted from 0.
        bit: the bit of that byte, counted from 0, the lowest.
    """

    path: Path
    offset: int
    bit: int


class FlippedBits(Fault):
    """Bits that have been flipped, which nothing undoes.

    Attributes:
        bits: each of them, by path and place.
    """

    def __init__(self, what: str, bits: Sequence[FlippedBit]) -> None:
        super().__init__(what)
        self.bits = tuple(bits)

    @property
    def offsets(self) -> tuple[int, ...]:
        """The bytes that they lie in, in the order of ``bits``."""
        return tuple(bit.offset for bit in self.bits)


class LeakedFiles(Fault):
    """Files of which a copy lies where it should not.

    Attributes:
        path: the copy, a folder or a file.
    """

    def __init__(self, what: str, undo: Callable[[], None], path: Path) -> None:
        super().__init__(what, undo)
        self.path = path
