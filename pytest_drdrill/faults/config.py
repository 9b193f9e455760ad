"""A configuration that is wrong for a while."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from pytest_drdrill.faults.names import new_name
from pytest_drdrill.faults.owed import Owed, put_back
from pytest_drdrill.faults.survey import reason
from pytest_drdrill.faults.undo import FaultError
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class WrongConfig:
    """A file that holds another text for a while; the file itself is kept aside, untouched.

    Attributes:
        size: bytes of the other text.

    Args:
        path: the file.
        text: what it holds then; or a function of what it holds that gives it.

    Raises:
        FaultError: it is no regular file, or can't be read; or the text is none, or what the file
            holds already.
    """

    def __init__(self, path: Path, text: str | bytes | Callable[[str], str]) -> None:
        if not path.is_file():
            raise FaultError(f"{path} is no regular file, so there is no text to replace")
        try:
            self._status = path.stat()
            present = path.read_bytes()
        except OSError as error:
            raise FaultError(f"{path} can't be read: {error.strerror}") from error
        if callable(text):
            text = text(present.decode("utf-8", "surrogateescape"))
        if isinstance(text, str):
            text = text.encode("utf-8", "surrogateescape")
        if not isinstance(text, bytes):
            raise FaultError(
                f"text must be a text, bytes, or a function that gives one, not {shown(text)}"
            )
        if text == present:
            raise FaultError(f"{path} holds that text already, so there is nothing to break")
        self.size = len(text)
        self._path = path
        self._text = text
        self._aside = path.with_name(f".{new_name('kept')}")
        self._new = path.with_name(f".{new_name('wrong')}")

    @property
    def owed(self) -> tuple[Owed, Owed]:
        """What is to be put right, should this process be killed; the last of them first."""
        what = f"the text of {self._path}"
        return (
            Owed("remove", f"a draft of {what}", path=str(self._new)),
            Owed("put back", what, path=str(self._path), other=str(self._aside)),
        )

    def strike(self) -> None:
        """Replace the text, at one moment; mode and owner stay.

        Raises:
            FaultError: the folder can't be written to.
        """
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(self._new, flags, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123 - made above
                file.write(self._text)
                if os.geteuid() == 0:
                    os.fchown(descriptor, self._status.st_uid, self._status.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(self._status.st_mode))
            # A second name of the file itself, so that its times and attributes come back too.
            self._aside.hardlink_to(self._path)
            self._new.rename(self._path)
        except OSError as error:
            self._new.unlink(missing_ok=True)
            raise FaultError(f"{self._path} was not changed: {reason(error)}") from error

    def undo(self) -> None:
        """Put the file back; may be called again."""
        self._new.unlink(missing_ok=True)
        put_back(self._path, self._aside)
