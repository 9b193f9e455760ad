"""How a child was started, as the kernel tells it: so that it can be started again, just so."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_drdrill.faults.undo import FaultError

if TYPE_CHECKING:
    from pytest_drdrill.faults.processes import Child

_STREAMS = ("stdin", "stdout", "stderr")
_SHELL = "/bin/sh"
_PROC = Path("/proc")


def obstacle() -> str | None:
    """Why nobody can know here how a process was started; None where one can."""
    if _PROC.joinpath("self", "environ").exists():
        return None
    return "it has no /proc, which tells how a process was started; pass start="


class Started:
    """What a child was started with; to be asked while it lives.

    Args:
        process: the child.

    Raises:
        FaultError: that can't be known; nothing was done.
    """

    def __init__(self, process: Child) -> None:
        self._process = process
        self._folder = _PROC / str(process.pid)
        self._held = contextlib.ExitStack()
        try:
            self._check_user()
            self._environment = self._read_environment()
            self._here = self._read_here()
            self._shell = self._by_shell()
            self._leads_session = os.getsid(process.pid) == process.pid
            self._leads_group = os.getpgid(process.pid) == process.pid
            self._streams = [self._stream(number) for number in range(len(_STREAMS))]
        except OSError as error:
            self._held.close()
            raise self._unknown(f"{error.filename or self._folder}: {error.strerror}") from error
        except BaseException:
            self._held.close()
            raise

    def again(self) -> Child:
        """Start it once more; the streams that this process has to the old one lead to the new one.

        Raises:
            OSError: it can't be started.
        """
        old = self._process
        options: dict[str, Any] = dict(zip(_STREAMS, self._streams, strict=True))
        new: Child = subprocess.Popen(  # noqa: S603 - as the drill itself has started it
            old.args,
            shell=self._shell,
            cwd=self._here,
            env=self._environment,
            start_new_session=self._leads_session,
            process_group=0 if self._leads_group and not self._leads_session else None,
            encoding=old.encoding,  # type: ignore[union-attr]  # typeshed lacks it
            errors=old.errors,  # type: ignore[union-attr]
            **options,
        )
        for name in _STREAMS:
            setattr(new, name, getattr(old, name))
        return new

    def close(self) -> None:
        """Give back what of it is held open."""
        self._held.close()

    def _unknown(self, why: str) -> FaultError:
        return FaultError(
            f"process {self._process.pid} was not restarted, since how to start it again is not "
            f"known: {why}; pass start=, which starts it and returns the new child"
        )

    def _check_user(self) -> None:
        if self._folder.stat().st_uid != os.geteuid():
            raise self._unknown("it runs as another user")

    def _read_here(self) -> Path:
        here = (self._folder / "cwd").readlink()
        if not here.is_dir():
            raise self._unknown(f"its folder is gone, {here}")
        return here

    def _read_environment(self) -> dict[bytes, bytes]:
        text = (self._folder / "environ").read_bytes()
        parts = text.removesuffix(b"\0").split(b"\0") if text else []
        # A program that shows a title of its own in process lists puts it there.
        if not all(each.find(b"=") > 0 for each in parts):
            raise self._unknown("it has overwritten its environment")
        return {name: value for name, _, value in (each.partition(b"=") for each in parts)}

    def _by_shell(self) -> bool:
        """Whether ``shell=True`` was said, of which nothing is kept."""
        given = self._process.args
        line = (self._folder / "cmdline").read_bytes().split(b"\0")[:-1]
        words = [given] if isinstance(given, str | bytes | os.PathLike) else list(given)
        if line == [_SHELL.encode(), b"-c", *map(os.fsencode, words)]:
            return True
        # A shell becomes the program, where that is all there is to do.
        return isinstance(given, str) and shutil.which(given) is None

    def _stream(self, number: int) -> int | None:
        """What it has for one of its streams; None where that is this process's own."""
        path = self._folder / "fd" / str(number)
        try:
            status = path.stat()
        except FileNotFoundError:  # it has closed it
            return subprocess.DEVNULL
        with contextlib.suppress(OSError):
            if os.path.samestat(status, os.fstat(number)):
                return None
        if stat.S_ISSOCK(status.st_mode):
            raise self._unknown(f"its {_STREAMS[number]} is a socket")
        details = (self._folder / "fdinfo" / str(number)).read_text("ascii")
        mode = int(details.partition("flags:")[2].split()[0], 8) & os.O_ACCMODE
        if mode != os.O_RDONLY:
            mode |= os.O_APPEND  # and not over what is there
        # A pipe that nobody reads any more would not be opened, ever.
        found = os.open(path, mode | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        self._held.callback(os.close, found)
        flags = fcntl.fcntl(found, fcntl.F_GETFL)
        fcntl.fcntl(found, fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
        return found
