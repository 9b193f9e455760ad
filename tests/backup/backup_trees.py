"""What the tests of backups share: trees with every kind of entry, and exact pictures of trees."""
# ruff: noqa: PTH102, PTH115, PTH118, PTH123, PTH208 - names are bytes here, which pathlib does not take

import contextlib
import json
import os
import stat
import time
from hashlib import sha256
from pathlib import Path

from pytest_drdrill.backup.store import _document

NOBODY = 65534


def fail_reading(monkeypatch, name, number, *, after):
    """Reads of files whose names begin so fail, after so many of them all."""
    left = [after]

    real = os.readv

    def fail(fd, buffers):
        if Path(f"/proc/self/fd/{fd}").readlink().name.startswith(name):
            if not left[0]:
                raise OSError(number, os.strerror(number))
            left[0] -= 1
        return real(fd, buffers)

    monkeypatch.setattr(os, "readv", fail)


def picture(root):
    """All that a restore must give back: types, modes, owners, times, contents, links."""
    names = {}
    seen = {}

    def look(path, name):
        status = os.lstat(path)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            # Names of one file share a group, named for the first of them.
            group = seen.setdefault((status.st_dev, status.st_ino), name)
            content = (Path(os.fsdecode(path)).read_bytes(), group)
        elif kind == stat.S_IFLNK:
            content = os.readlink(path)
        else:
            content = None
        owner = (status.st_uid, status.st_gid)
        names[name] = (status.st_mode, owner, status.st_mtime_ns, content)
        if kind == stat.S_IFDIR:
            for inner in sorted(os.listdir(path)):
                look(os.path.join(path, inner), os.path.join(name, inner))

    look(os.fsencode(root), b".")
    return names


def make_tree(root):
    """A small tree with every kind of entry that comes back; returns its root."""
    root.mkdir()
    (root / "empty").mkdir()
    (root / "empty.txt").touch()
    (root / "docs").mkdir()
    (root / "docs" / "plan.txt").write_text("who does what\n")
    (root / "docs" / "run.sh").write_text("#!/bin/sh\n")
    (root / "docs" / "run.sh").chmod(0o4751)
    (root / "docs.txt").write_text("sorts between docs and docs/plan.txt, byte by byte\n")
    (root / "large.bin").write_bytes(bytes(range(251)) * 9000)  # above the block of 1 MiB
    (root / "exact.bin").write_bytes(b"x" * (1 << 20))
    os.link(root / "docs" / "plan.txt", root / "plan-again.txt")
    os.link(root / "docs" / "plan.txt", root / "a-plan-first.txt")
    (root / "link").symlink_to("docs/plan.txt")
    (root / "dangling").symlink_to("../no such place")
    (root / "far").symlink_to("/" + "long/" * 60 + "target")
    odd = os.fsencode(root) + b"/odd \xff\xfe\n name"
    os.mkdir(odd)
    with open(odd + b"/\x80\xed", "wb") as file:
        file.write(b"not UTF-8 by name")
    (root / "größe.txt").write_text("UTF-8 by name")
    deep = root / ("p" * 90) / ("q" * 90) / ("r" * 90)
    deep.mkdir(parents=True)
    (deep / ("s" * 120)).write_text("too long for ustar")
    (deep / "t").write_text("long enough for a prefix")
    (root / "read-only").mkdir()
    (root / "read-only" / "inside").write_text("in a folder without write permission")
    for number, path in enumerate(sorted(root.rglob("*"))):
        times = (number, 1_600_000_000_123_456_789 + number * 1_000_000_007)
        os.utime(path, ns=times, follow_symlinks=False)
    os.utime(root / "docs.txt", ns=(0, -1_500_000_001))
    (root / "read-only").chmod(0o555)
    root.chmod(0o750)
    os.utime(root, ns=(5, 1_500_000_000_000_000_005))
    return root


def rewrite_manifest(job, change):
    """Forge a backup: change the manifest's lines, and make every hash fit again."""
    path = job.path / "manifest.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    entries = change([json.loads(line) for line in lines])
    data = b"".join(
        entry if isinstance(entry, bytes) else json.dumps(entry).encode() + b"\n"
        for entry in entries
    )
    path.write_bytes(data)
    job.manifest_sha256 = sha256(data).hexdigest()
    (job.path / "metadata.json").write_bytes(_document(job.to_metadata()))


def rest():
    """Let the clock of the file system tick, so that what was written has a time of its own."""
    time.sleep(0.05)


def flip(path, position):
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= 0x01
    path.write_bytes(data)


def unreadable(job):
    """Damage the metadata of a backup."""
    flip(job.path / "metadata.json", 30)


@contextlib.contextmanager
def ordinary_user():
    """Lose root's right to read and write everything, if it is root who runs the tests."""
    if os.geteuid() != 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
