"""The nightly backup was killed half way; nobody may take what it left for a backup.

A backup counts when it is published, in one step, with everything on the disk before. The job here
is a real process that gets ``kill -9`` in the middle. The drill shows that the night before is what
is listed and restored, and that the next run clears the leftover away by itself.
"""

import signal
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.dr_service("library"), pytest.mark.dr_tier("important")]

NIGHTLY = """
import os, signal, sys
from pytest_drdrill import IncrementalBackupStrategy

def die(progress):
    os.kill(os.getpid(), signal.SIGKILL)

IncrementalBackupStrategy().create_backup(*sys.argv[1:], progress=die)
"""


@pytest.mark.disaster("technical")
def test_the_night_before_is_restored(
    library, vault, tree_digest, incremental_backup, faults, drill, rto_timer, rpo_timer
):
    night_before = incremental_backup.create_backup(library, vault)
    before = tree_digest(library)
    (library / "today.py").write_text("print('written after the last good backup')\n")
    died = subprocess.run([sys.executable, "-c", NIGHTLY, library, vault], check=False)
    assert died.returncode == -signal.SIGKILL
    assert len([path for path in vault.iterdir() if path.is_dir()]) == 2  # the leftover is there

    with rto_timer.outage():
        faults.delete_files(library)
        with drill.step("restore the newest backup that is listed", owner="on-call"):
            newest = incremental_backup.list_backups(vault)[0]
            assert newest.id == night_before.id
            incremental_backup.restore_backup(newest, library, replace=True)
        assert tree_digest(library) == before

    rpo_timer.recovered_to(newest.recovery_point)
    incremental_backup.create_backup(library, vault)
    folders = [path for path in vault.iterdir() if path.is_dir()]
    assert len(folders) == len(incremental_backup.list_backups(vault)) == 2  # and now it is gone
