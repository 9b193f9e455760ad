"""The source of the state machine over backups, and all that can happen to it."""
# ruff: noqa: PTH101, PTH102, PTH104, PTH108, PTH112, PTH114, PTH115, PTH118, PTH123, PTH211 - names are bytes here, which pathlib does not take

import contextlib
import os
import random
import shutil
import stat
from pathlib import Path

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

# Some sort before "/", some after it, next to a folder "a" with entries of its own.
NAMES = [b"a", b"a-b", b"a.b", b"a b", b"a\n", b"a0", b"b", b"\xff\xfe", "ü".encode(), b".x"]
# Files of one size each; sizes around a block of a tar; above that of a block that is read.
CONTENTS = [b"", b"x", b"one", b"two", b"3" * 511, b"4" * 512, b"5" * 513, b"6" * 3000, b"7" * 5000]
TARGETS = [b"a", b"a/b", b"../no such place", b".", b"/", b"\xff\n", b"l/" * 70]
FILE_MODES = [0o644, 0o600, 0o755, 0o666, 0o4711, 0o2644]
FOLDER_MODES = [0o755, 0o700, 0o1777, 0o2750]
MOMENTS = [0, -1_500_000_001, 1_600_000_000_123_456_789, 10**18]
# What only root may set comes on symlinks too. No file system need know any of them.
ATTRIBUTES = ["user.a", "user.b c", "trusted.a"]
VALUES = [b"", b"x", b"\x00\xff\n=", b"8" * 300]
SPARSE = [3 << 14, 5 << 13, (1 << 16) + 7]  # sizes of files with holes
A_BLOCK = 4096

# What is drawn is never bounded by what is on the disk, whose inodes and times differ from run to
# run: a seed says which of several things is taken.
seeds = st.integers(0, 2**64)


def some(chance, paths):
    """One of several paths, or none where there is none."""
    return chance.sample(paths, min(1, len(paths)))


def is_in(path, folder):
    return (path + b"/").startswith(folder + b"/")


