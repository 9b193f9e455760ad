"""What backups cost beside their peers: ratios of neighbouring runs, on the same trees, in one run.

    python tests/benchmarks/backup_cost.py [--work DIR] [--rounds 5] [--files 20000]
        [--large-mib 2048]

Contenders run in turn, in processes of their own; before each the disk is synced, and what a
contender writes counts as written when it has been synced too. A ratio is the median of the ratios
of one round, since creating files swings by a factor of ten from one minute to the next. Peers that
are not on the machine are left out: rsync, restic (which always encrypts) and borg (here without
encryption and compression).

Small files are copies of the interpreter's own library, large ones are random bytes.
"""

from __future__ import annotations

import argparse
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
    "import sys; from pytest_drdrill.backup import *; "
    "s = {kind}BackupStrategy(); a = sys.argv[1:]; {call}"
)
CALLS = {
    "full": ("Full", "s.create_backup(*a[:2])"),
    "more": ("Incremental", "s.create_backup(*a[:2])"),
    "verify": ("Full", "s.verify_backup(s.list_backups(a[1])[-1])"),
    "restore": ("Full", "s.restore_backup(s.list_backups(a[1])[-1], a[2])"),
}
HASH = "find {src} -type f -print0 | xargs -0 -P 2 -n 500 sha256sum"
FIND = "find {src} -printf '%s %T@ %C@ %i %p\\n'"
PEERS = {
    "cp -a": {"full": "cp -a {src} {store}/0", "restore": "cp -a {store}/0 {out}"},
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
# What is promised: operation, the peer that it is held against, wall or CPU, at most so many times.
TARGETS = [
    ("full", "cp -a", "wall", "<= 0.8 small, 1.0 large"),
    ("full", "restic", "wall", "<= 0.25"),
    ("full", "borg", "wall", "<= 0.4"),
    ("none", "find", "cpu", "<= 2.0"),
    ("none", "restic", "wall", "<= 0.143"),
    ("some", "find", "cpu", "<= 2.5"),
    ("verify", "sha256sum", "wall", "<= 0.9"),
    ("restore", "cp -a", "wall", "<= 1.2"),
    ("restore", "restic", "wall", "<= 0.4"),
]
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
    """Of a command and of bringing what it wrote to the disk."""
    os.sync()
    environment = {
        **os.environ,
        "LC_ALL": "C.UTF-8",
        "RESTIC_PASSWORD": "benchmark",
        "RESTIC_CACHE_DIR": place["cache"],
        "BORG_BASE_DIR": place["cache"],
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    }
    begun = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} exited {process.returncode}")
    subprocess.run(["sync", "-f", place["work"]], check=True)
    wall = time.perf_counter() - begun
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


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
            shutil.rmtree(place[key], ignore_errors=True)
    return found


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


def compare(title: str, work: Path, rounds: int) -> None:
    place = {name: str(work / name) for name in ("src", "store", "out", "cache")}
    place["work"] = str(work)
    program = {"cp -a": "cp", "sha256sum": "sha256sum"}
    names = ["ours", *(name for name in PEERS if shutil.which(program.get(name, name)))]
    found: dict[str, list[dict[str, Cost]]] = {name: [] for name in names}
    for number in range(rounds):
        order = names[number % len(names) :] + names[: number % len(names)]
        for name in order:
            found[name].append(run(name, place, number))
    kind = subprocess.check_output(["stat", "-f", "-c", "%T", work], text=True)
    print(f"\n{title}, {rounds} rounds, on {kind.strip()}")
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
    for operation, peer, what, target in TARGETS:
        pairs = zip(found["ours"], found.get(peer, []), strict=False)
        ratios = [
            getattr(mine[operation], what) / getattr(theirs[operation], what)
            for mine, theirs in pairs
            if operation in theirs
        ]
        if ratios:
            spread = f"(min {min(ratios):.2f}, max {max(ratios):.2f})"
            middle = statistics.median(ratios)
            print(f"{operation:<8} {what:<4} over {peer:<10} {middle:6.2f} {spread:<24} {target}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--large-mib", type=int, default=2048)
    given = parser.parse_args()
    for title, build, size in (
        (f"{given.files:,} small files", small_tree, given.files),
        (f"{given.large_mib:,} MiB in 4 files", large_tree, given.large_mib),
    ):
        if size:
            with tempfile.TemporaryDirectory(dir=given.work) as folder:
                build(Path(folder, "src"), size)
                compare(title, Path(folder), given.rounds)


if __name__ == "__main__":
    main()
