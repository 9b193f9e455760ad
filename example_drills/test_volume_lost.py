"""A volume is lost while people save their work; the last backup brings back what it held.

One of them is a canary: it saves a file every 20 ms as careful programs do (a temporary name,
synced, renamed, the folder synced), through the loss of the volume and its restore. The outage is
what it saw. What it had saved after the backup is lost, which the RPO allows for five minutes; what
the backup held is back, and none of it is damaged. The backup runs while people save: it is no
snapshot, and may hold a file and not one that was saved before it, which the report calls a hole.
"""

import asyncio
import shutil

import pytest

from pytest_drdrill import folder_canary

pytestmark = [pytest.mark.dr_service("shared files"), pytest.mark.dr_tier("critical")]


@pytest.mark.disaster("technical")
async def test_saved_work_comes_back_after_a_lost_volume(
    tmp_path, vault, full_backup, canary, drill, rto_timer
):
    volume = tmp_path / "volume"
    volume.mkdir()
    for number in range(200):
        (volume / f"report-{number}.txt").write_text(f"figures of branch {number}")

    async with canary(folder_canary(volume), interval="20ms", name="colleague") as colleague:
        with drill.step("back up, while it is written to", owner="platform"):
            job = await asyncio.to_thread(full_backup.create_backup, volume, vault)
        await asyncio.sleep(0.5)  # saved since, and in no backup
        with rto_timer.outage():
            volume.rename(tmp_path / "lost")
            shutil.rmtree(tmp_path / "lost")
            await asyncio.sleep(0.2)
            with drill.step("restore the newest backup", owner="platform"):
                await asyncio.to_thread(full_backup.restore_backup, job, volume)
            assert len(list(volume.glob("report-*.txt"))) == 200

    found = await colleague.verify()
    assert found.lost  # the drill did strike what nobody had backed up
    assert not found.corrupted
    drill.metric("saved files lost", len(found.lost))
