"""The fixture ``scratch_network``: on the drill's timeline, healed with its body, gone with it."""

import socket

import pytest

from needs import needs_networks

SOURCE = """
import socket

@pytest.fixture
def shop(scratch_network):
    network = scratch_network("shop", "stock")
    with network["shop"].within():
        listener = socket.create_server((network["shop"].address, 80))
    with listener:
        yield network
        # Healed by now, and still there for whoever has servers in it.
        order(network, timeout=60)

def order(network, timeout=0.1):
    socket.create_connection((network["shop"].address, 80), timeout).close()
"""


@pytest.fixture
def networks(monkeypatch, tmp_path):
    monkeypatch.setenv("DRDRILL_STATE", str(tmp_path / "state"))
    before = socket.if_nameindex()
    needs_networks()
    yield
    ours = {each for each in socket.if_nameindex() if each not in before}
    assert not (tmp_path / "state" / "journal").exists(), ours


def test_sync_and_async_drills_and_ordinary_tests_use_it_alike(networks, drills):
    out = drills(
        SOURCE
        + """
def strike(network):
    order(network)
    with network.partition("shop"), pytest.raises(TimeoutError):
        order(network)
    order(network, timeout=60)
    network.partition("shop", "drill", one_way=True)

@pytest.mark.dr_service("shop")
def test_sync(shop):
    strike(shop)

@pytest.mark.dr_service("shop")
async def test_async(shop):
    strike(shop)
    shop.heal()
    _, writer = await asyncio.open_connection(shop["shop"].address, 80)
    writer.close()
    await writer.wait_closed()
    command = shop["stock"].command(["cat", "/proc/net/fib_trie"])
    run = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert shop["stock"].address in (await run.communicate())[0].decode()

def test_ordinary(shop):
    strike(shop)
    shop.heal()
    test_ordinary.network = shop

def test_ordinary_is_over():
    with pytest.raises(FaultError, match="is gone"):
        test_ordinary.network.partition("shop")
"""
    )
    out.result.assert_outcomes(passed=4)
    assert {drill["mode"] for drill in out.drills.values()} == {"local"}
    events = [event for event in out.drills["test_sync"]["timeline"] if "fault" in event["event"]]
    assert [event["event"] for event in events] == ["fault", "fault undone"] * 2
    assert events[0]["detail"].startswith(
        "partition of shop and others, in the scratch network drd"
    )
    assert events[2]["detail"].startswith("partition of shop to drill, in the scratch network drd")


@pytest.mark.parametrize(
    "end", ["pass", "assert False", "pytest.skip('so')", "raise KeyboardInterrupt"]
)
def test_partitions_are_healed_and_it_is_gone_however_the_drill_ends(networks, drills, end):
    out = drills(
        SOURCE
        + f"""
@pytest.mark.dr_service("shop")
def test_it(shop):
    shop.partition("shop")
    shop.partition("stock")
    {end}
""",
        subprocess="Keyboard" in end,  # which would end this run too
    )
    events = [
        each["event"] for each in out.drills["test_it"]["timeline"] if "fault" in each["event"]
    ]
    assert events == ["fault", "fault", "fault undone", "fault undone"]
    assert "error" not in out.result.parseoutcomes()


def test_workers_do_not_collide(networks, drills):
    out = drills(
        SOURCE
        + """
@pytest.mark.dr_service("shop")
@pytest.mark.parametrize("number", range(3))
def test_it(shop, number, scratch_network):
    other = scratch_network("shop")
    with shop.partition("shop"), pytest.raises(TimeoutError):
        order(shop)
    order(shop, timeout=60)
    with pytest.raises(ConnectionRefusedError):
        order(other, timeout=60)
""",
        mode="n2",
    )
    out.result.assert_outcomes(passed=3)


def test_its_hosts_are_scratch_for_what_else_a_drill_takes(networks, drills):
    out = drills(
        SOURCE
        + """
@pytest.mark.dr_service("shop")
def test_it(shop, fault_proxy, live_targets):
    fault_proxy(shop["shop"].address, 80)
    live_targets.check(f"http://{shop['shop'].address}/orders")
    with pytest.raises(LiveRefused):
        live_targets.check("198.51.100.1")
"""
    )
    out.result.assert_outcomes(passed=1)


def test_where_it_is_not_permitted_the_drill_is_not_verified(drills, monkeypatch, tmp_path):
    # The same words of the kernel are had for real, without the right, in the tests of the room.
    monkeypatch.setenv("DRDRILL_STATE", str(tmp_path / "state"))
    out = drills(
        """
from pytest_drdrill.live.network import namespace

@pytest.mark.dr_service("shop")
def test_it(scratch_network, monkeypatch):
    def refused(*_):
        raise PermissionError(1, "Operation not permitted")
    monkeypatch.setattr(namespace, "_call", refused)
    scratch_network("shop")
"""
    )
    assert out.verdicts == {"test_it": "not_verified"}
    assert "scratch_network is not permitted on this machine: it makes network" in out.unwrapped
    assert not (tmp_path / "state" / "journal").exists()


def test_refused_in_virtual_time(drills):
    out = drills(
        """
@pytest.mark.dr_service("shop")
async def test_drill(simulated_endpoints, scratch_network):
    scratch_network("shop")

@pytest.mark.dr_service("shop")
def test_sync(simulated_world, scratch_network):
    scratch_network("shop")
"""
    )
    out.result.assert_outcomes(failed=2)
    assert out.unwrapped.count("RealIOError: a scratch network was asked for in virtual time") >= 2
