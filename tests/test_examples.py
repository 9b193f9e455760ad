"""The example drills prove what they say, on real input, and can go red."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import jsonschema
import pytest

from needs import lacks, needs_networks, needs_postgres, networks_permitted
from pytest_drdrill import load_schema

EXAMPLES = Path(__file__).parents[1] / "example_drills"
HAPROXY = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")
DRILLS = 37
INI = "[pytest]\nfilterwarnings = error\n"


@pytest.fixture
def examples(pytester):
    """Runs a copy of the example drills, with a conftest.py of the test's own around them."""
    needs_postgres()
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


def left_out():
    """How many drills this machine lacks the parts or the rights for."""
    return (0 if HAPROXY else 2) + (0 if networks_permitted() else 1)


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
    result.assert_outcomes(passed=DRILLS - left_out(), skipped=left_out())
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

    check_month(drills["test_no_instant_of_a_month_costs_more_than_two_nights"])
    check_the_rest(drills)

    split = drills["test_at_no_instant_do_two_nodes_accept_writes"]
    # The lease was renewed a second before the partition, so it held for nine more: ten writes a
    # second, of which those that came after the partition were not copied.
    assert split["rto"]["actual_s"] == 9
    assert (split["rpo"]["acknowledged"], split["rpo"]["lost"]) == (140, 90)
    assert split["rpo"]["actual_s"] == 8.9
    refused = drills["test_without_proof_nothing_is_promoted"]
    assert refused["metrics"][0]["value"] > 100


def check_volume(volume):
    assert volume["mode"] == "local"
    assert 0.2 <= volume["rto"]["actual_s"] < volume["duration_s"]
    assert volume["rpo"]["basis"] == "ledger"
    assert 0 < volume["rpo"]["lost"] < volume["rpo"]["acknowledged"]
    assert 0 < volume["rpo"]["actual_s"] < 60


def check_our_settings(ours):
    # A millisecond after a check, so all of the five seconds; then two more, a second apart.
    assert ours["rto"]["outages"][0]["detected_s"] == 6.999
    assert ours["rto"]["actual_s"] == 7  # the client looks every ten milliseconds
    predicted, median = (metric["value"] for metric in ours["metrics"])
    assert predicted == 7
    assert 4 < median < 5


def check_month(drill):
    # From the ninth night to the eleventh, until that one's copy was there.
    assert (drill["rpo"]["actual_s"], drill["rpo"]["basis"]) == (2 * 86_400 + 1800, "schedule")
    (worst,) = [each for each in drill["timeline"] if each["event"] == "worst exposure"]
    assert worst["at_s"] == 11 * 86_400 + 1800
    assert "the store is full" in worst["detail"]


def check_the_rest(drills):
    check_volume(drills["test_saved_work_comes_back_after_a_lost_volume"])
    check_our_settings(drills["test_our_checks_are_frequent_enough"])
    check_bad_network(drills["test_orders_get_through_a_bad_network"])
    check_what_nobody_heard_of(drills)
    check_redis(drills)
    check_postgres(drills)
    check_nightly_dump(drills["test_last_nights_dump_serves_the_shop"])
    if HAPROXY:
        check_moved_traffic(drills)
    if networks_permitted():
        # As long as an order may stay unacknowledged.
        cable = drills["test_clients_leave_a_primary_whose_cable_is_pulled"]
        assert 0.9 < cable["rto"]["actual_s"] < 10


def check_postgres(drills):
    failover = drills["test_no_commit_is_lost_with_the_primary"]
    assert failover["mode"] == "local"
    assert (failover["rpo"]["lost"], failover["rpo"]["basis"]) == (0, "ledger")
    assert failover["rpo"]["acknowledged"] >= 3
    slow = drills["test_a_slow_link_costs_what_it_delays"]
    metrics = {each["name"]: each["value"] for each in slow["metrics"]}
    assert 0 < slow["rpo"]["lost"] == metrics["commits lost"]
    assert 0 < slow["rpo"]["actual_s"] < 60
    deleted = drills["test_orders_come_back_as_they_were_before_the_delete"]
    assert deleted["metrics"][0]["value"] == 5000
    assert deleted["rpo"]["basis"] == "staged"
    fenced = drills["test_a_frozen_primary_is_fenced_before_another_one_leads"]
    assert fenced["rpo"]["lost"] == 0
    events = [each["event"] for each in fenced["timeline"]]
    assert events.index("fault") < events.index("fenced") < events.index("promoted")
    split = drills["test_without_fencing_both_take_writes"]
    assert "two primaries" in [each["event"] for each in split["timeline"]]


