"""SIGTERM ends a session as Ctrl-C does: fixtures end, faults are undone, evidence is written.

By itself it would end the process where it stands.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

    import pytest

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """The session was ended by a signal."""


Terminated.__module__ = "pytest_drdrill"


def end_cleanly_on_signals(config: pytest.Config) -> None:
    """From now on to the end of the session, unless somebody else deals with these signals."""
    if threading.current_thread() is not threading.main_thread():
        return
    # What is no default is ours already, or was set by whoever started us, such as nohup.
    ours = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    process = os.getpid()
    came: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        if os.getpid() != process:  # a fork, which whoever made it ends in this way
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        elif not came:  # more of them must not end what puts things right
            came.append(number)
            raise Terminated(f"ended by {signal.Signals(number).name}")

    def restore() -> None:
        for number in ours:
            if signal.getsignal(number) is end:
                signal.signal(number, signal.SIG_DFL)

    for number in ours:
        signal.signal(number, end)
    config.add_cleanup(restore)
