"""What backups cost beside their peers: ratios of neighbouring runs, on the same trees, in one run.

    python tests/benchmarks/backup_cost.py [--work DIR] [--rounds 5] [--files 20000]
        [--large-mib 2048] [--peers cp,dd,find,sha256sum,tar,rsync,restic,borg]

Contenders run in turn, in processes of their own, so that starting Python counts as well; what that
alone takes stands beside it ("start"). Before each, the disk is synced, the source read (borg drops
it from memory) and the memory touched that is needed; what a contender writes counts as written
when it has been synced too. What it wrote is removed at the very end, where there is room for it:
ext4 looks at each lately removed inode before it makes a new one, which costs the next contender
more than all its own work. A ratio is the median
of the ratios of one round, since creating files swings by a factor of ten from one minute to the
next. Peers that are not on the machine are left out: rsync, restic (which always encrypts, and here
compresses) and borg (here without encryption and compression). What ``dd`` takes is no backup but
the least that one without compression can take: all contents read and brought to the disk.

Small files are copies of the interpreter's own library, large ones are random bytes.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

OURS = (
    "import sys; from pytest_drdrill import {kind}BackupStrategy; "
    "s = {kind}BackupStrategy(); a = sys.argv[1:]; {call}"
)
# A process's own peak is that of whoever started it at least: so a small one does.
LAUNCH = """
import os, sys, time
begun = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
wall = time.perf_counter() - begun
print(os.waitstatus_to_exitcode(status), wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
"""
CALLS = {
    "full": ("Full", "s.create_backup(*a[:2])"),
    "more": ("Incremental", "s.create_backup(*a[:2])"),
    "verify": ("Full", "s.verify_backup(s.list_backups(a[1])[-1])"),
    "restore": ("Full", "s.restore_backup(s.list_backups(a[1])[-1], a[2])"),
}
HASH = "find {src} -type f -print0 | xargs -0 -P 2 -n {bunch} sha256sum >/dev/null"
FIND = "find {src} -printf '%s %T@ %C@ %i %p\\n' >/dev/null"
WRITE = "bs=2M iflag=fullblock oflag=direct conv=fsync"
PEERS = {
    "start": {"none": "{python} -c 'from pytest_drdrill import IncrementalBackupStrategy'"},
    "cp -a": {"full": "cp -a {src} {store}/0", "restore": "cp -a {store}/0 {out}"},
    "dd": {"full": "find {src} -type f -exec cat {{}} + | dd of={store}/0 status=none " + WRITE},
    "find": {"none": FIND, "some": FIND},
    "sha256sum": {"verify": HASH},
    "tar": {
        "full": "tar -cf {store}/0.tar -C {src} .",
        "restore": "mkdir {out} && tar -xf {store}/0.tar -C {out}",
    },
    "rsync": {
        "full": "rsync -a {src}/ {store}/0/",
        "none": "rsync -a --link-dest={store}/0 {src}/ {store}/1/",
        "some": "rsync -a --link-dest={store}/1 {src}/ {store}/2/",
        "restore": "rsync -a {store}/0/ {out}/",
    },
    "restic": {
        "init": "restic init -q -r {store}",
        "full": "restic backup -q -r {store} {src}",
        "none": "restic backup -q -r {store} {src}",
        "some": "restic backup -q -r {store} {src}",
        "verify": "restic check -q --read-data -r {store}",
        "restore": "restic restore -q latest -r {store} --target {out}",
    },
    "borg": {
        "init": "borg init -e none {store}",
        "full": "borg create -C none {store}::0 {src}",
        "none": "borg create -C none {store}::1 {src}",
        "some": "borg create -C none {store}::2 {src}",
        "verify": "borg check --verify-data {store}",
        "restore": "mkdir {out} && cd {out} && borg extract {store}::0",
    },
}
# What is promised: operation, the peer that it is held against, wall or CPU, at most how many times
# for small and for large files (0: nothing is).
TARGETS = [
    ("full", "cp -a", "wall", 0.8, 1.0),
    ("full", "restic", "wall", 0.25, 0.25),
    ("full", "borg", "wall", 0.4, 0.4),
    ("none", "find", "cpu", 2.0, 0),
    ("none", "restic", "wall", 0.143, 0),
    ("some", "find", "cpu", 2.5, 0),
    ("verify", "sha256sum", "wall", 0.9, 0.9),
    ("restore", "cp -a", "wall", 1.2, 1.2),
    ("restore", "restic", "wall", 0.4, 0.4),
]
ROOM = 30 << 30
"""Bytes that stay free on the disk."""
PEAK_MIB = (100, 32)
"""The most memory that any of our processes may take, with small and with large files."""
OPERATIONS = ("full", "none", "some", "verify", "restore")


class Cost(NamedTuple):
    wall: float
    cpu: float
    peak_mib: float


def ours(operation: str, place: dict[str, str]) -> list[str]:
    kind, call = CALLS[{"none": "more", "some": "more"}.get(operation, operation)]
    code = OURS.format(kind=kind, call=call)
    return [sys.executable, "-c", code, place["src"], place["store"], place["out"]]


def cost(command: list[str], place: dict[str, str]) -> Cost:
    """Of a command and of bringing what it wrote to the disk; the peak is the command's."""
    warm(Path(place["src"]))
    os.sync()
    environment = {
        **os.environ,
        "LC_ALL": "C.UTF-8",
        "RESTIC_PASSWORD": "benchmark",
        "RESTIC_CACHE_DIR": place["cache"],
        "BORG_BASE_DIR": place["cache"],
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    }
    touch(int(place["memory"]))
    launched = [sys.executable, "-IS", "-c", LAUNCH, *command]
    done = subprocess.run(launched, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    begun = time.perf_counter()
    subprocess.run(["sync", "-f", place["work"]], check=True)
    synced = time.perf_counter() - begun
    code, wall, cpu, peak_kib = done.stdout.split()[-4:]
    if code != "0":
        raise SystemExit(f"{command} exited {code}")
    return Cost(float(wall) + synced, float(cpu), int(peak_kib) / 1024)


def warm(source: Path) -> None:
    """Read all of the source, so that each contender finds it in memory."""
    for path in source.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass


def touch(size: int) -> None:
    """Use memory and give it back: its first use costs seconds on some virtual machines."""
    with mmap.mmap(-1, size) as memory:
        for at in range(0, size, mmap.PAGESIZE):
            memory[at] = 1


def run(name: str, place: dict[str, str], seed: int) -> dict[str, Cost]:
    """All operations of one contender: full, nothing changed, 1 % changed, verify, restore."""
    for key in ("store", "cache"):
        Path(place[key]).mkdir()
    found = {}
    try:
        for operation in ("init", *OPERATIONS):
            if operation == "some":
                change(Path(place["src"]), seed)
            template = PEERS.get(name, {}).get(operation)
            if name == "ours" and operation != "init":
                found[operation] = cost(ours(operation, place), place)
            elif template is not None:
                found[operation] = cost(["bash", "-c", template.format(**place)], place)
    finally:
        for key in ("store", "cache", "out"):
            put_away(Path(place[key]), Path(place["work"]))
    return found


def put_away(folder: Path, work: Path) -> None:
    """Out of the way; removed at once only where the disk has no room for more of it."""
    if not folder.exists():
        return
    if shutil.disk_usage(work).free < ROOM:
        shutil.rmtree(folder)
        return
    folder.rename(tempfile.mkdtemp(prefix="old-", dir=work))


def change(source: Path, seed: int) -> None:
    """Rewrite one file in a hundred, at least one."""
    chance = random.Random(seed)
    files = sorted(path for path in source.rglob("*") if path.is_file() and not path.is_symlink())
    for path in chance.sample(files, max(1, len(files) // 100)):
        path.chmod(path.stat().st_mode | 0o200)
        with path.open("ab") as file:
            file.write(b"# changed\n")


def small_tree(folder: Path, count: int) -> None:
    library = Path(sysconfig.get_paths()["stdlib"])
    there = 0
    number = 0
    while there < count:
        copy = folder / f"copy{number}"
        shutil.copytree(library, copy, symlinks=True)
        for path in sorted(copy.rglob("*"), reverse=True):
            if path.is_file() and not path.is_symlink():
                there += 1
                if there > count:
                    path.unlink()
        number += 1


def large_tree(folder: Path, mib: int) -> None:
    folder.mkdir()
    for number in range(4):
        with (folder / f"large{number}").open("wb") as file:
            for _ in range(mib // 4):
                file.write(os.urandom(1 << 20))


def compare(title: str, work: Path, rounds: int, peers: list[str], *, is_large: bool) -> None:
    place = {name: str(work / name) for name in ("src", "store", "out", "cache")}
    place |= {"work": str(work), "python": sys.executable, "bunch": "1" if is_large else "500"}
    size = sum(path.lstat().st_size for path in work.rglob("*") if path.is_file())
    # A contender needs pages for what it writes; what is read is in memory already.
    place["memory"] = str(size + (512 << 20))
    names = ["ours", *peers]
    found: dict[str, list[dict[str, Cost]]] = {name: [] for name in names}
    for number in range(rounds):
        order = names[number % len(names) :] + names[: number % len(names)]
        for name in order:
            found[name].append(run(name, place, number))
    kind = subprocess.check_output(["findmnt", "-n", "-o", "FSTYPE", "-T", work], text=True)
    print(f"\n{title}, {size / 2**20:,.0f} MiB, {rounds} rounds, on {kind.strip()}")
    print(f"{'':<11}" + "".join(f"{operation:>22}" for operation in OPERATIONS))
    for name in names:
        cells = []
        for operation in OPERATIONS:
            costs = [each[operation] for each in found[name] if operation in each]
            if not costs:
                cells.append("-")
                continue
            wall, cpu, peak = (statistics.median(values) for values in zip(*costs, strict=True))
            cells.append(f"{wall:.2f}s {cpu:.2f}cpu {peak:.0f}M")
        print(f"{name:<11}" + "".join(f"{cell:>22}" for cell in cells))
    for operation, peer, what, *most in TARGETS:
        pairs = zip(found["ours"], found.get(peer, []), strict=False)
        ratios = [
            getattr(mine[operation], what) / getattr(theirs[operation], what)
            for mine, theirs in pairs
            if operation in theirs
        ]
        if ratios and most[is_large]:
            spread = f"(min {min(ratios):.2f}, max {max(ratios):.2f})"
            middle = statistics.median(ratios)
            print(
                f"{operation:<8} {what:<4} over {peer:<10} {middle:6.2f} {spread:<24} "
                f"<= {most[is_large]}{'' if middle <= most[is_large] else '  MISSED'}"
            )
    peak = max(each[operation].peak_mib for each in found["ours"] for operation in OPERATIONS)
    most_mib = PEAK_MIB[is_large]
    print(f"peak     {peak:.0f} MiB  <= {most_mib}{'' if peak <= most_mib else '  MISSED'}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--large-mib", type=int, default=2048)
    parser.add_argument("--peers", default="cp,dd,find,sha256sum,tar,rsync,restic,borg")
    given = parser.parse_args()
    wanted = given.peers.split(",")
    peers = [
        name
        for name in PEERS
        if name == "start" or (name.split()[0] in wanted and shutil.which(name.split()[0]))
    ]
    for title, build, size in (
        (f"{given.files:,} small files", small_tree, given.files),
        ("4 large files", large_tree, given.large_mib),
    ):
        if size:
            with tempfile.TemporaryDirectory(dir=given.work) as folder:
                build(Path(folder, "src"), size)
                is_large = build is large_tree
                compare(title, Path(folder), given.rounds, peers, is_large=is_large)


if __name__ == "__main__":
    main()
