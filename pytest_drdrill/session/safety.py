"""What the ini file says of live systems: read where they may be touched, or that is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from pytest_drdrill.durations import ACCEPTED, parse_duration
from pytest_drdrill.live.left import LeftBehind
from pytest_drdrill.live.refused import LiveRefused
from pytest_drdrill.live.targets import AllowList
from pytest_drdrill.state import VARIABLE, state_folder

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

SAFETY: pytest.StashKey[Safety] = pytest.StashKey()


class Safety(NamedTuple):
    """What keeps live drills safe.

    Attributes:
        allowed: the systems that they may touch.
        wait: how long one waits for a target that another holds.
        locks: the folder of the locks.
        left: what drills left behind.
    """

    allowed: AllowList
    wait: timedelta
    locks: Path
    left: LeftBehind


def safety_of(config: pytest.Config) -> Safety:
    """The session's, read on first use.

    Raises:
        pytest.UsageError: one sentence, naming the key, its value and what is accepted.
    """
    safety = config.stash.get(SAFETY, None)
    if safety is None:
        safety = config.stash[SAFETY] = _read(config)
    return safety


def acknowledge(config: pytest.Config, nodeids: list[str]) -> None:
    """Take away the records of drills, of which somebody has put right what they left.

    Raises:
        pytest.UsageError: a drill left nothing behind, or still runs.
    """
    safety = safety_of(config)
    for nodeid in nodeids:
        try:
            safety.left.acknowledge(nodeid, safety.locks)
        except (ValueError, LiveRefused) as error:
            raise pytest.UsageError(f"--dr-acknowledge: {error}") from None


def _read(config: pytest.Config) -> Safety:
    try:
        allowed = AllowList(config.getini("dr_live_targets"))
    except ValueError as error:
        raise pytest.UsageError(f"dr_live_targets: {error}") from None
    try:
        wait = parse_duration(config.getini("dr_live_wait"))
    except ValueError as error:
        text = str(error).partition(";")[0]
        raise pytest.UsageError(f"dr_live_wait: {text}; write {ACCEPTED}") from None
    try:
        state = state_folder() / "live"
    except OSError as error:
        why = error.strerror or error
        raise pytest.UsageError(
            f"live drills need a folder for locks: {why}; name one in {VARIABLE}"
        ) from None
    return Safety(allowed, wait, state / "locks", LeftBehind(state / "drills"))
