"""What a million small files cost: time and memory of a backup, one without change, a restore.

    python tests/benchmarks/million_files.py [--files 1000000] [--flat FOLDERS] [--work DIR]
        [--limit-mib 300]

A tree of this size is where memory that grows with the number of files shows, be it a byte each.
So each step is a process of its own, which says itself how much memory it ever had: what the kernel
tells of a child that ended counts what it was before its exec, when it still was its parent's copy.
A step above the limit is one sentence, and exit 1.

The tree has a thousand files a folder, or, with ``--flat``, all of them in so few folders: a folder
is listed and sorted at once, so there a million names in one is the worst case. Its files have 0 to
200 bytes. It takes 10 GiB for a million files, and is removed however the run ends.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

A_FOLDER = 1000
LARGEST = 200
ENDS = {signal.SIGINT, signal.SIGTERM}  # what ends a run that took too long is as good as Ctrl-C
# Memory as the kernel counts it for what runs now, not for what it was started by.
STEP = """
import json, os, signal, sys, time
signal.pthread_sigmask(signal.SIG_SETMASK, [])
from pytest_drdrill.backup import FullBackupStrategy, IncrementalBackupStrategy
step, source, vault, restored = sys.argv[1:]
begun = time.perf_counter()
if step == "restore":
    strategy = FullBackupStrategy()
    result = strategy.restore_backup(strategy.list_backups(vault)[0], restored)
    files, stored = result.file_count, 0
else:
    strategy = {"full": FullBackupStrategy, "nothing new": IncrementalBackupStrategy}[step]()
    job = strategy.create_backup(source, vault)
    files, stored = job.file_count, job.stored_bytes
wall = time.perf_counter() - begun
lines = open("/proc/self/status").read().splitlines()
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
print(json.dumps({"wall": wall, "cpu": sum(os.times()[:4]), "peak_mib": peak / 1024,
    "files": files, "stored": stored}))
"""


def make(root: Path, files: int, folders: int) -> None:
    """Files of all sizes up to the largest, spread evenly over folders."""
    block = random.Random(files).randbytes(1 << 16)
    root.mkdir()
    left, number = files, 0
    for place in range(folders):
        folder = os.open(_made(root / f"{place:04}"), os.O_RDONLY)
        for _ in range(left // (folders - place)):
            begin = number * 37 % (len(block) - LARGEST)
            file = os.open(f"{number:07}.dat", os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd=folder)
            os.write(file, block[begin : begin + number % (LARGEST + 1)])
            os.close(file)
            number += 1
        left = files - number
        os.close(folder)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def run(step: str, work: Path) -> dict[str, Any]:
    """One step, in a process of its own."""
    places = [str(work / name) for name in ("source", "vault", "restored")]
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", STEP, step, *places]
    # An interrupt that came before the process is in hand would leave it running, and writing.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
            said, error = process.communicate()
        except KeyboardInterrupt:
            process.kill()
            raise
    if process.returncode:
        raise SystemExit(f"{step} failed: {error.strip().rpartition(chr(10))[2]}")
    found: dict[str, Any] = json.loads(said)
    return found


def measure(work: Path, files: int, folders: int, limit_mib: float) -> None:
    begun = time.perf_counter()
    make(work / "source", files, folders)
    made = time.perf_counter() - begun
    print(f"{files:,} files in {folders:,} folders, made in {made:.0f} s", flush=True)
    print(f"{'':<12}{'wall s':>10}{'CPU s':>10}{'peak MiB':>10}", flush=True)
    above = []
    for step in ("full", "nothing new", "restore"):
        found = run(step, work)
        figures = "".join(f"{found[name]:>10.1f}" for name in ("wall", "cpu", "peak_mib"))
        print(f"{step:<12}{figures}", flush=True)
        if found["files"] != files:
            raise SystemExit(f"{step}: {found['files']:,} files in place of {files:,}")
        if step == "nothing new" and found["stored"]:
            raise SystemExit(f"{step}: {found['stored']:,} bytes were stored again")
        if found["peak_mib"] > limit_mib:
            above.append(f"{step} {found['peak_mib']:.0f} MiB")
    if above:
        raise SystemExit(f"more memory than {limit_mib:g} MiB was taken: {', '.join(above)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--flat", type=int, metavar="FOLDERS")
    parser.add_argument("--limit-mib", type=float, default=300)
    given = parser.parse_args()
    folders = given.flat or -(-given.files // A_FOLDER)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="million-files-", dir=given.work))
    try:
        measure(folder, given.files, folders, given.limit_mib)
    except KeyboardInterrupt:
        raise SystemExit("interrupted; what it made is removed") from None
    finally:
        for number in ENDS:  # removal takes minutes, and whoever ended it half-way would leave much
            signal.signal(number, signal.SIG_IGN)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
