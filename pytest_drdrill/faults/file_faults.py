"""Faults on files by the name of what goes wrong; calling one applies it now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.faults import damage, files
from pytest_drdrill.faults.base import Injector
from pytest_drdrill.faults.config import WrongConfig
from pytest_drdrill.faults.fault import Fault, FlippedBits, LeakedFiles
from pytest_drdrill.faults.leak import Leak
from pytest_drdrill.faults.names import format_size, parse_size
from pytest_drdrill.faults.undo import FaultError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable


class FileFaults(Injector):
    """Faults on files, on the drill's scratch alone."""

    def encrypt_files(self, path: str | os.PathLike[str]) -> Fault:
        """Ransomware: encrypt every file below a folder, with a key that nobody keeps.

        Contents are replaced in place and the names get ``.locked``, where the file system takes
        names so long; symbolic links are left alone. It can't be undone, which is why it runs on
        scratch alone. Disaster type: ``security``.

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

        Disaster type: ``human_error``.

        Raises:
            FaultError: the path is no scratch, does not exist, is a folder without any file, or
                holds a mount point or a part that can't be reached or written to. Nothing was
                touched then. Or it failed half way: the message says how far it got.
        """
        target = self._own(path)
        count = files.delete_tree(target, self._tell)
        return self._applied(f"deleted {count} files in {target}")

    def flip_bits(
        self, path: str | os.PathLike[str], count: int = 1, *, seed: int = 0
    ) -> FlippedBits:
        """Bit rot: flip some bits of a file, or of the files in a folder. It can't be undone.

        As on a disk that rots, nothing but the bytes tells: names, sizes and times stay. Disaster
        type: ``technical``.

        Args:
            path: a file, or a folder.
            count: how many bits; none is flipped twice.
            seed: the same seed, on the same files, flips the same bits.

        Returns:
            The fault, with its ``bits`` and their ``offsets``.

        Raises:
            FaultError: as of ``encrypt_files``; or there are not so many bits.
        """
        target = self._own(path)
        bits = damage.flip_bits(target, count, seed, self._tell)
        what = f"flipped {count} bits in {target} (seed {seed})"
        self._tell(what)
        return FlippedBits(what, bits)

    def truncate_file(self, path: str | os.PathLike[str], size: int | str | None = None) -> Fault:
        """A torn write or copy: cut a file short. It can't be undone.

        Disaster type: ``technical``.

        Args:
            path: the file.
            size: what is left of it, in bytes or as ``"64KiB"``; half of it by default.

        Raises:
            FaultError: it is no regular file of the drill's scratch, or no longer than that.
        """
        target = self._own(path)
        wanted = None if size is None else parse_size("size", size)
        before, left = damage.truncate(target, wanted, self._tell)
        return self._applied(f"truncated {target} from {before} to {left} bytes")

    def leak_files(
        self,
        path: str | os.PathLike[str],
        to: str | os.PathLike[str] | None = None,
    ) -> LeakedFiles:
        """A leak: copy files to where everybody can read them; undone by removal of the copy.

        The files themselves are left alone. Links are not followed. Disaster type: ``security``.

        Args:
            path: a file, or a folder.
            to: the folder of the drill's scratch that gets the copy, e.g. what a web server
                serves; by default a new one among the temporary files of the machine, open to all
                of its users.

        Returns:
            The fault, with the ``path`` of the copy.

        Raises:
            FaultError: the path or the folder is no scratch or does not exist; there is no file to
                copy; the folder has something of that name; or it can't be written to.
        """
        folder = None if to is None else self._own(to)
        if folder is not None and not folder.is_dir():
            raise FaultError(f"{folder} is no folder, so nothing can be leaked to it")
        leak = Leak(self._own(path), folder)
        what = f"leaked {leak.count} files to {leak.path}"
        undo = self._break(what, [leak.owed], leak.strike, leak.undo)
        self._tell(what)
        return LeakedFiles(what, undo, leak.path)

    def wrong_config(
        self, path: str | os.PathLike[str], text: str | bytes | Callable[[str], str]
    ) -> Fault:
        """A wrong configuration: a file holds another text; undone by putting the file back.

        The text is replaced at one moment, under the file's mode and owner. What comes back is the
        file itself, with all its attributes, whatever bears its name by then; also where this
        process is killed. Until then it lies beside, under a name that begins with a dot. Whoever
        reads the file must be told to, as before. Disaster type: ``human_error``.

        Args:
            path: the file.
            text: what it holds then; or a function of what it holds now that gives it.

        Raises:
            FaultError: it is no regular file of the drill's scratch, holds that text already, or
                can't be replaced.
        """
        target = self._own(path)
        wrong = WrongConfig(target, text)
        what = f"wrong configuration in {target}, {format_size(wrong.size)}"
        return self._applied(what, self._break(what, wrong.owed, wrong.strike, wrong.undo))
