"""The example drills prove what they say, on real input, and can go red."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from pytest_drdrill import load_schema

EXAMPLES = Path(__file__).parents[1] / "example_drills"
INI = "[pytest]\nfilterwarnings = error\n"


@pytest.fixture
def examples(pytester):
    """Runs a copy of the example drills, with a conftest.py of the test's own around them."""
    pytester.makeini(INI)
    shutil.copytree(
        EXAMPLES, pytester.path / "drills", ignore=shutil.ignore_patterns("__pycache__")
    )

    def run(*arguments, sabotage=""):
        if sabotage:
            with (pytester.path / "drills" / "conftest.py").open("a") as conftest:
                conftest.write(sabotage)
        # Their trees are large: a folder of their own that is gone with the run.
        basetemp = pytester.path / "tmp"
        result = pytester.runpytest_subprocess(
            *("drills", "--dr-report=evidence.json", "--strict-markers", *arguments),
            f"--basetemp={basetemp}",
        )
        shutil.rmtree(basetemp, ignore_errors=True)
        record = json.loads((pytester.path / "evidence.json").read_text(encoding="utf-8"))
        jsonschema.validate(record, load_schema())
        return result, {drill["nodeid"].partition("::")[2]: drill for drill in record["drills"]}

    return run


LIAR = """
import pytest_drdrill
@pytest.fixture
def active_passive_cluster(active_passive_cluster):
    class Liar:
        async def fence(self, endpoint):
            return pytest_drdrill.FencingProof("lease_expired", "surely")
    return lambda *nodes, **parts: active_passive_cluster(*nodes, **parts | {"fencer": Liar()})
"""


def test_every_example_passes_with_figures_that_were_measured(examples):
    result, drills = examples()
    result.assert_outcomes(passed=19)
    tiers = {drill["tier"] for drill in drills.values()}
    assert tiers - {None} == {"critical", "important", "standard"}

    ransomware = drills["test_files_come_back_after_ransomware"]
    metrics = {metric["name"]: metric["value"] for metric in ransomware["metrics"]}
    assert metrics["files"] > 500  # Debian keeps the tests of the library apart
    assert metrics["backup size"] > 10
    assert 0 < ransomware["rto"]["actual_s"] < ransomware["duration_s"]
    assert ransomware["rpo"]["basis"] == "staged"
    assert 0 < ransomware["rpo"]["actual_s"] < ransomware["duration_s"]

    failover = drills["test_standby_serves_after_kill_9"]
    (outage,) = failover["rto"]["outages"]
    # Three checks, 200 ms apart: two whole intervals at least lie between the kill and the notice.
    assert 0.35 < outage["detected_s"] <= outage["actual_s"]
    assert outage["down_seen"] is True
    assert outage["held_s"] >= 0.5
    assert failover["rpo"]["not_applicable"]

    package = drills["test_one_package_comes_back"]
    assert package["rto"]["actual_s"] > 1200 == package["rto"]["assumed"][0]["seconds"]

    orders = drills["test_older_backup_takes_over_from_a_rotten_one"]["rpo"]
    assert (orders["acknowledged"], orders["lost"], orders["holes"]) == (420, 120, 0)
    assert orders["basis"] == "ledger"
    assert 0 < orders["actual_s"] < 60

    flapping = drills["test_traffic_leaves_a_flapping_primary_once"]
    assert flapping["mode"] == "simulated"
    # Three checks, 10 s apart; the client's next look is a second later.
    assert flapping["rto"]["outages"][0]["detected_s"] == 30
    assert flapping["rto"]["actual_s"] == 31
    assert flapping["rto"]["outages"][0]["held_s"] == 900
    # Steady since its second good check, at 850 s, and for five minutes from then on.
    assert flapping["duration_s"] == 1150

    maintenance = drills["test_nobody_notices_the_failback_after_maintenance"]
    assert [outage["actual_s"] for outage in maintenance["rto"]["outages"]] == [91, 0]
    assert maintenance["duration_s"] == 91 + 1200 + 600

    orders = drills["test_confirmed_orders_survive_the_failover"]
    # Three checks, 10 s apart; the disaster strikes 200 ms after one.
    assert orders["rto"]["actual_s"] == 29.8
    assert orders["rto"]["outages"][0]["held_s"] >= 30
    assert (orders["rpo"]["lost"], orders["rpo"]["holes"]) == (19, 0)
    assert orders["rpo"]["actual_s"] == 1.9
    for mode, lost, lost_s, orders_take in (
        ("asynchronous", 24, 4.8, 0),
        ("semi-synchronous", 0, 0, 5),
        ("synchronous", 0, 0, 5),
    ):
        region = drills[f"test_orders_outlive_their_region[{mode}]"]
        assert (region["rpo"]["lost"], region["rpo"]["holes"]) == (lost, 0)
        assert region["rpo"]["actual_s"] == lost_s
        # Until the lease ends; then until the failback has caught up and drained.
        found = [round(each["actual_s"], 1) for each in region["rto"]["outages"]]
        assert found == [10 + orders_take, 10.2 + orders_take]

    split = drills["test_at_no_instant_do_two_nodes_accept_writes"]
    # The lease was renewed a second before the partition, so it held for nine more: ten writes a
    # second, of which those that came after the partition were not copied.
    assert split["rto"]["actual_s"] == 9
    assert (split["rpo"]["acknowledged"], split["rpo"]["lost"]) == (140, 90)
    assert split["rpo"]["actual_s"] == 8.9
    refused = drills["test_without_proof_nothing_is_promoted"]
    assert refused["metrics"][0]["value"] > 100