def check_nightly_dump(nightly):
    (restore,) = nightly["metrics"]
    assert 0 < restore["value"] < nightly["rto"]["actual_s"]
    assert nightly["rpo"]["basis"] == "backup"
    assert 54_000 < nightly["rpo"]["actual_s"] < 55_000  # by its own word: 15 hours
    assert nightly["findings"] == []


def check_redis(drills):
    killed = drills["test_sessions_outlive_their_primary"]
    frozen = drills["test_a_primary_that_was_frozen_confirms_nothing_any_more"]
    for each in (killed, frozen):
        assert each["mode"] == "local"
        # The Sentinels' down_after, at least.
        assert 0.5 < each["rto"]["actual_s"] < 30
        assert each["rto"]["outages"][0]["down_seen"] is True
        assert (each["rpo"]["lost"], each["rpo"]["basis"]) == (0, "ledger")
    assert frozen["rpo"]["indeterminate"] > 0


def check_moved_traffic(drills):
    for how in ("kill", "pause"):
        moved = drills[f"test_no_request_fails_while_traffic_moves[{how}_process]"]
        requests, slowest, failed = (metric["value"] for metric in moved["metrics"])
        assert requests > 100
        # As long as three checks take, 200 ms apart: who asked meanwhile has waited.
        assert slowest > 0.35
        assert failed == 0
        assert 0.35 < moved["rto"]["actual_s"] < 5


def check_bad_network(network):
    assert network["mode"] == "local"
    assert (network["rpo"]["lost"], network["rpo"]["indeterminate"]) == (0, 0)
    faults = [each["detail"] for each in network["timeline"] if each["event"] == "fault"]
    assert [each.partition(",")[0] for each in faults] == [
        "latency of 40ms ± 20ms",
        "reset of the open connections",
        "blackhole to the client",
    ]
    metrics = {metric["name"]: metric["value"] for metric in network["metrics"]}
    assert metrics["tries beyond the first"] >= 2
    assert 1 <= metrics["canary: longest gap between acknowledgements"] < 5


def check_what_nobody_heard_of(drills):
    power = drills["test_confirmed_orders_outlive_the_power"]
    # Five seconds until somebody restarts it, the boot, and the canary's next order.
    assert power["rto"]["actual_s"] == 45.2
    assert (power["rpo"]["lost"], power["rpo"]["acknowledged"]) == (0, 122)
    assert power["rpo"]["indeterminate"] > 30

    unheard = drills["test_an_order_without_an_answer_is_neither_lost_nor_safe"]
    assert 10 < unheard["rto"]["actual_s"] < 12  # the lease, and what a promotion takes
    assert (unheard["rpo"]["lost"], unheard["rpo"]["acknowledged"]) == (0, 51)
    assert unheard["rpo"]["indeterminate"] == unheard["metrics"][0]["value"] == 11


