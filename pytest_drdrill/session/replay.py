"""``--dr-check-replay``: whether a simulated drill goes the same way twice, in any process."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pytest_drdrill.measure import DrillFailure, ReplayDiffers
from pytest_drdrill.session.traces import trace_of
from pytest_drdrill.simulation import Trace

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from pytest_drdrill.evidence.types import RepeatRecord
    from pytest_drdrill.session.run import DrillRun


def replay_breaches(
    config: pytest.Config, run: DrillRun, repeat: RepeatRecord
) -> list[DrillFailure]:
    """Leave the trace of a run for the other one, and compare the two where that has ended.

    Each leaves its own before it looks: of two that end at once, in two workers, one sees both at
    least.
    """
    if run.world is None:
        return []
    own = trace_of(run, run.world)
    folder = _shared(config)
    label = hashlib.sha256(repeat["base"].encode("utf-8", "surrogateescape")).hexdigest()
    mine, others = (folder / f"{label}.{index}" for index in (repeat["index"], 3 - repeat["index"]))
    own.write(mine)
    if not others.exists():
        return []
    difference = own.difference(Trace.read(others))
    if difference is None:
        return []
    return [
        ReplayDiffers(
            f"with the same seed the other run went another way: {difference}; does the drill look "
            "at the wall's clock, at chance without a seed, or at the order of a set?"
        )
    ]


def _shared(config: pytest.Config) -> Path:
    """A folder that all workers of this session on this machine have, gone with pytest's own."""
    base: Path = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined] # noqa: SLF001
    folder = (base.parent if hasattr(config, "workerinput") else base) / "drdrill-replay"
    folder.mkdir(exist_ok=True)
    return folder
