"""What happened in a simulation, written down so that two runs can be compared."""

from __future__ import annotations

import json
import os
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.text import storable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from os import PathLike


class TraceEvent(NamedTuple):
    """One thing that happened.

    Attributes:
        at_s: when, in virtual seconds since the simulation began.
        source: to whom or what.
        event: what.
        detail: more of it, or ``""``.
    """

    at_s: float
    source: str
    event: str
    detail: str = ""

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.source} {self.event}{detail} at {format_seconds(self.at_s)}"


class Trace:
    """The events of one simulation, in the order in which they happened.

    Same seed, same trace: of two runs that differ, ``difference`` names the first event that does.

    Args:
        events: those to begin with.
    """

    def __init__(self, events: Iterable[TraceEvent] = ()) -> None:
        self._events = list(events)

    def __len__(self) -> int:
        return len(self._events)

    def __iter__(self) -> Iterator[TraceEvent]:
        return iter(self._events)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trace) and self._events == other._events

    __hash__ = None  # type: ignore[assignment] # it grows

    def add(self, at_s: float, source: str, event: str, detail: object = "") -> None:
        """Write an event down, as text that any file can hold."""
        texts = storable(source), storable(event), storable(detail)
        self._events.append(TraceEvent(round(at_s, 6), *texts))

    def difference(self, other: Trace) -> str | None:
        """The first event in which another trace differs, as a sentence; None where none does."""
        for place, (ours, theirs) in enumerate(zip_longest(self, other), 1):
            if ours != theirs:
                return f"event {place} differs: {ours or 'no more events'}; {theirs or 'no more'}"
        return None

    def write(self, path: str | PathLike[str]) -> None:
        """Write it to a file, whole or not at all: one event a line, each a JSON object.

        Raises:
            OSError: it could not be written; what was there is there still.
        """
        lines = [json.dumps(event._asdict()) for event in self]
        path = Path(path)
        half = path.with_name(f".drdrill-{os.getpid()}-{os.urandom(6).hex()}.tmp")
        try:
            half.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
            half.replace(path)
        except BaseException:
            half.unlink(missing_ok=True)
            raise

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Trace:
        """Read one that was written.

        Raises:
            ValueError: the file holds no trace.
        """
        events = []
        text = Path(path).read_text(encoding="utf-8")
        for number, line in enumerate(text.splitlines(), 1):
            try:
                events.append(TraceEvent(**json.loads(line)))
            except (ValueError, TypeError):
                raise ValueError(
                    f"{path}, line {number}: {line!r:.80} is no event of a trace"
                ) from None
        return cls(events)
