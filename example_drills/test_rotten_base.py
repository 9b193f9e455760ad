"""The full backup that a week of increments builds on has rotted; what still helps is found.

Increments are small because they share the bytes of earlier backups. So one rotten bit in a full
backup is in every increment that builds on it. Verification names them all, and the newest backup
that the damage leaves alone: the one to restore. The loss is counted with the ledger.
"""

import pytest

from pytest_drdrill import BackupDamaged

pytestmark = [pytest.mark.dr_service("orders"), pytest.mark.dr_tier("standard")]


@pytest.mark.disaster("technical")
def test_backups_of_last_week_outlive_a_rotten_base(
    tmp_path, vault, full_backup, incremental_backup, faults, drill, rto_timer, rpo_timer
):
    orders = tmp_path / "orders"
    orders.mkdir()
    jobs = []
    for day, strategy in enumerate([full_backup, *[incremental_backup] * 2] * 2):
        for number in range(day * 100, day * 100 + 100):
            (orders / f"{number:04d}.txt").write_text(f"order {number}")
            rpo_timer.acknowledged(number)
        jobs.append(strategy.create_backup(orders, vault))
    last_week, this_week = jobs[:3], jobs[3:]

    tar = vault / this_week[0].id / "data.tar"
    rotten = bytearray(tar.read_bytes())
    rotten[rotten.index(b"order 142")] ^= 1  # one bit, months ago
    tar.write_bytes(rotten)

    with rto_timer.outage():
        faults.delete_files(orders)
        with pytest.raises(BackupDamaged) as caught:
            full_backup.restore_backup(jobs[-1], orders, replace=True)
        with drill.step("find out what the damage concerns", owner="platform"):
            with pytest.raises(BackupDamaged) as caught:
                full_backup.verify_backup(jobs[-1])
            assert set(caught.value.dependents) == {job.id for job in this_week[:2]}
            assert caught.value.intact[0] == last_week[-1].id
        with drill.step("restore the newest one that it leaves alone", owner="platform"):
            full_backup.restore_backup(last_week[-1], orders, replace=True)
        assert len(list(orders.iterdir())) == 300

    rpo_timer.survived(int(path.stem) for path in orders.iterdir())
    assert rpo_timer.lost == list(range(300, 600))
