"""One configuration file was overwritten; it alone comes back, from the day when it was right.

Most restores are of a single file, and the rest must not change under people's hands meanwhile.
``backup_strategy`` runs this drill once with each strategy: whatever your schedule makes, any
of its backups gives the file back.
"""

import pytest

pytestmark = [pytest.mark.dr_service("web"), pytest.mark.dr_tier("standard")]


@pytest.mark.disaster("human_error")
def test_the_file_alone_comes_back(tmp_path, vault, backup_strategy, rto_timer, rpo_timer):
    site = tmp_path / "site"
    (site / "etc").mkdir(parents=True)
    (site / "etc" / "server.conf").write_text("listen 443\n")
    (site / "index.html").write_text("<h1>Monday</h1>")
    backup_strategy.create_backup(site, vault)
    (site / "index.html").write_text("<h1>Tuesday</h1>")
    job = backup_strategy.create_backup(site, vault)

    with rto_timer.outage():
        (site / "etc" / "server.conf").write_text("lisen 443\n")
        (site / "index.html").write_text("<h1>Wednesday</h1>")  # somebody goes on working
        backup_strategy.restore_backup(job, site, replace=True, paths=["etc/server.conf"])
        assert (site / "etc" / "server.conf").read_text() == "listen 443\n"
        assert (site / "index.html").read_text() == "<h1>Wednesday</h1>"

    rpo_timer.recovered_to(job.recovery_point)
