"""Somebody deletes one package by mistake; it alone is restored, and the rest is left alone.

The important tier: one hour, and at most 30 minutes of work lost. Part of the outage is people: it
takes a while until the mistake is seen and a restore is decided on. A drill can't measure that, so
it *assumes* it, out loud: the assumption counts in the verdict, and the report shows it apart.
"""

import shutil

import pytest

pytestmark = [pytest.mark.dr_service("library"), pytest.mark.dr_tier("important")]


@pytest.mark.disaster("human_error")
def test_one_package_comes_back(
    library, vault, tree_digest, full_backup, faults, tmp_path, drill, rto_timer, rpo_timer
):
    job = full_backup.create_backup(library, vault)
    before = tree_digest(library)

    rto_timer.assume("notice and decide", "20m")
    with rto_timer.outage():
        faults.delete_files(library / "json")
        assert tree_digest(library) != before
        with drill.step("restore the package beside", owner="on-call"):
            full_backup.restore_backup(job, tmp_path / "restored", paths=["json"])
        with drill.step("put it back", owner="on-call"):
            (library / "json").rmdir()
            shutil.move(tmp_path / "restored" / "json", library / "json")
        assert tree_digest(library) == before

    rpo_timer.recovered_to(job.recovery_point)
