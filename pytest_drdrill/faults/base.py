"""What all faults share: the scratch that they may touch, the undo stack, and who is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pytest_drdrill.faults.fault import Fault
from pytest_drdrill.faults.journal import Journal
from pytest_drdrill.faults.undo import FaultError, FaultNotPermitted, UndoStack
from pytest_drdrill.mounts import is_within, mounts_within
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pytest_drdrill.faults.owed import Owed


class Injector:
    """What the faults of each domain are built on.

    Args:
        scratch: folders that faults on files may touch; everything outside is refused.
        announce: told of each fault as it strikes and as it is undone, e.g. for a timeline.
    """

    # What a fault needs of the machine: by its name, what says why it is not permitted.
    _needs: ClassVar[Mapping[str, Callable[[], str | None]]] = {}

    def __init__(
        self,
        scratch: Iterable[str | os.PathLike[str]],
        *,
        announce: Callable[[str, str], None] | None = None,
    ) -> None:
        self._scratch = tuple(Path(folder).resolve() for folder in scratch)
        self._announce = announce
        self.stack = UndoStack()

    def permits(self, fault: str) -> str | None:
        """Why this machine does not permit a fault; None where it does.

        A fault that is not permitted raises ``FaultNotPermitted``, which leaves the drill not
        verified; this is for drills that would do something else instead.

        Args:
            fault: its name, as ``"slow_process"``.

        Raises:
            FaultError: there is no such fault.
        """
        known = {name for name in dir(type(self)) if not name.startswith("_")} - {"permits"}
        if fault not in known:
            raise FaultError(f"{shown(fault)} is no fault; faults: {', '.join(sorted(known))}")
        why = self._needs.get(fault)
        return why() if why is not None else None

    def _require(self, fault: str) -> None:
        if (why := self.permits(fault)) is not None:
            raise FaultNotPermitted(fault, why)

    def _break(
        self,
        what: str,
        owed: Sequence[Owed],
        strike: Callable[[], object],
        undo: Callable[[], None],
        undone: str = "fault undone",
    ) -> Callable[[], None]:
        """Strike, with the undo on the stack, and in the journal what is owed until it was done.

        Args:
            what: the fault in words.
            owed: what another process would have to put right should this one be killed.
            strike: applies the fault.
            undo: puts it right; may be called again.
            undone: the event that tells of that.

        Returns:
            A callable that undoes it early.

        Raises:
            FaultError: it can't be written down, or what ``strike`` raises; it is undone then.
        """
        settled: list[Callable[[], None]] = []
        struck = False

        def put_right() -> None:
            nonlocal struck
            undo()
            for each in settled:
                each()
            if struck:
                struck = False
                self._tell(what, undone)

        # Before the fault: an interrupt between the two must not leave anything broken.
        early = self.stack.push(what, put_right)
        try:
            settled.extend(self._owe(each) for each in owed)
            strike()
        except FaultError:
            early()
            raise
        struck = True
        return early

    def _owe(self, owed: Owed) -> Callable[[], None]:
        try:
            return Journal.own().owe(owed)
        except OSError as error:
            raise FaultError(
                f"nothing was broken, as nothing would put {owed.what} right should this process "
                f"be killed: {error}"
            ) from error

    def _applied(self, what: str, undo: Callable[[], None] | None = None) -> Fault:
        self._tell(what)
        return Fault(what, undo)

    def _tell(self, what: str, event: str = "fault") -> None:
        if self._announce is not None:
            self._announce(event, what)

    def _own(self, path: str | os.PathLike[str]) -> Path:
        """A path within the scratch, which exists.

        Raises:
            FaultError: it is elsewhere, leads elsewhere, or does not exist.
        """
        text = os.fspath(path)
        if not text or "\0" in text:
            raise FaultError(f"{text!r:.80} is no path, so there is nothing to break")
        target = Path(os.path.realpath(text))
        roots_above = [r for r in self._scratch if target != r and target.is_relative_to(r)]
        if not roots_above:
            roots = ", ".join(map(str, self._scratch)) or "none"
            raise FaultError(
                f"{target} is not this drill's scratch, which alone may be broken; "
                f"scratch: anything below {roots}"
            )
        try:
            target.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise FaultError(f"{target} does not exist, so there is nothing to break") from None
        except OSError as error:
            raise FaultError(f"can't look at {target}: {error.strerror}") from error
        _refuse_mounts(target, roots_above)
        return target


def _refuse_mounts(target: Path, roots: Sequence[Path]) -> None:
    """A mount point in the scratch leads to what is no scratch, be it above the target or below."""
    path = str(target)
    for root in roots:
        inner = [mount for mount in mounts_within(root) if mount != str(root)]
        reached = [mount for mount in inner if is_within(mount, path) or is_within(path, mount)]
        folder = target if target.is_dir() else target.parent
        if not reached and folder.stat().st_dev == root.stat().st_dev:
            return
    mount = reached[0] if reached else path
    raise FaultError(f"the fault would reach through a mount, {mount}; nothing was touched")