SABOTAGE = {
    "nobody is fenced": (
        "test_a_frozen_primary_is_fenced_before_another_one_leads",
        """
import pytest_drdrill
@pytest.fixture(autouse=True)
def unfenced(monkeypatch):
    async def fence(self, endpoint):
        return pytest_drdrill.FencingProof("process_dead", "surely")
    monkeypatch.setattr(pytest_drdrill.PostgresFailover, "fence", fence)
""",
    ),
    "recovery goes past the mistake": (
        "test_orders_come_back_as_they_were_before_the_delete",
        """
import pytest_drdrill
@pytest.fixture(autouse=True)
def past(monkeypatch):
    restore = pytest_drdrill.PostgresArchive.restore_to
    monkeypatch.setattr(
        pytest_drdrill.PostgresArchive,
        "restore_to",
        lambda self, target: restore(self, target, inclusive=True),
    )
""",
    ),
    "commits wait for nobody": (
        "test_no_commit_is_lost_with_the_primary",
        """
import pytest_drdrill
@pytest.fixture(autouse=True)
def careless(monkeypatch, fault_proxy):
    links = []
    promote = pytest_drdrill.PostgresNode.promote
    standby = pytest_drdrill.PostgresNode.add_standby
    def asynchronous(self, name, synchronous):
        links.append(fault_proxy("127.0.0.1", self.port))
        made = standby(self, name, through=links[0])
        links[0].latency("300ms")
        return made
    kill = pytest_drdrill.PostgresNode.kill
    def kill_on_the_way(self):
        links[0].reset(new=True)
        kill(self)
    monkeypatch.setattr(pytest_drdrill.PostgresNode, "add_standby", asynchronous)
    monkeypatch.setattr(pytest_drdrill.PostgresNode, "kill", kill_on_the_way)
    monkeypatch.setattr(pytest_drdrill.PostgresNode, "has_sync_standby", lambda self: True)
""",
    ),
    "restore drops an order": (
        "test_last_nights_dump_serves_the_shop",
        """
@pytest.fixture
def postgres_restore(postgres_restore):
    def forgetful(dump, **options):
        restored = postgres_restore(dump, **options)
        restored.query("DELETE FROM orders WHERE id = 3")
        return restored
    return forgetful
""",
    ),
    "cut dump is taken for a whole one": (
        "test_a_dump_that_was_cut_is_caught",
        """
@pytest.fixture
def postgres_restore(postgres_restore):
    ignore = dict.fromkeys(("truncated", "sequence_behind"), "as psql does")
    return lambda dump: postgres_restore(dump, ignore=ignore)
""",
    ),
    "requests are not tried again": (
        "test_no_request_fails_while_traffic_moves[kill_process]",
        """
@pytest.fixture
def haproxy(haproxy, request):
    again = "kill" not in request.node.name
    return lambda endpoints: haproxy(endpoints, redispatch=again)
""",
    ),
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
    "nothing is fsynced": (
        "test_confirmed_orders_outlive_the_power",
        """
import pytest_drdrill
@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(pytest_drdrill.SimulatedDisk, "fsync", lambda self, name: None)
""",
    ),
    "silence is taken for an answer": (
        "test_an_order_without_an_answer_is_neither_lost_nor_safe",
        """
import pytest_drdrill
@pytest.fixture(autouse=True)
def deluded(monkeypatch):
    honest = pytest_drdrill.CrossRegionReplication.write
    async def write(self, *args, **more):
        try:
            return await honest(self, *args, **more)
        except pytest_drdrill.IndeterminateWriteError:
            return None
    monkeypatch.setattr(pytest_drdrill.CrossRegionReplication, "write", write)
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
    "it takes more checks than configured": (
        "test_our_checks_are_frequent_enough",
        """
@pytest.fixture
def failover_manager(failover_manager):
    def lenient(endpoints, preset):
        return failover_manager(endpoints, preset=preset, failure_threshold=5)
    return lenient
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
    "schedule skips a night": (
        "test_no_instant_of_a_month_costs_more_than_two_nights",
        """
import pytest_drdrill
from datetime import datetime, timedelta, UTC
@pytest.fixture(autouse=True)
def asleep(monkeypatch):
    run_now = pytest_drdrill.BackupSchedule.run_now
    async def skip(self):
        if self.strategy.clock.now() != datetime(2000, 1, 12, tzinfo=UTC):
            return await run_now(self)
    monkeypatch.setattr(pytest_drdrill.BackupSchedule, "run_now", skip)
""",
    ),
    "copies never arrive in time": (
        "test_no_instant_of_a_month_costs_more_than_two_nights",
        """
@pytest.fixture
def simulated_backups(simulated_backups):
    return lambda takes, usable_after: simulated_backups(takes=takes, usable_after="1h")
""",
    ),
    "network is sound": (
        "test_orders_get_through_a_bad_network",
        """
import contextlib, pytest_drdrill
@pytest.fixture(autouse=True)
def sound(monkeypatch):
    monkeypatch.setattr(
        pytest_drdrill.FaultProxy, "blackhole", lambda self, direction: contextlib.nullcontext()
    )
""",
    ),
    "cable stays where it is": (
        "test_clients_leave_a_primary_whose_cable_is_pulled",
        """
import contextlib, pytest_drdrill
@pytest.fixture(autouse=True)
def sound(monkeypatch):
    monkeypatch.setattr(
        pytest_drdrill.ScratchNetwork, "partition", lambda self, host: contextlib.nullcontext()
    )
""",
    ),
    "shop forgets an order": (
        "test_orders_get_through_a_bad_network",
        """
@pytest.fixture
def canary(canary):
    def forgetful(*, read_all, **settings):
        async def all_but_one():
            orders = sorted((await read_all()).items())
            return dict(orders[:5] + orders[6:])
        return canary(read_all=all_but_one, **settings)
    return forgetful
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


@pytest.mark.once
@pytest.mark.parametrize("what", SABOTAGE)
def test_examples_can_go_red(examples, what):
    name, conftest = SABOTAGE[what]
    if "traffic_moves" in name and not HAPROXY:
        lacks("haproxy: apt-get install haproxy")
    if "cable" in name:
        needs_networks()
    result, drills = examples("-k", name.partition("[")[0], sabotage=conftest)
    selected = len(drills)
    result.assert_outcomes(failed=1, passed=selected - 1, deselected=DRILLS - selected)
    assert drills[name]["verdict"] == "failed"
