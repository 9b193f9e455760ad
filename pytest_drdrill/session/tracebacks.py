"""Where a failing drill points: at its own line, not at what it called of this package."""

from __future__ import annotations

import sys
from typing import Any

_PACKAGE = __name__.partition(".")[0]
_USAGE = (TypeError, ValueError)
"""What the package raises of Python's own for an argument that it can't take."""


def hide_our_frames() -> None:
    """Have pytest leave this package's frames out of what it shows of a deliberate error.

    Of any other error they stay: then the fault is ours. ``--full-trace`` shows them always.
    """
    for name, module in tuple(sys.modules.items()):
        if name.partition(".")[0] == _PACKAGE:
            # pytest looks for this name in a frame's locals and globals.
            vars(module).setdefault("__tracebackhide__", _is_deliberate)


def _is_deliberate(shown: Any) -> bool:
    error = shown.value
    return isinstance(error, _USAGE) or any(
        kind.__module__.partition(".")[0] == _PACKAGE for kind in type(error).__mro__
    )
