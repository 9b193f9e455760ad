"""What would happen with those settings: what a tool's formula predicts, beside a simulation."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from pytest_drdrill.durations import format_duration
from pytest_drdrill.failover import settings
from pytest_drdrill.simulation.errors import HorizonError
from pytest_drdrill.simulation.forecast_text import as_markdown, as_text
from pytest_drdrill.simulation.loop import DEFAULT_HORIZON
from pytest_drdrill.simulation.mechanisms import mechanism_of
from pytest_drdrill.simulation.mechanisms.stage import Stage
from pytest_drdrill.simulation.world import SimulatedWorld

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from pytest_drdrill.failover.presets import Preset, Span
    from pytest_drdrill.failover.presets.base import Fault

_ENDS: tuple[Callable[[], float], ...] = (lambda: 0.0, lambda: 1.0)
"""The chance of the first two samples: everything as soon, and everything as late as can be."""
_RESOLUTION = timedelta(microseconds=2)
"""What a virtual clock and a disaster just beside a check are off by."""


class Simulated(NamedTuple):
    """What came of simulated disasters."""

    shortest: timedelta
    median: timedelta
    longest: timedelta


@dataclass(frozen=True)
class WhatIfRow:
    """One thing that happens after a disaster.

    Attributes:
        fault: how the service failed.
        milestone: what happened, in the tool's own words; empty where the tool notices nothing.
        predicted: by the formula; None where the tool notices nothing.
        simulated: measured; None where the tool notices nothing.
    """

    fault: Fault
    milestone: str
    predicted: Span | None = None
    simulated: Simulated | None = None

    @property
    def as_predicted(self) -> bool:
        """Whether what was simulated lies within what is predicted."""
        if self.predicted is None or self.simulated is None:
            return self.predicted is None and self.simulated is None
        soon, late = self.predicted
        return (
            soon - _RESOLUTION <= self.simulated.shortest
            and self.simulated.longest <= late + _RESOLUTION
        )


@dataclass(frozen=True)
class WhatIf:
    """What ``what_if`` found; as text, it is a table with the formula and its source.

    Attributes:
        preset: whose settings they are.
        rows: for each way to fail, what happens.
        samples: disasters simulated for each way to fail.
        seed: of their chance.
    """

    preset: Preset
    rows: tuple[WhatIfRow, ...]
    samples: int
    seed: int

    def row(self, fault: Fault = "refused", milestone: str | None = None) -> WhatIfRow:
        """The row of a way to fail; by default that of the moment when traffic goes elsewhere.

        Raises:
            LookupError: there is no such row.
        """
        name = self.preset.failover if milestone is None else milestone
        for each in self.rows:
            if each.fault == fault and each.milestone in ("", name):
                return each
        known = ", ".join(f"{each.fault}: {each.milestone or 'nothing'}" for each in self.rows)
        raise LookupError(f"no row for {fault!r} and {name!r}; there are {known}")

    def markdown(self) -> str:
        """The table in Markdown."""
        return as_markdown(self)

    def __str__(self) -> str:
        return as_text(self)


def what_if(
    preset: Preset,
    faults: Iterable[Fault] | None = None,
    *,
    samples: int = 100,
    seed: int = 0,
) -> WhatIf:
    """What would the recovery time be with those settings: predicted, and simulated beside it.

    For each way to fail the tool's own mechanism (checks, adverts, pings, a lease) runs in virtual
    time, and a disaster strikes it in another phase each time. The first two samples are the ends:
    a disaster just before the next check or renewal, and one just after the last, with all that is
    left to chance as soon and as late as can be. The others are anywhere. It is synchronous: an
    async drill asks for it in a fixture.

    Args:
        preset: the settings.
        faults: the ways to fail, each simulated once; by default all that are predicted for the
            tool.
        samples: disasters for each of them, the two ends included.
        seed: of all chance.

    Raises:
        TypeError: no preset, no list of ways to fail, or a number of another type.
        ValueError: fewer than two samples, no way to fail or one that is not predicted for the
            tool, or settings with which it would take more than 366 days.
        SimulationError: called from a running event loop.
    """
    mechanism = mechanism_of(preset)
    settings.threshold("samples", samples, of="disasters")
    if samples < len(_ENDS):
        raise ValueError("samples must be at least 2, one for each end of what is predicted")
    if type(seed) is not int:
        raise TypeError(f"a seed must be a whole number, not {seed!r}")
    rows: list[WhatIfRow] = []
    for fault in _chosen(preset, faults):
        predicted = preset.milestones(fault)
        if any(each.longest > DEFAULT_HORIZON for each in predicted.values()):
            raise _beyond()
        found: dict[str, list[float]] = {name: [] for name in predicted}
        for number in range(samples):
            chance = random.Random(f"{seed}:{fault}:{number}").random  # noqa: S311 - no secret
            draw = _ENDS[number] if number < len(_ENDS) else chance
            with SimulatedWorld(seed) as world:
                try:
                    happened = world.run(_play(mechanism, preset, Stage(world, fault, draw)))
                except HorizonError:
                    raise _beyond() from None
            for name in {*found, *happened}:  # what is predicted and never happens is an error
                found[name].append(happened[name])
        if not predicted:
            rows.append(WhatIfRow(fault, ""))
        rows += [
            WhatIfRow(fault, name, span, _summed_up(found[name]))
            for name, span in predicted.items()
        ]
    return WhatIf(preset, tuple(rows), samples, seed)


def _chosen(preset: Preset, faults: Iterable[Fault] | None) -> Iterable[Fault]:
    if faults is None:
        return preset.faults
    if isinstance(faults, str) or not isinstance(faults, Iterable):
        raise TypeError(f"faults must be a list of ways to fail, as ['silent'], not {faults!r}")
    chosen = dict.fromkeys(faults)
    if not chosen:
        raise ValueError("faults must hold at least one way to fail; by default all are simulated")
    return chosen


def _beyond() -> ValueError:
    longest = format_duration(DEFAULT_HORIZON)
    return ValueError(f"these settings go beyond what is simulated, {longest}")


async def _play(
    mechanism: Callable[[Any, Stage], Awaitable[dict[str, float]]], preset: Preset, stage: Stage
) -> dict[str, float]:
    try:
        return await mechanism(preset, stage)
    finally:
        await stage.end()


def _summed_up(seconds: list[float]) -> Simulated:
    ordered = (min(seconds), statistics.median(seconds), max(seconds))
    return Simulated(*(timedelta(seconds=each) for each in ordered))
