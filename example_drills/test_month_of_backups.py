"""A month of nightly backups under a retention policy; what was deleted four weeks ago comes back.

Nobody can keep every backup, so a policy thins them out: here each night of the last week, and each
Sunday of the last four. The base of an increment that stays is never removed. The drill plays the
month with a clock turned by hand, a day for each backup; the files and the restore are real.
"""

from datetime import UTC, datetime, timedelta

import pytest

from pytest_drdrill import FullBackupStrategy, IncrementalBackupStrategy, RealClock, RetentionPolicy

pytestmark = [pytest.mark.dr_service("wiki"), pytest.mark.dr_tier("standard")]

KEEP = RetentionPolicy(keep_daily=7, keep_weekly=4)


class Calendar(RealClock):
    """A clock that says what day it is when it is told."""

    day = datetime(2026, 3, 1, 2, tzinfo=UTC)  # a Sunday

    def now(self):
        """The present day, at two in the morning."""
        return self.day


@pytest.mark.disaster("human_error")
def test_a_page_deleted_weeks_ago_comes_back(
    tmp_path, vault, full_backup, drill, rto_timer, rpo_timer
):
    calendar = Calendar()
    weekly, nightly = FullBackupStrategy(clock=calendar), IncrementalBackupStrategy(clock=calendar)
    wiki = tmp_path / "wiki"
    wiki.mkdir()
    for night in range(29):
        (wiki / f"page-{night:02}.md").write_text(f"written on day {night}\n")
        if night == 10:
            (wiki / "page-03.md").unlink()  # by mistake, and nobody notices for weeks
        (weekly if night % 7 == 0 else nightly).create_backup(wiki, vault)
        result = nightly.prune_backups(vault, KEEP)
        calendar.day += timedelta(days=1)
    drill.metric("backups kept", len(result.kept))
    assert len(result.kept) < 29

    with rto_timer.outage(expect_downtime=False):
        with drill.step("find the newest backup that holds the page", owner="on-call"):
            for job in full_backup.list_backups(vault):
                restored = tmp_path / job.id
                full_backup.restore_backup(job, restored)  # any strategy restores any backup
                if (restored / "page-03.md").exists():
                    break
        full_backup.restore_backup(job, wiki, replace=True, paths=["page-03.md"])
        assert (wiki / "page-03.md").read_text() == "written on day 3\n"
        assert (wiki / "page-28.md").exists()

    assert job.recovery_point == datetime(2026, 3, 8, 2, tzinfo=UTC)  # the Sunday before
    rpo_timer.not_applicable("the month is played; what is drilled is what the policy keeps")
