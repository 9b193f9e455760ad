"""Ransomware got into the vault too, and encrypted the newest backups; an older one must do.

Who encrypts your files for money looks for your backups first. What it encrypted is no backup any
more, and is not listed as one. The newest that is left is verified, every byte, before anything is
built on it. In your own vault, make backups immutable for longer than an intruder stays unseen.
"""

import pytest

pytestmark = [pytest.mark.dr_service("library"), pytest.mark.dr_tier("important")]


@pytest.mark.disaster("security")
def test_an_older_backup_is_out_of_reach_of_the_ransomware(
    tmp_path, vault, tree_digest, differential_backup, faults, drill, rto_timer, rpo_timer
):
    wiki = tmp_path / "wiki"
    wiki.mkdir()
    jobs, digests = [], []
    for day in range(5):
        (wiki / f"day-{day}.md").write_text(f"# Day {day}\n" * 1000)
        jobs.append(differential_backup.create_backup(wiki, vault))
        digests.append(tree_digest(wiki))

    with rto_timer.outage():
        faults.encrypt_files(wiki)
        for job in jobs[3:]:
            faults.encrypt_files(vault / job.id)
        with drill.step("verify the newest backup that is left", owner="security"):
            left = differential_backup.list_backups(vault)
            assert [job.id for job in left] == [job.id for job in jobs[2::-1]]
            differential_backup.verify_backup(left[0])
        with drill.step("restore it", owner="platform"):
            differential_backup.restore_backup(left[0], wiki, replace=True)
        assert tree_digest(wiki) == digests[2]

    rpo_timer.recovered_to(left[0].recovery_point)
    drill.finding("two days of backups were within reach of the intruder", owner="security")
