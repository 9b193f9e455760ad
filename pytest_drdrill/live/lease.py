"""Leases: a fault on another machine ends by itself there when nobody renews it any more.

A guard, a few lines of shell in the background of that machine, counts down and undoes the fault,
unless it is renewed meanwhile or the lease is given back. So it needs neither this machine, nor the
network, nor a clock that both agree on.
"""

from __future__ import annotations

import shlex
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_duration
from pytest_drdrill.faults import FaultError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

LEAST_S = 3
"""The shortest lease, in seconds: the guard counts whole ones, and it is renewed thrice in it."""
_PATIENCE_S = 30.0
_TRIES = 60
_GUARD = """
d=$(mktemp -d "${{TMPDIR:-/tmp}}/drdrill-lease.XXXXXX") || exit 1
: >"$d/renewed"
(
  trap '' HUP INT TERM
  left={seconds}
  while [ -d "$d" ]; do
    if rm "$d/renewed"; then left={seconds}; fi
    if [ "$left" -le 0 ]; then
      tries={tries}
      until sh -c {undo} || [ "$tries" -le 0 ]; do tries=$((tries - 1)); sleep 1; done
      rm -rf "$d"
    fi
    left=$((left - 1))
    sleep 1
  done
) </dev/null >/dev/null 2>&1 &
echo "$d"
"""


class Lease:
    """What a fault on another machine rests on; renewed in a thread while this process works.

    Args:
        through: the program and its arguments that run a shell script there, given as one more
            argument: ``["ssh", "db1"]``, ``["docker", "exec", "db", "sh", "-c"]``.
        undo: the program and its arguments that undo the fault there.
        span: how long it lasts without being renewed.
        told: told that it ended although it was still needed.
    """

    def __init__(
        self,
        through: Sequence[str],
        undo: Sequence[str],
        span: timedelta,
        told: Callable[[str, str], None],
    ) -> None:
        self._through = list(through)
        self._undo = shlex.join(undo)
        self._span = span
        self._told = told
        self._over = threading.Event()
        self._folder = ""

    def begin(self) -> None:
        """Have the guard begin; the fault may strike then.

        Raises:
            FaultError: there is none, so the fault must not strike.
        """
        seconds = round(self._span.total_seconds())
        script = _GUARD.format(seconds=seconds, tries=_TRIES, undo=shlex.quote(self._undo))
        done = self._run(script)
        folder = "" if done is None else done.stdout.decode("utf-8", "replace").strip()
        if done is None or done.returncode or not folder.startswith("/"):
            raise FaultError(
                f"no lease of {format_duration(self._span)} could be begun through "
                f"{self._through[0]}, so nothing would end the fault should this machine die"
            )
        self._folder = shlex.quote(folder)
        threading.Thread(target=self._renew, name="drdrill-lease", daemon=True).start()

    def end(self) -> None:
        """The fault was undone: the guard goes without doing anything."""
        self._over.set()
        self._run(f"rm -rf {self._folder}")

    def abandon(self) -> None:
        """The fault could not be undone from here: the guard does, when the lease has run out."""
        self._over.set()

    def _renew(self) -> None:
        span = self._span.total_seconds()
        last = time.monotonic()
        while not self._over.wait(span / 3):
            began = time.monotonic()
            done = self._run(f"test -d {self._folder} && : >{self._folder}/renewed", span / 3)
            if done is not None and done.returncode == 0:
                last = began
            elif began - last > span and not self._over.is_set():
                text = f"not renewed for {format_duration(self._span)}: the target has undone it"
                self._told("lease ended", text)
                return

    def _run(
        self, script: str, patience: float = _PATIENCE_S
    ) -> subprocess.CompletedProcess[bytes] | None:
        """Run a script there; None where that could not be done in time."""
        try:
            return subprocess.run(  # noqa: S603 - the drill's own way to its target
                [*self._through, script],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=patience,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
