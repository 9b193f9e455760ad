"""What a drill that broke its promise says where the test fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.report import outline, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_drdrill.evidence.types import Measured

_EVENTS_SHOWN = 40


def failure_text(messages: Sequence[str], drill: Measured) -> str:
    """The broken promises, then what was measured, then the timeline; one text of several lines."""
    lines = list(messages)
    measures = words.measures(drill)
    if measures:
        lines.append("measured")
        lines += [f"  {label:<8}{text}" for label, text in measures]
    return "\n".join(lines + timeline_text(drill))


def timeline_text(drill: Measured) -> list[str]:
    """A drill's timeline as indented lines under a heading; empty without events."""
    events = outline.timeline(drill, _EVENTS_SHOWN)
    if not events:
        return []
    columns = max(len(event) for _, event, _ in events)
    lines = [f"  {at:>8}  {event:<{columns}}  {detail}".rstrip() for at, event, detail in events]
    return ["timeline", *lines]
