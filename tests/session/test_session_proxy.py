"""The fixture ``fault_proxy``: on the drill's timeline, and over with the drill."""

import threading

import pytest

SOURCE = """
import socket
SERVER = socket.create_server(("127.0.0.1", 0))
SERVER.settimeout(60)
PORT = SERVER.getsockname()[1]

def pair(proxy):
    client = socket.create_connection((proxy.host, proxy.port), 60)
    served, _ = SERVER.accept()
    client.sendall(b"x")
    assert served.recv(1) == b"x"
    return client, served

@pytest.fixture(scope="module", autouse=True)
def _closed():
    yield
    SERVER.close()
"""


def test_sync_and_async_drills_and_ordinary_tests_use_it_alike(drills):
    out = drills(
        SOURCE
        + """
def strike(fault_proxy):
    proxy = fault_proxy("127.0.0.1", PORT)
    client, served = pair(proxy)
    with proxy.latency("20ms"), client, served:
        began = time.monotonic()
        client.sendall(b"y")
        assert served.recv(1) == b"y"
        assert time.monotonic() - began >= 0.019

@pytest.mark.dr_service("db")
def test_sync(fault_proxy):
    strike(fault_proxy)

@pytest.mark.dr_service("db")
async def test_async(fault_proxy):
    strike(fault_proxy)
    proxy = fault_proxy(f"127.0.0.1:{PORT}")
    _, writer = await asyncio.open_connection(proxy.host, proxy.port)
    writer.close()
    await writer.wait_closed()
    SERVER.accept()[0].close()

def test_ordinary(fault_proxy):
    strike(fault_proxy)
    test_ordinary.proxy = fault_proxy(f"127.0.0.1:{PORT}")
    test_ordinary.proxy.refuse()

def test_ordinary_is_over():
    assert test_ordinary.proxy.connections == 0
    with pytest.raises(FaultError, match="does not run"):
        test_ordinary.proxy.refuse()
"""
    )
    out.result.assert_outcomes(passed=4)
    assert {drill["mode"] for drill in out.drills.values()} == {"local"}
    events = [event for event in out.drills["test_sync"]["timeline"] if "fault" in event["event"]]
    assert [event["event"] for event in events] == ["fault", "fault undone"]
    assert all("latency of 20ms, through the proxy" in event["detail"] for event in events)
    assert not [each for each in threading.enumerate() if each.name.startswith("drdrill-proxy")]


@pytest.mark.parametrize(
    "end", ["pass", "assert False", "pytest.skip('so')", "raise KeyboardInterrupt", "1 / 0"]
)
def test_faults_are_undone_and_it_is_stopped_however_the_drill_ends(drills, end):
    out = drills(
        SOURCE
        + f"""
SEEN = []
@pytest.fixture
def other():
    yield
    proxy, client = SEEN[0]
    client.settimeout(60)
    try:  # the fault is undone by now, and the connection broken off
        assert client.recv(1) == b""
    except ConnectionResetError:
        pass
    with socket.socket() as late:
        assert late.connect_ex((proxy.host, proxy.port)) != 0
    client.close()
    print("SEEN IT OVER")

@pytest.mark.dr_service("db")
def test_it(other, fault_proxy):
    proxy = fault_proxy("127.0.0.1", PORT)
    client, served = pair(proxy)
    SEEN.append((proxy, client))
    proxy.blackhole()
    served.close()
    {end}
""",
        "-s",
        subprocess="Keyboard" in end,  # which would end this run too
    )
    assert "SEEN IT OVER" in out.text
    events = [event["event"] for event in out.drills["test_it"]["timeline"]]
    assert events[:2] == ["fault", "fault undone"]


def test_its_faults_are_on_the_stack_of_all_others(drills):
    out = drills(
        SOURCE
        + """
@pytest.mark.dr_service("db")
def test_it(fault_proxy, faults):
    proxy = fault_proxy("127.0.0.1", PORT)
    proxy.refuse()
    faults.stack.undo_all()
    for end in pair(proxy):
        end.close()

@pytest.mark.dr_service("db")
class TestOverridden:
    @pytest.fixture
    def faults(self):
        return None

    def test_it(self, fault_proxy):
        fault_proxy("127.0.0.1", PORT).refuse()
"""
    )
    out.result.assert_outcomes(passed=2)


def test_refused_in_virtual_time(drills):
    sentence = (
        "RealIOError: a TCP proxy was asked for in virtual time, where nothing real can take part: "
        "use simulated parts, or make this a local or live drill, which runs in real time"
    )
    out = drills(
        """
@pytest.mark.dr_service("db")
async def test_drill(simulated_endpoints, fault_proxy):
    fault_proxy("127.0.0.1:5432")

@pytest.fixture
def early(fault_proxy):
    return fault_proxy("127.0.0.1:5432")

@pytest.mark.dr_service("db")
def test_from_a_fixture_before(early, simulated_endpoints):
    pass

def test_ordinary(simulated_world, fault_proxy):
    fault_proxy("127.0.0.1:5432")
"""
    )
    out.result.assert_outcomes(failed=2, errors=1)
    assert out.unwrapped.count(sentence) >= 3


def test_each_example_of_given_ends_its_own(drills):
    out = drills(
        SOURCE
        + """
import threading
from hypothesis import HealthCheck, given, settings, strategies as st
@pytest.mark.dr_service("db")
@settings(max_examples=5, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.integers(1, 5))
def test_it(fault_proxy, delay):
    proxy = fault_proxy("127.0.0.1", PORT)
    proxy.latency(f"{delay}ms")
    for end in pair(proxy):
        end.close()
"""
    )
    out.result.assert_outcomes(passed=1)


def test_seed_of_the_run_is_the_jitters(drills):
    out = drills(
        SOURCE
        + """
@pytest.mark.dr_service("db")
def test_it(fault_proxy):
    assert fault_proxy("127.0.0.1", PORT)._seed == 11
""",
        "--dr-seed=11",
    )
    out.result.assert_outcomes(passed=1)


def test_failed_proxy_fails_its_drill(drills):
    out = drills(
        SOURCE
        + """
@pytest.mark.dr_service("db")
def test_it(fault_proxy):
    proxy = fault_proxy("127.0.0.1", PORT)
    proxy._relay._fail("ran short")
"""
    )
    out.result.assert_outcomes(failed=1)
    assert "ran short; what its clients saw since then is no evidence" in out.unwrapped
    assert out.verdicts == {"test_it": "failed"}


def test_port_taken_is_one_sentence(drills):
    out = drills(
        SOURCE
        + """
@pytest.mark.dr_service("db")
def test_it(fault_proxy):
    fault_proxy("127.0.0.1:1", port=PORT)
"""
    )
    out.result.assert_outcomes(failed=1)
    assert "is taken, so the proxy can't listen there; leave out port= for one" in out.unwrapped
