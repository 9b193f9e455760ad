"""The fixture ``canary``: in virtual and in real time, and what it leaves behind."""

from __future__ import annotations

import pytest

DRILL = """
@pytest.mark.rto("2m")
@pytest.mark.rpo("1s")
async def test_it(simulated_endpoints, canary, rto_timer):
    (store,) = simulated_endpoints("store")
    data = {}
    async def write(key, value):
        await store.request()
        data[key] = value
    async with canary(write=write, read_all=lambda: data, name="shop") as c:
        await asyncio.sleep(10 - c._clock.monotonic())
        with rto_timer.outage():
            store.fail()
            store.recover_at("40s")
    LOSE
    result = await c.verify()
    assert result.outage.total_seconds() == 30
"""


def test_both_timers_are_fed_and_the_record_says_what_it_saw(drills, mode):
    outcome = drills(DRILL.replace("LOSE", ""), "-v", mode=mode)
    outcome.result.assert_outcomes(passed=1)
    (drill,) = outcome.drills.values()
    assert drill["mode"] == "simulated"
    assert drill["kinds"] == ["rto", "rpo"]
    assert drill["rto"]["actual_s"] == 30
    assert drill["rto"]["resolution_s"] == 0.05
    assert drill["rpo"]["actual_s"] == 0
    assert drill["rpo"]["basis"] == "ledger"
    assert drill["rpo"]["acknowledged"] == 201
    events = [(event["at_s"], event["event"], event["detail"]) for event in drill["timeline"]]
    assert (40, "shop writes are acknowledged again", "30s after the disaster") in events
    assert events[-1][1] == "shop verified"
    assert "shop: longest gap between acknowledgements 30.05 s" in outcome.text


def test_lost_writes_break_the_promise(drills, mode):
    lose = "[data.pop(key) for key in list(data)[100:200]]"
    outcome = drills(DRILL.replace("LOSE", lose), mode=mode)
    outcome.result.assert_outcomes(failed=1)
    outcome.result.stdout.fnmatch_lines(["*RPOExceeded: RPO of 1s exceeded: 5s of work lost*"])
    (drill,) = outcome.drills.values()
    assert drill["rpo"]["lost"] == 100
    assert drill["rpo"]["holes"] == 0
    assert len(drill["rpo"]["lost_keys"]) == 100


REAL = """
class Store(dict):
    up = True
    def write(self, key, value):
        if not self.up: raise ConnectionRefusedError
        self[key] = value
@pytest.mark.rto("1m")
@pytest.mark.rpo("0s")
async def test_it(canary, rto_timer):
    store = Store()
    async with canary(write=store.write, read_all=lambda: store, interval="5ms") as c:
        with rto_timer.outage() as outage:
            store.up = False
            while not outage.down_seen: await asyncio.sleep(0.005)
            store.up = True
    await c.verify()
"""


def test_a_local_drill_is_watched_in_real_time(drills, mode):
    outcome = drills(REAL, mode=mode)
    outcome.result.assert_outcomes(passed=1)
    (drill,) = outcome.drills.values()
    assert drill["mode"] == "local"
    assert 0 < drill["rto"]["actual_s"] < 60
    assert drill["rpo"]["actual_s"] == 0


LEFT = """
import pytest_asyncio
pytestmark = pytest.mark.dr_service("x")
TASKS = []
async def leave(canary):
    data = {}
    c = canary(write=data.__setitem__, read_all=lambda: data, interval="5ms")
    await c.__aenter__()
    TASKS.append([task for task in asyncio.all_tasks() if "canary" in task.get_name()])
    assert TASKS[-1]
@pytest_asyncio.fixture
async def still_in_the_loop():
    yield
    assert all(task.done() for task in TASKS[-1])
async def test_real(still_in_the_loop, canary):
    await leave(canary)
async def test_simulated(simulated_endpoints, canary):
    await leave(canary)
async def test_failed(canary):
    await leave(canary)
    raise LookupError("of the body itself")
def test_all_are_gone():
    assert all(task.done() for tasks in TASKS for task in tasks)
"""


