"""Faults by the name of what goes wrong; calling one applies it now."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pytest_drdrill.faults import files, processes
from pytest_drdrill.faults.undo import FaultError, UndoStack
from pytest_drdrill.mounts import is_within, mounts_within

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType


class Fault:
    """A fault that has been applied; as a context manager, it is undone early, on exit.

    Attributes:
        what: the fault in words.
        undoable: False where nothing can undo it, so that it runs on scratch alone.
    """

    def __init__(self, what: str, undo: Callable[[], None] | None = None) -> None:
        self.what = what
        self.undoable = undo is not None
        self._undo = undo

    def undo(self) -> None:
        """Put it right now; nothing happens a second time, or where it can't be undone."""
        if self._undo is not None:
            self._undo()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.undo()


class FaultInjector:
    """Breaks things on a drill's scratch; what can be undone is, at the drill's end at the latest.

    Args:
        scratch: folders that faults on files may touch; everything outside is refused.
        announce: told of each fault as it strikes, e.g. for the drill's timeline.
    """

    def __init__(
        self,
        scratch: Iterable[str | os.PathLike[str]],
        *,
        announce: Callable[[str, str], None] | None = None,
    ) -> None:
        self._scratch = tuple(Path(folder).resolve() for folder in scratch)
        self._announce = announce
        self.stack = UndoStack()

    def encrypt_files(self, path: str | os.PathLike[str]) -> Fault:
        """Ransomware: encrypt every file below a folder, with a key that nobody keeps.

        Contents are replaced in place and the names get ``.locked``, where the file system takes
        names so long; symbolic links are left alone. It can't be undone, which is why it runs on
        scratch alone.

        Raises:
            FaultError: the folder is no scratch, does not exist, holds no file, a mount point, a
                part that can't be reached or written to, or a hard link whose other names lie
                elsewhere; or the new name of a file is taken. Nothing was touched then. Or it
                failed half way: the message says how far it got.
        """
        folder = self._own(path)
        count = files.encrypt_tree(folder, self._tell)
        return self._applied(f"encrypted {count} files in {folder}")

    def delete_files(self, path: str | os.PathLike[str]) -> Fault:
        """Accidental deletion: remove a file, or everything in a folder. It can't be undone.

        Raises:
            FaultError: the path is no scratch, does not exist, is a folder without any file, or
                holds a mount point or a part that can't be reached or written to. Nothing was
                touched then. Or it failed half way: the message says how far it got.
        """
        target = self._own(path)
        count = files.delete_tree(target, self._tell)
        return self._applied(f"deleted {count} files in {target}")

    def kill_process(self, process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> Fault:
        """Crash: SIGKILL to a child that this drill started; returns when it is dead.

        Raises:
            FaultError: it had ended already.
        """
        processes.kill(process)
        return self._applied(f"killed process {process.pid}")

    def pause_process(self, process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> Fault:
        """Freeze: SIGSTOP to a child that this drill started; undone by SIGCONT.

        It is undone even where pytest itself is killed.

        Raises:
            FaultError: it had ended already, ends meanwhile, or is paused already.
        """
        pause = processes.Pause(process)
        what = f"paused process {process.pid}"
        # Before the fault: an interrupt between the two must not leave the process frozen.
        undo = self.stack.push(what, pause.undo)
        try:
            pause.strike()
        except FaultError:
            undo()
            raise
        return self._applied(what, undo)

    def _applied(self, what: str, undo: Callable[[], None] | None = None) -> Fault:
        self._tell(what)
        return Fault(what, undo)

    def _tell(self, what: str) -> None:
        if self._announce is not None:
            self._announce("fault", what)

    def _own(self, path: str | os.PathLike[str]) -> Path:
        text = os.fspath(path)
        if not text or "\0" in text:
            raise FaultError(f"{text!r:.80} is no path, so there is nothing to break")
        target = Path(os.path.realpath(text))
        roots_above = [r for r in self._scratch if target != r and target.is_relative_to(r)]
        if not roots_above:
            roots = ", ".join(map(str, self._scratch)) or "none"
            raise FaultError(
                f"{target} is not this drill's scratch, and the fault can't be undone; "
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
