"""Who scratch servers run as: never root, since several refuse that, and none needs it."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Account(NamedTuple):
    """A user, by numbers.

    Attributes:
        uid: of the user.
        gid: of its group.
        name: of the user.
    """

    uid: int
    gid: int
    name: str

    @property
    def is_us(self) -> bool:
        """Whether this process runs as that user, so that nothing has to be given to it."""
        return self.uid == os.geteuid()

    def may_run(self, program: str | os.PathLike[str]) -> bool:
        """Whether the user can reach and run a program, as it can't what is in root's home."""
        path = Path(program).absolute()
        path.stat()  # of links that lead in a circle, the system's own error
        return all(self._has(each, stat.S_IXOTH) for each in _on_the_way(path))

    def _has(self, path: Path, bit: int) -> bool:
        status = path.stat()
        if status.st_uid == self.uid:
            bit <<= 6
        elif status.st_gid == self.gid:
            bit <<= 3
        return bool(status.st_mode & bit)


def _on_the_way(path: Path) -> Iterator[Path]:
    """A path and all folders through which it leads; where it is a link, its target's as well."""
    for each in (path, *path.parents):
        yield each
        if each.is_symlink():
            yield from _on_the_way(each.parent / each.readlink())


def server_account(*preferred: str) -> Account:
    """The user that scratch servers run as: this one, or where that is root, an ordinary one.

    Args:
        preferred: names of users that would do, the best first; ``nobody`` always does.
    """
    uid = os.geteuid()
    if uid:
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            name = str(uid)
        return Account(uid, os.getegid(), name)
    for each in (*preferred, "nobody"):
        try:
            entry = pwd.getpwnam(each)
        except KeyError:
            continue
        if entry.pw_uid:
            return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)
    return Account(65534, 65534, "65534")