def clear(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def attributes(path):
    """Extended attributes by name, none where the file system knows none."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
    except OSError:
        return {}


def is_sparse(path):
    """Whether a file has holes enough for its blocks to tell, whatever else takes some.

    Blocks themselves do not tell it here: a file system counts those that hold a file's attributes
    and extents with them, the latter only once they were written.
    """
    status = os.lstat(path)
    return stat.S_ISREG(status.st_mode) and status.st_size > data_in(path) + 3 * A_BLOCK


def data_in(path):
    """How many bytes of a file are no hole, as the file system sees it."""
    found = at = 0
    with open(path, "rb") as file, contextlib.suppress(OSError):  # nothing but a hole follows
        while True:
            start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            found += at - start
    return found


def below(root):
    """All paths in a tree, its root too."""
    yield root
    for folder, folders, files in os.walk(root):
        yield from (os.path.join(folder, name) for name in folders + files)


def peculiar(root):
    """What a picture leaves out: by path, what has attributes, and what is sparse."""
    found = {}
    for path in below(os.fsencode(root)):
        name = os.path.relpath(path, os.fsencode(root))
        if here := attributes(path):
            found[name] = here
        if is_sparse(path):
            found[name, "sparse"] = True
    return found


class ChangingSource(RuleBasedStateMachine):
    """A source that changes; its root, as bytes, is what a machine sets up first."""

    root = b""
    last_seed = 0

    @initialize(seed=seeds)
    def begin_with_some(self, seed):
        """Names on both sides of "/", folders within folders, files of several names."""
        self.last_seed = seed
        for name in (b"a", b"a/a", b"b"):
            os.mkdir(self.path(name))
        for count, name in enumerate((b"a-b", b"a.b", b"a/b", b"a/a/x", b"b/a")):
            Path(os.fsdecode(self.path(name))).write_bytes(CONTENTS[count + 2])
        os.link(self.path(b"a-b"), self.path(b"b/b"))
        os.link(self.path(b"a.b"), self.path(b"a/a-b"))
        os.link(self.path(b"a.b"), self.path(b"a/a/a"))
        os.symlink("a/b", self.path(b"a0"))
        for name in (b"a-b", b"a", b"a0"):
            self.attribute(self.path(name), random.Random(seed))

    @rule(seed=seeds, count=st.integers(1, 5))
    def change(self, seed, count):
        chance = random.Random(seed)
        for act in chance.choices(self.ACTS, k=count):
            act(self, chance)

    @rule(seed=seeds)
    def change_contents(self, seed):
        chance = random.Random(seed)
        for act in chance.choices(self.INNER_ACTS, k=3):
            act(self, chance)

    def path(self, name):
        return os.path.join(self.root, name)

    def walk(self, *kinds):
        """The paths in the source that are of these kinds, in order."""
        found = []
        for folder, folders, files in os.walk(self.root):
            folders.sort()
            paths = sorted(os.path.join(folder, name) for name in folders + files)
            found += (path for path in paths if stat.S_IFMT(os.lstat(path).st_mode) in kinds)
        return found

    def files(self):
        return self.walk(stat.S_IFREG)

    def folders(self):
        return [self.root, *self.walk(stat.S_IFDIR)]

    def all_paths(self):
        return self.walk(stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR)

    def place(self, chance, source=None):
        """A free path to put something at, not too deep, neither in the source nor above it."""
        folders = [path for path in self.folders() if path[len(self.root) :].count(b"/") < 3]
        if source is not None:
            folders = [path for path in folders if not is_in(path, source)]
        place = os.path.join(chance.choice(folders), chance.choice(NAMES))
        if source is not None and is_in(source, place):
            return None
        clear(place)
        note(f"{place!r} from {source!r}")
        return place

    def write(self, chance):
        Path(os.fsdecode(self.place(chance))).write_bytes(chance.choice(CONTENTS))

    def rewrite(self, chance):
        for path in some(chance, self.files()):
            with open(path, "wb") as file:  # the inode stays
                file.write(chance.choice(CONTENTS))

    def rewrite_at_the_same_size(self, chance):
        for path in some(chance, self.files()):
            before = os.lstat(path)
            with open(path, "r+b") as file:
                file.write(chance.randbytes(min(before.st_size, 10)))
            if chance.random() < 0.5:
                os.utime(path, ns=(0, before.st_mtime_ns))

    def truncate(self, chance):
        for path in some(chance, self.files()):
            os.truncate(path, chance.randrange(1200))

    def punch(self, chance):
        """A file that is sparse, where the file system knows such."""
        for path in some(chance, self.files()):
            self.fill(path, chance)

    def write_sparse(self, chance):
        self.fill(self.place(chance), chance)

    def fill(self, path, chance):
        """Make it sparse: with data at some places, be it none, or its end."""
        size = chance.choice(SPARSE)
        with open(path, "ab") as file:  # what it held at its beginning may stay
            file.truncate(size)
        with open(path, "r+b") as file:
            for place in chance.choices(range(0, size, A_BLOCK), k=chance.randrange(4)):
                file.seek(place)
                file.write(b"data"[: size - place])

    def set_attribute(self, chance):
        for path in some(chance, self.all_paths()):
            self.attribute(path, chance)

    def attribute(self, path, chance):
        name, value = chance.choice(ATTRIBUTES), chance.choice(VALUES)
        with contextlib.suppress(OSError):
            os.setxattr(path, name, value, follow_symlinks=False)

    def drop_attribute(self, chance):
        for path in some(chance, [path for path in self.all_paths() if attributes(path)]):
            name = chance.choice(sorted(attributes(path)))
            os.removexattr(path, name, follow_symlinks=False)

    def delete(self, chance):
        for path in some(chance, self.all_paths()):
            clear(path)

    def rename(self, chance):
        for old in some(chance, self.all_paths()):
            if new := self.place(chance, old):
                os.rename(old, new)

    def symlink(self, chance):
        os.symlink(chance.choice(TARGETS), self.place(chance))

    def make_folder(self, chance):
        os.mkdir(self.place(chance))

    def link(self, chance):
        for old in some(chance, self.files()):
            if new := self.place(chance, old):
                os.link(old, new)

    def move_a_link(self, chance):
        """A file gets as many names as before, and other ones; the old one may be a new file's."""
        for old in some(chance, self.linked()):
            if new := self.place(chance, old):
                os.rename(old, new)
                if chance.random() < 0.5:
                    Path(os.fsdecode(old)).write_bytes(chance.choice(CONTENTS))
                    if chance.random() < 0.5 and (further := self.place(chance, old)):
                        os.link(old, further)

    def unlink_from_the_others(self, chance):
        for path in some(chance, self.linked()):
            shutil.copy2(path, self.path(b"copy"))
            os.rename(self.path(b"copy"), path)

    def linked(self):
        return [path for path in self.files() if os.lstat(path).st_nlink > 1]

    def change_mode(self, chance):
        for path in some(chance, self.walk(stat.S_IFREG, stat.S_IFDIR)):
            os.chmod(path, chance.choice(FOLDER_MODES if os.path.isdir(path) else FILE_MODES))
        os.chmod(self.root, chance.choice(FOLDER_MODES))

    def change_time(self, chance):
        for path in some(chance, self.all_paths()):
            os.utime(path, ns=(0, chance.choice(MOMENTS)), follow_symlinks=False)

    INNER_ACTS = (
        rewrite,
        rewrite_at_the_same_size,
        rewrite_at_the_same_size,
        truncate,
        punch,
        set_attribute,
    )
    ACTS = (
        *INNER_ACTS,
        *(write, delete, rename, symlink, make_folder, link, link, move_a_link, move_a_link),
        *(unlink_from_the_others, change_mode, change_time),
        *(write_sparse, set_attribute, drop_attribute),
    )

    def stamps(self):
        """All by which a change can be told: the inode of each path, all else, the content."""
        found = {}
        for path in [self.root, *self.all_paths()]:
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            content = None
            if kind == stat.S_IFREG:
                with open(path, "rb") as file:
                    content = file.read()
            elif kind == stat.S_IFLNK:
                content = os.readlink(path)
            moments = status.st_mtime_ns, status.st_ctime_ns
            rest = status.st_mode, status.st_size, status.st_nlink, status.st_uid, status.st_gid
            name = os.path.relpath(path, self.root)
            found[name] = status.st_ino, moments, rest, content, attributes(path)
        return found
