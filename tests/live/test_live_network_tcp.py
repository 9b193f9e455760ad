"""What TCP does in a partition of a scratch network, and what no proxy could show."""

import contextlib
import errno
import select
import socket
import struct
import time

import pytest
from network_site import PATIENCE_S, SILENCE_S, Machine

from needs import needs_networks
from pytest_drdrill import FaultProxy, ScratchNetwork
from pytest_drdrill.faults.journal import Journal

UNACKNOWLEDGED = struct.Struct("24xI")
"""Where Linux says, of a TCP socket, how many segments nobody has acknowledged yet."""


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def network(tmp_path, monkeypatch, stack):
    monkeypatch.setenv("DRDRILL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(Journal, "_own", None)
    needs_networks()
    machine = Machine()
    stack.callback(machine.namespace.close)
    stack.enter_context(machine.namespace.entered())
    return stack.enter_context(ScratchNetwork("shop"))


@pytest.fixture
def listener(network, stack):
    shop = network["shop"]
    with shop.within():
        listener = stack.enter_context(socket.create_server((shop.address, 0)))
    listener.settimeout(PATIENCE_S)
    return listener


@pytest.fixture
def dial(listener, stack):
    """Connects a client at the drill to the shop, there or by another address; gives both ends."""

    def dial(address=None):
        client = socket.create_connection(address or listener.getsockname(), PATIENCE_S)
        stack.enter_context(client)
        served = stack.enter_context(listener.accept()[0])
        served.settimeout(PATIENCE_S)
        return client, served

    return dial


def unacknowledged(client):
    info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return UNACKNOWLEDGED.unpack_from(info)[0]


def is_silent(end):
    return select.select([end], [], [], SILENCE_S)[0] == []


def test_who_sends_is_not_acknowledged_and_times_out_as_behind_no_proxy(network, listener, dial):
    with FaultProxy(*listener.getsockname()) as proxy:
        direct, _ = dial()
        proxied, _ = dial((proxy.host, proxy.port))
        with network.partition("shop"), proxy.blackhole():
            for client in (direct, proxied):
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)
                client.sendall(b"an order")
            with pytest.raises(TimeoutError) as caught:
                direct.recv(1)
            assert caught.value.errno == errno.ETIMEDOUT  # of the connection, and not of our wait
            # The kernel of the proxy has acknowledged, so nothing will ever time out there.
            assert unacknowledged(proxied) == 0
            assert proxied.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            assert is_silent(proxied)


def test_keepalives_fire(network, dial):
    client, _ = dial()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 1)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    with network.partition("shop"):
        with pytest.raises(TimeoutError) as caught:
            client.recv(1)
        assert caught.value.errno == errno.ETIMEDOUT


def test_connections_outlive_a_partition_and_all_that_was_sent_arrives_once(network, dial):
    client, served = dial()
    with network.partition("shop"):
        client.sendall(b"an order")
        served.sendall(b"a parcel")
        assert is_silent(served)
        assert is_silent(client)
        assert (unacknowledged(client), unacknowledged(served)) == (1, 1)
    assert served.recv(100) == b"an order"
    assert client.recv(100) == b"a parcel"
    deadline = time.monotonic() + PATIENCE_S
    while unacknowledged(client) or unacknowledged(served):
        assert time.monotonic() < deadline
    assert is_silent(client)
    assert is_silent(served)


def test_an_order_is_taken_and_its_answer_lost_where_one_way_is_cut(network, dial):
    client, served = dial()
    with network.partition("shop", one_way=True):
        client.sendall(b"an order")
        assert served.recv(100) == b"an order"
        served.sendall(b"taken")
        assert is_silent(client)
    assert client.recv(100) == b"taken"


def test_new_connections_are_neither_made_nor_refused(network, listener):
    address = listener.getsockname()
    with network.partition("shop"), pytest.raises(TimeoutError) as caught:
        socket.create_connection(address, 4 * SILENCE_S)
    assert caught.value.errno is None  # we gave up, and nobody told us anything
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, PATIENCE_S)
