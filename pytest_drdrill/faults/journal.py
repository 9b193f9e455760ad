"""The journal: what must be put right should this process be killed, on disk until it is.

A file for each process, a line for each thing that is owed and one more when it is settled. A later
run reads what the dead ones left, and settles it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import threading
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar, NamedTuple

from pytest_drdrill.faults.guardian import Guardian
from pytest_drdrill.faults.owed import Deed, Owed
from pytest_drdrill.faults.tree import ProcessId, process_id
from pytest_drdrill.state import state_folder, state_folders

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_drdrill.faults.undo import UndoStack

__all__ = ["Deed", "Journal", "Owed", "Recovery", "journal_folder", "owe", "recover", "settle_for"]

_SUFFIX = ".jsonl"
_FIELDS = {each.name for each in fields(Owed)}
_POLL = 0.02
_TRIES = 500


class Recovery(NamedTuple):
    """What a later run found of the dead ones.

    Attributes:
        done: what it has put right, in words.
        failed: what it could not, each with why.
    """

    done: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    def and_more(self, more: Recovery) -> Recovery:
        """What both found."""
        return Recovery(self.done + more.done, self.failed + more.failed)


class Journal:
    """What one process owes; a file that is there while anything is.

    Whoever owes something has a guardian, which settles the journal at once should this process be
    killed. The next run is the second line.

    Args:
        folder: where it is; by default ``journal`` in this user's state folder.
    """

    _own: ClassVar[Journal | None] = None

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = journal_folder() if folder is None else folder
        self._owner = os.getpid()
        self._lock = threading.RLock()
        self._count = 0
        self._open: dict[int, Owed] = {}
        self._file: int | None = None
        self._guardian: Guardian | None = None
        self.path = self._folder / (_mark_of(self._owner) + _SUFFIX)
        """Its file."""

    @classmethod
    def own(cls) -> Journal:
        """The one of this process."""
        journal = cls._own
        if journal is None or journal._owner != os.getpid():  # noqa: SLF001 - a fork has its own
            journal = cls._own = cls()
        return journal

    def owe(self, owed: Owed) -> Callable[[], None]:
        """Write down what is to be put right, before it is broken.

        Returns:
            A callable that says that it is right again; calling it again does nothing.

        Raises:
            OSError: it can't be written down, or nobody would read it, so nothing may be broken.
        """
        with self._lock:
            if self._file is None:
                self._file = self._begin()
            if self._guardian is None or not self._guardian.is_there:
                self._guardian = Guardian(self.path)
            self._count += 1
            number = self._count
            self._write({"owed": number, **asdict(owed)})
            self._open[number] = owed

        def settled() -> None:
            with self._lock:
                if self._open.pop(number, None) is None or self._owner != os.getpid():
                    return
                if self._open:
                    self._write({"settled": number})
                else:
                    self._end()

        return settled

    def _begin(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC
        while True:
            # Another one may remove the folder at any moment: before it is looked at, which mkdir
            # tells as if it were a file, or before it is written to.
            with contextlib.suppress(FileNotFoundError):
                try:
                    self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                except FileExistsError as error:
                    is_ours = Path(error.filename) == self._folder
                    if not (is_ours and stat.S_ISDIR(self._folder.lstat().st_mode)):
                        raise
                return os.open(self.path, flags, 0o600)

    def _write(self, record: dict[str, object]) -> None:
        assert self._file is not None
        os.write(self._file, json.dumps(record).encode() + b"\n")

    def _end(self) -> None:
        assert self._file is not None
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        os.close(self._file)
        self._file = None
        if self._guardian is not None:
            self._guardian.end()
            self._guardian = None
        _remove_if_empty(self._folder)


def journal_folder() -> Path:
    """The folder of this user's journals.

    Raises:
        OSError: see ``state_folder``.
    """
    return state_folder() / "journal"


def owe(stack: UndoStack, owed: Owed, undo: Callable[[], None]) -> Callable[[], None]:
    """Put an undo on a stack, and in this process's journal until it has been done.

    Args:
        stack: the drill's undo stack.
        owed: what is to be put right.
        undo: does it while this process lives; may be called again after an interrupt.

    Returns:
        A callable that undoes it early; calling it again does nothing.

    Raises:
        OSError: it can't be written down.
    """
    settled = Journal.own().owe(owed)

    def undo_and_settle() -> None:
        undo()
        settled()

    return stack.push(owed.what, undo_and_settle)


def recover(folder: Path | None = None) -> Recovery:
    """Put right what dead processes left, the newest first; what fails stays for another time.

    What a guardian has put right meanwhile is told too, once.

    Args:
        folder: of the journals; by default all that are there of this user.

    Raises:
        OSError: a folder can't be read, or belongs to somebody else.
    """
    folders = [each / "journal" for each in state_folders()] if folder is None else [folder]
    found = Recovery()
    for each in folders:
        for path in sorted(each.glob("*" + _SUFFIX)) if each.is_dir() else ():
            if not _is_anybodys(path.stem):
                found = found.and_more(_settle(path))
        if each.is_dir():
            _remove_if_empty(each)
    return found


def settle_for(path: str) -> None:
    """What a guardian does: wait for the end of a process, and put right what it left.

    What it did is told by the journal itself, which the next run reads.
    """
    journal = Path(path)
    while _is_anybodys(journal.stem):
        time.sleep(_POLL)
    _settle(journal, keep=True)


def _settle(path: Path, *, keep: bool = False) -> Recovery:
    """Settle one journal.

    Args:
        path: the journal.
        keep: leave word in it of what was put right.
    """
    try:
        file = path.open("r+", encoding="utf-8")
    except FileNotFoundError:  # another run was faster
        return Recovery()
    with file:
        if not (_locked(file) and _is_at(path, file)):  # another run is at it, or was
            return Recovery()
        done, rest = _read(file.read())
        failed = []
        rebooted = path.stem.partition("-")[0] != _boot()
        for number, owed in reversed([*rest.items()]):
            try:
                owed.settle(rebooted=rebooted)
            except OSError as error:
                failed.append(f"{owed.what}: {error.strerror or error}")
            else:
                done.append(owed.what)
                del rest[number]
        if not rest and not (keep and done):
            path.unlink(missing_ok=True)
        else:
            told: list[dict[str, object]] = [{"done": what} for what in done if keep]
            owes = [{"owed": number, **asdict(owed)} for number, owed in rest.items()]
            # In place of the journal, so that no end of this process leaves half of it.
            draft = path.with_suffix(".new")
            draft.write_text("".join(json.dumps(each) + "\n" for each in [*told, *owes]), "utf-8")
            draft.replace(path)
        return Recovery(tuple(done), tuple(failed))


def _locked(file: IO[str]) -> bool:
    """Whether nobody else is at a journal; who is soon has done with it."""
    for _ in range(_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(_POLL)
    return False


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _read(text: str) -> tuple[list[str], dict[int, Owed]]:
    """What was put right, and what is owed still, by a journal; its last line may be torn."""
    done: list[str] = []
    owed: dict[int, Owed] = {}
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if "done" in record:
            done.append(record["done"])
        elif "settled" in record:
            owed.pop(record["settled"], None)
        else:
            owed[record["owed"]] = Owed(**{name: record[name] for name in _FIELDS & {*record}})
    return done, owed


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _mark_of(pid: int) -> str:
    own = process_id(pid)
    return f"{_boot()}-{pid}-{own.started if own else 0}"


def _is_anybodys(mark: str) -> bool:
    """Whether the process of a journal is alive, and will settle it itself."""
    boot, _, rest = mark.partition("-")
    pid, _, started = rest.partition("-")
    if boot != _boot() or not pid.isdigit() or not started.isdigit():
        return False
    return ProcessId(int(pid), int(started)).is_alive


def _boot() -> str:
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
    except OSError:
        return "unknown"
    return text.strip().replace("-", "")
