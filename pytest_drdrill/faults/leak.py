"""Files that get out: a copy of them where everybody can read it."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from pytest_drdrill.faults.names import new_name
from pytest_drdrill.faults.owed import Owed, remove
from pytest_drdrill.faults.survey import reason, survey
from pytest_drdrill.faults.undo import FaultError

_FOLDER, _FILE = 0o755, 0o644


class Leak:
    """A copy of a folder's files, or of one file, readable for everybody.

    Args:
        source: what gets out.
        folder: the folder that the copy is put into; a new one among the temporary files if None.

    Attributes:
        path: the copy.
        count: of how many files.
    """

    def __init__(self, source: Path, folder: Path | None) -> None:
        found, folders = survey(source)
        self._files = [path for path, status in found.items() if stat.S_ISREG(status.st_mode)]
        self._folders = folders
        self._source = source
        self.count = len(self._files)
        if not self._files:
            raise FaultError(f"{source} holds no file, so there is nothing to leak")
        if folder is None:
            self._new = Path(tempfile.gettempdir()).resolve() / new_name("leak")
            self.path = self._new / source.name
        else:
            self._new = self.path = folder / source.name
        if os.path.lexists(self._new):
            raise FaultError(f"{self._new} is there already, so nothing was copied to it")

    @property
    def owed(self) -> Owed:
        """What is to be put right, should this process be killed."""
        return Owed("remove", f"leaked files, {self._new}", path=str(self._new))

    def strike(self) -> None:
        """Copy them; links are left out, which would lead elsewhere.

        Raises:
            FaultError: they can't be read, or the copy can't be written.
        """
        try:
            if self._new != self.path:
                _make(self._new)
            for folder in self._folders:
                _make(self.path / folder.relative_to(self._source))
            for file in self._files:
                copy = self.path / file.relative_to(self._source)
                with file.open("rb") as plain, copy.open("xb") as out:
                    shutil.copyfileobj(plain, out)
                copy.chmod(_FILE)
        except OSError as error:
            raise FaultError(f"{self._source} was not leaked: {reason(error)}") from error

    def undo(self) -> None:
        """Remove the copy; may be called again."""
        remove(self._new)


def _make(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(_FOLDER)  # whatever the mask says
