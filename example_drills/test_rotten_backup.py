"""The newest backup has rotted; the one before brings the orders back; a ledger counts the loss.

The standard tier: four hours, and at most one hour of work lost. Every order that was acknowledged
is entered in the ledger of ``rpo_timer``. After the recovery the survivors are read back, and what
is missing *is* the data loss: no estimate, and no assumption about when the backup was taken.
"""

import pytest

from pytest_drdrill import BackupDamaged

pytestmark = [pytest.mark.dr_service("orders"), pytest.mark.dr_tier("standard")]


@pytest.mark.disaster("technical")
def test_older_backup_takes_over_from_a_rotten_one(
    tmp_path, vault, full_backup, faults, drill, rto_timer, rpo_timer
):
    orders = tmp_path / "orders"
    orders.mkdir()

    def take_orders(first, last):
        for number in range(first, last):
            (orders / f"{number:04d}.txt").write_text(f"order {number}")
            rpo_timer.acknowledged(number)

    take_orders(0, 300)
    older = full_backup.create_backup(orders, vault)
    take_orders(300, 400)
    newest = full_backup.create_backup(orders, vault)
    take_orders(400, 420)

    tar = vault / newest.id / "data.tar"
    rotten = bytearray(tar.read_bytes())
    rotten[rotten.index(b"order 42")] ^= 1  # one bit of one order
    tar.write_bytes(rotten)

    with rto_timer.outage():
        faults.delete_files(orders)
        with pytest.raises(BackupDamaged):
            full_backup.restore_backup(newest, orders, replace=True)
        drill.finding("verify a backup when it is made, not when it is needed", owner="platform")
        with drill.step("restore the one before", owner="platform"):
            full_backup.restore_backup(older, orders, replace=True)
        assert len(list(orders.iterdir())) == 300

    rpo_timer.survived(int(path.stem) for path in orders.iterdir())
    assert rpo_timer.lost == list(range(300, 420))