@pytest.mark.parametrize("mode", [["no-xdist"], ["n2", "--dist=loadfile"]], ids=lambda m: m[0])
def test_canary_left_running_is_stopped_and_told(drills, mode):
    outcome = drills(LEFT, *mode[1:], mode=mode[0])
    outcome.result.assert_outcomes(failed=3, passed=1)
    told = "canary still wrote when the drill ended, and was stopped: leave its `async with` block"
    for name in ("test_real", "test_simulated"):
        assert told in outcome.drills[name]["error"]
    assert "of the body itself" in outcome.drills["test_failed"]["error"]
    assert f"while stopping what the drill had started: DrillUsageError('{told}" in outcome.text


def test_system_that_does_not_work_is_not_verified(drills, mode):
    outcome = drills(
        """
@pytest.mark.rto("1m")
async def test_it(simulated_endpoints, canary, rto_timer):
    (store,) = simulated_endpoints("store")
    store.fail()
    async def write(key, value): await store.request()
    async with canary(write=write, read_all=dict):
        with rto_timer.outage(): pass
""",
        mode=mode,
    )
    outcome.result.assert_outcomes(skipped=1)
    (drill,) = outcome.drills.values()
    assert drill["verdict"] == "not_verified"
    assert drill["kinds"] == ["rto", "rpo"]
    assert "0 of 20" in drill["reason"]
    assert "store refuses connections" in drill["reason"]


def test_each_example_has_a_canary_of_its_own(drills):
    outcome = drills(
        """
from hypothesis import HealthCheck, given, settings, strategies as st
quick = settings(
    max_examples=10, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SEEN = []
@pytest.mark.rto("10s")
@quick
@given(st.integers(1, 9))
async def test_it(simulated_endpoints, canary, rto_timer, drill, seconds):
    (store,) = simulated_endpoints("store")
    data = {}
    async def write(key, value):
        await store.request()
        data[key] = value
    async with canary(write=write, read_all=lambda: data) as c:
        with rto_timer.outage():
            store.fail()
            await asyncio.sleep(seconds)
            store.recover()
    result = await c.verify()
    SEEN.append((c.name, drill.canaries, result.outage.total_seconds() - seconds))
def test_seen():
    assert SEEN and all(name == "canary" and names == ["canary"] for name, names, _ in SEEN)
    assert all(0 <= late <= 0.05 for _, _, late in SEEN)
"""
    )
    outcome.result.assert_outcomes(passed=2)


def test_what_it_saw_is_in_the_trace_of_the_world(drills):
    outcome = drills(
        DRILL.replace("    LOSE", "    told = [str(event) for event in store._world.trace]\n")
        + "    assert any('shop writes fail' in event for event in told), told\n"
    )
    outcome.result.assert_outcomes(passed=1)


def test_test_that_is_no_drill_is_told_so(drills):
    outcome = drills("def test_it(canary): pass", report=False)
    outcome.result.stdout.fnmatch_lines(["*asks for the fixture 'canary' but is no drill*"])


CLIENT = """
closed = []
class Client(dict):
    async def write(self, key, value): self[key] = value
    def read_all(self): return self
    async def close(self): closed.append(asyncio.get_running_loop())

@pytest.mark.dr_service("orders")
async def test_it(canary):
    c = canary(Client(), interval="10ms")
    await c.__aenter__()
    END

def test_after(): assert len(closed) == 1
"""


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        ("await c.__aexit__(None, None, None)", {"passed": 2}),
        ("await c.__aexit__(None, None, None); pytest.skip()", {"passed": 1, "skipped": 1}),
        ("raise ValueError", {"passed": 1, "failed": 1}),
        ("pass", {"passed": 1, "failed": 1}),
    ],
)
def test_the_client_of_a_canary_that_is_never_verified_is_closed(drills, end, outcome):
    drills(CLIENT.replace("END", end)).result.assert_outcomes(**outcome)


@pytest.mark.parametrize("target", ["203.0.113.5:5432", "127.0.0.1:5432"])
def test_a_client_writes_to_what_the_drill_may_touch_alone(drills, target):
    client = CLIENT.replace(
        "class Client(dict):", f"class Client(dict):\n    targets = [{target!r}]"
    )
    outcome = drills(client.replace("END", "await c.__aexit__(None, None, None)"))
    refused = not target.startswith("127.")
    assert (outcome.verdicts["test_it"] == "failed") is refused
    assert (f"{target} " in outcome.text and "dr_live" in outcome.text) is refused
