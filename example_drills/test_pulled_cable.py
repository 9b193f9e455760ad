"""The primary's cable is pulled: nothing refuses, resets or acknowledges, and clients wait.

Both shops are web servers of their own processes, at hosts of a scratch network, and the partition
is below TCP. A client that keeps its connection, as pools do, hears nothing at all: Linux sends an
order again for a quarter of an hour before it gives up. So this one says how long an order may stay
unacknowledged (TCP_USER_TIMEOUT), and asks the standby then. No proxy shows whether that works,
since the proxy itself acknowledges.

It takes root, for the network; without, the drill is not verified.
"""

import socket
from http.client import HTTPConnection, HTTPException
from itertools import count, cycle

import pytest


class Client:
    """One connection at a time, kept until it is dead; then another server's turn comes."""

    limit = 1000  # milliseconds, of Linux's 900 seconds

    def __init__(self, servers):
        self._servers = cycle(servers)
        self._connect()

    def _connect(self):
        self.served_by = next(self._servers)
        self._connection = HTTPConnection(self.served_by.address)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self.limit)

    def order(self, number):
        """Place an order; whether it was confirmed."""
        try:
            self._connection.request("PUT", f"/orders/{number}", body="two pumps")
            return self._connection.getresponse().read() == b"kept"
        except (HTTPException, OSError):
            self.close()
            self._connect()
            return False

    def close(self):
        """Give the connection up."""
        self._connection.close()


@pytest.mark.dr_service("shop")
@pytest.mark.disaster("infrastructure")
@pytest.mark.rto("10s")
def test_clients_leave_a_primary_whose_cable_is_pulled(
    scratch_network, web_servers, drill, rto_timer
):
    network = scratch_network("primary", "standby")
    shops = []
    for host in network.hosts:
        with host.within():
            shops += web_servers(host.name, address=host.address)
    primary, standby = shops
    client, numbers = Client(shops), count(1)
    drill.require("the primary takes orders", client.order(next(numbers)))
    assert client.served_by is primary

    with rto_timer.outage(), network.partition("primary"):
        rto_timer.wait_until(lambda: client.order(next(numbers)), interval="50ms")
    assert client.served_by is standby
    client.close()
