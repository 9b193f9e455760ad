"""A month of nightly backups, and the most that a disaster could have cost at any instant of it.

The promise is that one bad night may pass, two in a row may not. In the first night of this month
that goes wrong, the store is full; in another one, a backup takes three hours. A backup counts once
its copy lies in another place. What a disaster would have cost grows with time and drops where a
backup becomes usable, so the worst of all instants is found exactly, and nothing is sampled.
Simulated: what is drilled is the schedule. That its backups come back, other drills show.
"""

from datetime import timedelta

import pytest

from pytest_drdrill import BackupSchedule


@pytest.mark.dr_service("wiki")
@pytest.mark.disaster("technical")
@pytest.mark.rpo("2d1h")
async def test_no_instant_of_a_month_costs_more_than_two_nights(
    simulated_backups, drill, rpo_timer
):
    backups = simulated_backups(takes="20m", usable_after="10m")
    backups.fail_at("9d22h", "the store is full")
    backups.recover_at("10d9h")  # somebody came to work
    backups.slow_at("19d22h", by="3h")
    backups.recover_at("20d9h")

    schedule = BackupSchedule(backups, "/srv/wiki", "/vault/wiki", every="1d")
    await schedule.run(until=drill.clock.now() + timedelta(days=30))

    assert len(schedule.failures) == 1
    exposure = schedule.exposure()
    rpo_timer.exposed(exposure)
    drill.note(exposure.explanation)
    every_night = schedule.worst_case_rpo("20m", usable_after="10m")  # were there no such nights
    drill.metric("worst case, had all nights gone well", every_night / timedelta(hours=1), "h")
    assert exposure.worst > every_night
