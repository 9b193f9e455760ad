"""Ransomware encrypts everything; the last backup brings it back, byte for byte.

The promise is that of the critical tier: back within 15 minutes (RTO), with at most 5 minutes of
work lost (RPO). The clock starts when the disaster strikes, not when somebody notices, and stops
when the files are verified to be what they were, not when the restore says that it is done.

The drill takes the backup itself, moments before, so the report calls its RPO *staged*: true of the
restore, no evidence that your schedule backs up often enough.
"""

import pytest

pytestmark = [pytest.mark.dr_service("library"), pytest.mark.dr_tier("critical")]


@pytest.mark.disaster("security")
def test_files_come_back_after_ransomware(
    library, vault, tree_digest, full_backup, faults, drill, rto_timer, rpo_timer
):
    before = tree_digest(library)
    job = full_backup.create_backup(library, vault)
    drill.metric("files", job.file_count)
    drill.metric("backup size", job.size_bytes / 1e6, "MB")

    with rto_timer.outage():
        faults.encrypt_files(library)
        assert tree_digest(library) != before  # the fault did strike
        with drill.step("restore the newest backup", owner="platform"):
            full_backup.restore_backup(job, library, replace=True)
        with drill.step("verify every byte", owner="platform"):
            assert tree_digest(library) == before

    rpo_timer.recovered_to(job.recovery_point)
