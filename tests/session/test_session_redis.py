"""The fixtures of Redis: real servers in a drill, on its timeline, and gone with it."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from needs import lacks
from pytest_drdrill import ComponentMissing
from pytest_drdrill.faults.journal import recover
from pytest_drdrill.live.redis.binaries import VARIABLE, redis_binary, redis_package


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    try:
        redis_package()
        redis_binary()
    except ComponentMissing as error:
        lacks(str(error).partition(" lacks ")[2])
    monkeypatch.setenv("DRDRILL_STATE", str(tmp_path / "state"))


@pytest.fixture
def started(tmp_path, monkeypatch):
    """What drills have noted of the servers that they started: folders and processes."""
    notes = tmp_path / "started"
    monkeypatch.setenv("NOTES", str(notes))

    def read():
        found = [json.loads(line) for line in notes.read_text().splitlines()]
        return [Path(each) for server in found for each in server]

    return read


NOTE = """
def note(*servers):
    import json
    with open(os.environ["NOTES"], "a") as file:
        for each in servers:
            file.write(json.dumps([str(each._scratch.folder), f"/proc/{each.pid}"]) + "\\n")
"""
FAILOVER = """
@pytest.mark.rto("60s")
@pytest.mark.rpo("0s")
async def test_it(redis_primary, redis_replica, redis_sentinels, canary, rto_timer):
    primary = redis_primary()
    replica = redis_replica(primary)
    sentinels = redis_sentinels(primary, down_after="200ms")
    note(primary, replica, *sentinels.members)
    async with canary(redis_canary(sentinels)) as c:
        with rto_timer.outage():
            primary.kill()
    result = await c.verify()
    assert replica.role == "primary"
"""


def test_sentinels_fail_over_and_both_timers_are_fed(drills, started):
    outcome = drills(NOTE + FAILOVER)
    outcome.result.assert_outcomes(passed=1)
    (drill,) = outcome.drills.values()
    assert drill["mode"] == "local"
    assert drill["kinds"] == ["failover", "replication", "rto", "rpo"]
    assert 0.2 < drill["rto"]["actual_s"] < 60
    assert (drill["rpo"]["lost"], drill["rpo"]["basis"]) == (0, "ledger")
    assert drill["rpo"]["acknowledged"] > 3
    told = [event["detail"] for event in drill["timeline"] if event["event"] == "fault"]
    assert [re.sub(r"\d+", "PORT", each) for each in told] == ["killed redis-primary on port PORT"]
    assert len(started()) == 10
    assert not any(path.exists() for path in started())


ENDS = """
@pytest.mark.rto("60s")
@pytest.mark.parametrize("end", ENDINGS)
def test_it(redis_primary, redis_replica, rto_timer, end):
    primary = redis_primary()
    replica = redis_replica(primary)
    note(primary, replica)
    primary.pause()
    if end == "fails":
        raise ValueError
    if end == "skips":
        pytest.skip("enough")
    if end == "interrupt":
        raise KeyboardInterrupt
    if end == "SIGKILL":  # of the guardian as well, which is as quick as who comes next
        from pytest_drdrill.faults.journal import Journal
        Journal.own()._guardian._shell.kill()
    os.kill(os.getpid(), getattr(signal, end))
"""


@pytest.mark.parametrize("end", ["interrupt", "SIGTERM"])
def test_nothing_is_left_however_a_drill_ends(drills, started, end):
    ends = ["fails", "skips", end]
    source = NOTE + ENDS.replace("ENDINGS", repr(ends))
    outcome = drills(source, subprocess=True)
    assert outcome.ret == pytest.ExitCode.INTERRUPTED
    assert len(started()) == 12
    assert not any(path.exists() for path in started())


def test_what_a_killed_run_leaves_is_in_the_journal(drills, started):
    source = NOTE + ENDS.replace("ENDINGS", repr(["SIGKILL"]))
    outcome = drills(source, subprocess=True)
    assert outcome.ret == -signal.SIGKILL
    assert all(path.exists() for path in started())
    assert len(recover().done) == len(started())
    folders, processes = started()[::2], started()[1::2]
    assert not any(path.exists() for path in folders)
    assert not any(is_running(path) for path in processes)


def is_running(process):
    """Whether a process is there, and no zombie whose parent has not looked yet."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_server_is_refused_in_virtual_time(drills):
    outcome = drills(
        """
@pytest.mark.rto("1m")
def test_it(simulated_endpoints, redis_primary):
    redis_primary()
"""
    )
    outcome.result.assert_outcomes(failed=1)
    assert "a server of Redis was asked for in virtual time, where nothing real" in outcome.text


def test_without_its_parts_a_drill_is_not_verified(drills, monkeypatch):
    monkeypatch.setenv(VARIABLE, "/no/such/server")
    outcome = drills(FAILOVER, "--dr-fail-unverified")
    outcome.result.assert_outcomes(skipped=1)
    (drill,) = outcome.drills.values()
    assert drill["verdict"] == "not_verified"
    assert drill["reason"] == (
        "this machine lacks /no/such/server, which DRDRILL_REDIS_SERVER names; install it: "
        "pip install 'pytest-drdrill[redis]', or apt-get install redis-server"
    )
    assert outcome.ret == 1


def test_ordinary_tests_may_use_a_server_too(drills):
    outcome = drills(
        """
def test_it(redis_primary):
    server = redis_primary("cache", appendfsync="always")
    with server.pause():
        assert server.is_paused
    assert server.query("SET", "order", "paid")
"""
    )
    outcome.result.assert_outcomes(passed=1)


def test_no_secret_is_in_any_output(drills, monkeypatch):
    monkeypatch.setenv("REDIS_PASSWORD", "tr0ub4dor")
    outcome = drills(
        """
@pytest.mark.rto("1m")
@pytest.mark.parametrize("direct", [True, False])
async def test_it(redis_primary, canary, rto_timer, direct):
    server = redis_primary()
    asked = redis_canary(server)
    await asked._ask("CONFIG", "SET", "requirepass", os.environ["REDIS_PASSWORD"])
    await asked.close()
    secret = "not-" + os.environ["REDIS_PASSWORD"]
    url = server.url.replace("//", f"//:{secret}@")
    client = redis_canary(url)
    if direct:
        await client.write("k", "v")
    async with canary(client, warm_up_timeout="200ms"):
        pass
""",
        *("-vv", "--tb=long", "-rA"),
    )
    outcome.result.assert_outcomes(failed=1, skipped=1)
    assert outcome.text.count("can't be reached: ") >= 2
    assert "tr0ub4dor" not in outcome.text + json.dumps(outcome.record)
