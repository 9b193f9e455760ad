"""The program ``ip``, and what this machine says where it does not permit a scratch network."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

from pytest_drdrill.faults import FaultError, FaultNotPermitted
from pytest_drdrill.live.errors import ComponentMissing
from pytest_drdrill.live.programs import program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_drdrill.live.network.namespace import Namespace

_INSTALL = "apt-get install iproute2"
_RIGHTS = ("not permitted", "Permission denied")
_KERNEL = ("not supported", "Unknown device type")


class Links:
    """Has ``ip`` make links, addresses, routes and rules, each in the namespace that is named.

    Raises:
        ComponentMissing: there is no ``ip``, or not that of iproute2.
    """

    def __init__(self) -> None:
        self.program = program("ip", _INSTALL)
        if "iproute2" not in self._run(None, "-Version").stdout:
            raise ComponentMissing(f"the ip of iproute2 ({self.program} is another one)", _INSTALL)

    def change(self, where: Namespace, lines: Sequence[str]) -> None:
        """Carry out commands of ``ip``, in their order, up to the first that fails.

        Raises:
            FaultNotPermitted: this process has not the right, or the kernel lacks what it takes.
            FaultError: another failure, in the words of ``ip``.
        """
        done = self._run(where, "-batch", "-", lines=lines)
        if done.returncode:
            said = done.stderr.strip().partition("\n")[0] or f"exit status {done.returncode}"
            told = f"ip says {said!r}"
            if any(each in said for each in _RIGHTS):
                raise FaultNotPermitted("scratch_network", lacking_rights(told))
            if any(each in said for each in _KERNEL):
                why = f"its kernel lacks virtual links (veth) or policy routing ({told})"
                raise FaultNotPermitted("scratch_network", why)
            raise FaultError(f"the scratch network could not be changed: {told}")

    def ask(self, where: Namespace, *arguments: str) -> list[dict[str, Any]]:
        """What ``ip`` shows, read from its JSON.

        Raises:
            FaultError: it shows nothing that could be read.
        """
        done = self._run(where, "-json", *arguments)
        try:
            found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
        except ValueError:
            raise FaultError(f"ip {' '.join(arguments)} gave no JSON") from None
        return found

    def _run(
        self, where: Namespace | None, *arguments: str, lines: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        def run() -> subprocess.CompletedProcess[str]:
            return subprocess.run(  # noqa: S603 - the path that was found, and words of ours
                [self.program, *arguments],
                input="".join(f"{line}\n" for line in lines),
                capture_output=True,
                text=True,
                env=os.environ | {"LC_ALL": "C"},
                check=False,
            )

        return run() if where is None else where.run(run)


def lacking_rights(said: str) -> str:
    """Why no network can be made where the kernel refuses, in its own words too."""
    return f"it makes network namespaces, which takes root's rights ({said}): run the tests as root"