SABOTAGE = {
    "replication lags behind": (
        "test_confirmed_orders_survive_the_failover",
        """
import asyncio
@pytest.fixture(autouse=True)
def lagging(monkeypatch):
    from pytest_drdrill import VirtualLoop
    plain = VirtualLoop.call_later
    def late(self, delay, callback, *args, **more):
        factor = 3 if getattr(callback, "__name__", "") == "replicate" else 1
        return plain(self, delay * factor, callback, *args, **more)
    monkeypatch.setattr(VirtualLoop, "call_later", late)
""",
    ),
    "fencer lies to a writer": ("test_at_no_instant_do_two_nodes_accept_writes", LIAR),
    "fencer lies without a lease store": ("test_without_proof_nothing_is_promoted", LIAR),
    "traffic goes back at once": (
        "test_traffic_leaves_a_flapping_primary_once",
        """
@pytest.fixture
def failover_manager(failover_manager):
    def impatient(endpoints, **settings):
        del settings["failback"], settings["failback_delay"]
        return failover_manager(endpoints, **settings)
    return impatient
""",
    ),
    "orders wait for nobody": (
        "test_orders_outlive_their_region[synchronous]",
        """
@pytest.fixture
def replication(replication):
    def hasty(regions, mode):
        return replication(regions, mode="asynchronous" if mode == "synchronous" else mode)
    return hasty
""",
    ),
    "lease lasts a minute": (
        "test_orders_outlive_their_region[asynchronous]",
        """
@pytest.fixture
def replication(replication):
    def patient(regions, mode):
        return replication(regions, mode=mode, lease="1m" if mode == "asynchronous" else "10s")
    return patient
""",
    ),
    "nobody moves traffic back": (
        "test_nobody_notices_the_failback_after_maintenance",
        """
import pytest_drdrill
@pytest.fixture(autouse=True)
def asleep(monkeypatch):
    async def failback(self): pass
    monkeypatch.setattr(pytest_drdrill.FailoverManager, "failback", failback)
""",
    ),
    "primary is lost in the failback": (
        "test_nobody_notices_the_failback_after_maintenance",
        """
@pytest.fixture
def simulated_endpoints(simulated_endpoints):
    def fragile(*names):
        primary, standby = simulated_endpoints(*names)
        primary.recover_at("15m")
        primary.fail_at("27m")
        return primary, standby
    return fragile
""",
    ),
    "restore drops a file": (
        "test_files_come_back_after_ransomware",
        """
import pytest_drdrill
@pytest.fixture
def full_backup():
    class Forgetful(pytest_drdrill.FullBackupStrategy):
        def restore_backup(self, job, path, **options):
            super().restore_backup(job, path, **options)
            (path / "json" / "decoder.py").unlink()
    return Forgetful()
""",
    ),
    "fault misses": (
        "test_files_come_back_after_ransomware",
        """
@pytest.fixture
def faults():
    class Dud:
        def encrypt_files(self, path): pass
    return Dud()
""",
    ),
    "manager never switches": (
        "test_standby_serves_after_kill_9",
        """
@pytest.fixture
def failover_manager(failover_manager):
    return lambda endpoints, **settings: failover_manager(endpoints[:1], **settings)
""",
    ),
    "base does not rot": (
        "test_backups_of_last_week_outlive_a_rotten_base",
        """
@pytest.fixture
def incremental_backup():
    import pytest_drdrill
    return pytest_drdrill.FullBackupStrategy()
""",
    ),
    "ransomware stays out of the vault": (
        "test_an_older_backup_is_out_of_reach_of_the_ransomware",
        """
@pytest.fixture
def faults(faults, vault, monkeypatch):
    strike = faults.encrypt_files
    monkeypatch.setattr(
        faults, "encrypt_files", lambda path: None if path.parent == vault else strike(path)
    )
    return faults
""",
    ),
    "leftover is listed": (
        "test_the_night_before_is_restored",
        """
@pytest.fixture
def incremental_backup(incremental_backup, monkeypatch):
    listed = incremental_backup.list_backups
    monkeypatch.setattr(incremental_backup, "list_backups", lambda vault: listed(vault) * 2)
    return incremental_backup
""",
    ),
    "restore replaces everything": (
        "test_the_file_alone_comes_back[full]",
        """
@pytest.fixture
def full_backup(full_backup, monkeypatch):
    restore = full_backup.restore_backup
    monkeypatch.setattr(
        full_backup, "restore_backup", lambda job, path, **options: restore(job, path, replace=True)
    )
    return full_backup
""",
    ),
    "retention drops the week": (
        "test_a_page_deleted_weeks_ago_comes_back",
        """
import pytest_drdrill
@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    chosen = pytest_drdrill.IncrementalBackupStrategy.prune_backups
    last = pytest_drdrill.RetentionPolicy(keep_last=3)
    monkeypatch.setattr(
        pytest_drdrill.IncrementalBackupStrategy,
        "prune_backups",
        lambda self, vault, policy: chosen(self, vault, last),
    )
""",
    ),
    "ledger forgets a write": (
        "test_older_backup_takes_over_from_a_rotten_one",
        """
@pytest.fixture
def rpo_timer(rpo_timer, monkeypatch):
    honest = rpo_timer.survived
    monkeypatch.setattr(rpo_timer, "survived", lambda keys: honest(set(keys) - {7}))
    return rpo_timer
""",
    ),
}


@pytest.mark.parametrize("what", SABOTAGE)
def test_examples_can_go_red(examples, what):
    name, conftest = SABOTAGE[what]
    result, drills = examples("-k", name.partition("[")[0], sabotage=conftest)
    selected = len(drills)
    result.assert_outcomes(failed=1, passed=selected - 1, deselected=19 - selected)
    assert drills[name]["verdict"] == "failed"
