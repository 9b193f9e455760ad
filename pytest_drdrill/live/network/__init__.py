"""A private network of hosts on this machine, whose packets can be lost without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.late import names_of

if TYPE_CHECKING:
    from pytest_drdrill.live.network.host import NetworkHost
    from pytest_drdrill.live.network.scratch import ScratchNetwork

__getattr__ = names_of(
    __name__,
    {
        "host": ["NetworkHost"],
        "scratch": ["ScratchNetwork"],
    },
)

__all__ = ["NetworkHost", "ScratchNetwork"]
