"""The guardian: should this process be killed, it puts right at once what the journal says.

A tiny shell in a session of its own that holds the end of a pipe; only when that breaks does it
become a Python, which settles the journal as the next run would.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from weakref import WeakSet

# Whoever holds the other end of its input has ended, or has nothing to say any more; where there is
# no journal then, nothing is owed.
_WAIT = 'cd /; read -r line; [ -e "$1" ] || exit 0; exec "$2" -P -c "$3" "$1" "$4"'
_SETTLE = (
    "import sys; sys.path.insert(0, sys.argv[2]); "
    "from pytest_drdrill.faults.journal import settle_for; settle_for(sys.argv[1])"
)
_ROOT = str(Path(__file__).parents[2])


class Guardian:
    """Watches over one journal, from the first thing that is owed to the last.

    Args:
        journal: the file to settle.

    Raises:
        OSError: there is no shell, so nobody would.
    """

    def __init__(self, journal: Path) -> None:
        self._shell = subprocess.Popen(  # noqa: S603 - paths, each an argument of its own
            ["/bin/sh", "-c", _WAIT, "sh", journal, sys.executable, _SETTLE, _ROOT],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # neither Ctrl-C nor a hang-up reaches it
        )
        _guardians.add(self)

    @property
    def is_there(self) -> bool:
        """Whether it watches still: somebody may have killed it."""
        return self._shell.poll() is None

    def end(self) -> None:
        """Let it go, once its journal is gone; it leaves no zombie."""
        self._let_go()
        self._shell.wait()

    def forget(self) -> None:
        """In a fork: with the copy of the pipe open, it would wait for the fork to end too."""
        self._let_go()
        self._shell.returncode = 0  # no child of the fork, which can't wait for it

    def _let_go(self) -> None:
        if (pipe := self._shell.stdin) is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _forget_all() -> None:
    for guardian in _guardians:
        guardian.forget()


_guardians: WeakSet[Guardian] = WeakSet()
os.register_at_fork(after_in_child=_forget_all)
