"""Two real processes that write to one destination: one does, the other is told so at once."""

import subprocess
import sys

from backup_trees import picture

ONE_SENTENCE = """
import sys
from pytest_drdrill.backup import BackupError, FullBackupStrategy
try:
    print(FullBackupStrategy().create_backup(*sys.argv[1:]).status)
except BackupError as error:
    print(type(error).__name__, error)
"""
# Stops in the middle, with the lock taken and the tar begun, until it is told to go on.
STOPS = """
import sys
from pytest_drdrill.backup import FullBackupStrategy
stops = []
def stop(_progress):
    if not stops:
        stops.append("in the middle")
        print(*stops, flush=True)
        sys.stdin.readline()
print(FullBackupStrategy().create_backup(*sys.argv[1:], progress=stop).status)
"""
# Waits at the barrier that its standard input is, so that both begin at once.
AT_ONCE = "import sys; from pytest_drdrill.backup import *; sys.stdin.readline()" + ONE_SENTENCE


def start(script, *arguments):
    command = [sys.executable, "-c", script, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_the_second_of_two_processes_is_refused(full, small, vault, tmp_path):
    with start(STOPS, small, vault) as first:
        assert first.stdout.readline() == "in the middle\n"
        before = picture(vault)
        with start(ONE_SENTENCE, small, vault) as second:
            said = second.communicate()
        assert said == (f"BackupLocked another run is writing to {vault}; try later\n", "")
        assert picture(vault) == before
        assert first.communicate("go on\n") == ("completed\n", "")
    (job,) = full.list_backups(vault)
    full.restore_backup(job, tmp_path / "restored")
    assert picture(tmp_path / "restored") == picture(small)


def test_whoever_of_two_processes_comes_first_the_backups_are_whole(full, small, vault):
    # Which one is refused, if any, is theirs to settle; that all that is listed is whole, is ours.
    runs = [start(AT_ONCE, small, vault) for _ in range(2)]
    for run in runs:
        run.stdin.write("\n")
        run.stdin.flush()
    said = [run.communicate(timeout=60) for run in runs]
    refusal = (f"BackupLocked another run is writing to {vault}; try later\n", "")
    assert set(said) <= {("completed\n", ""), refusal}
    jobs = full.list_backups(vault)
    assert len(jobs) == said.count(("completed\n", "")) >= 1
    for job in jobs:
        full.verify_backup(job)
    assert len([path for path in vault.iterdir() if path.is_dir()]) == len(jobs)
