"""Scratch networks: who hears whom, who is there, and what is said where none can be made."""

import contextlib
import errno
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from network_site import OUTSIDE, PATIENCE_S, Machine, Radio, descriptors_open

from needs import needs, needs_networks
from pytest_drdrill import (
    AllowList,
    ComponentMissing,
    FaultError,
    FaultNotPermitted,
    LiveRefused,
    ScratchNetwork,
    ScratchServer,
    UndoStack,
)
from pytest_drdrill.faults.journal import Journal
from pytest_drdrill.live import programs
from pytest_drdrill.live.network.subnet import RANGE, Subnet

HERE = Path("/proc/thread-self/ns/net")


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("DRDRILL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(Journal, "_own", None)


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def machine():
    needs_networks()
    machine = Machine()
    with machine.namespace.entered():
        yield machine
    machine.namespace.close()


@pytest.fixture
def told():
    return []


@pytest.fixture
def network(machine, told):
    with ScratchNetwork("a", "b", announce=lambda *words: told.append(words)) as network:
        yield network


@pytest.fixture
def radio(network, stack):
    return Radio(network, stack)


def ways(*names):
    return {way for name in names for way in (name, ">".join(reversed(name.split(">"))))}


def test_all_places_hear_each_other(radio):
    assert radio.lost() == set()


@pytest.mark.parametrize(
    ("sides", "lost"),
    [
        (("a", "b"), ways("a>b")),
        (("b", "a"), ways("a>b")),
        (("a", "drill"), ways("a>drill")),
        (("a",), ways("a>b", "a>drill")),
        (("drill",), ways("a>drill", "b>drill")),
        ((["a", "b"],), ways("a>drill", "b>drill")),
        (("a", ["drill", "b"]), ways("a>b", "a>drill")),
    ],
)
def test_nothing_passes_between_the_sides_of_a_partition(network, radio, sides, lost):
    with network.partition(*sides):
        assert radio.lost(*lost) == lost
    assert radio.lost() == set()


@pytest.mark.parametrize(
    ("sides", "lost"),
    [
        (("a", "b"), {"a>b"}),
        (("a",), {"a>b", "a>drill"}),
        ((["b", "drill"], "a"), {"b>a", "drill>a"}),
    ],
)
def test_one_way_loses_what_the_first_side_sends_alone(network, radio, sides, lost):
    with network.partition(*sides, one_way=True):
        assert radio.lost(*lost) == lost


def test_partitions_combine_and_are_undone_in_any_order(network, radio, told):
    a, b = network.hosts
    first = network.partition(a, one_way=True)
    second = network.partition(a, b)
    third = network.partition(network.drill, b, one_way=True)
    lost = {"a>b", "b>a", "a>drill", "drill>b"}
    assert radio.lost(*lost) == lost
    first.undo()
    first.undo()
    assert radio.lost("a>b", "b>a", "drill>b") == {"a>b", "b>a", "drill>b"}
    third.undo()
    assert radio.lost("a>b", "b>a") == {"a>b", "b>a"}
    network.partition("a", "drill")
    network.heal()
    assert radio.lost() == set()
    second.undo()
    where = f", in the scratch network {network.name}"
    assert told[:4] == [
        ("fault", f"partition of a to others{where}"),
        ("fault", f"partition of a and b{where}"),
        ("fault", f"partition of drill to b{where}"),
        ("fault undone", f"partition of a to others{where}"),
    ]
    assert len(told) == 8


def test_closed_with_a_partition_in_force_it_tells_that_this_is_over(network, told):
    network.partition("a")
    network.close()
    assert [event for event, _ in told] == ["fault", "fault undone"]


def test_the_stack_of_a_drill_undoes_them(machine, stack):
    undo = UndoStack()
    network = stack.enter_context(ScratchNetwork("a", "b", stack=undo))
    radio = Radio(network, stack)
    network.partition("a")
    network.partition("a", "b")
    undo.undo_all()
    assert radio.lost() == set()
    network.partition("b")
    network.close()
    undo.undo_all()  # what it would undo is gone


def test_two_networks_at_once_have_nothing_in_common(machine, network, stack):
    other = stack.enter_context(ScratchNetwork("a", "b"))
    addresses = {each.address for net in (network, other) for each in (net.drill, *net.hosts)}
    assert len(addresses) == 6
    radios = [Radio(network, stack), Radio(other, stack)]
    with network.partition("a"):
        assert radios[1].lost() == set()
        with network["a"].within():
            client = stack.enter_context(socket.socket())
        with pytest.raises(OSError, match="unreachable"):
            client.connect((other["a"].address, 9))
    other.close()
    assert radios[0].lost() == set()


def test_the_machine_has_one_link_more_and_nothing_else_until_it_is_closed(machine):
    before, here = machine.all(), HERE.readlink()
    with ScratchNetwork("a", "b") as network:
        assert HERE.readlink() == here
        addresses, routes, rules = machine.all()
        (link,) = [each for each in addresses if each not in before[0]]
        assert link["ifname"] == network.name
        assert [each["local"] for each in link["addr_info"]] == [network.drill.address]
        assert {each["dev"] for each in routes if each not in before[1]} == {network.name}
        assert rules == before[2]
        network.partition("a")
        assert machine.all() == [addresses, routes, rules]
    assert machine.all() == before


def test_nothing_leads_out_of_it_and_nothing_from_elsewhere_leads_in(network, stack):
    a, _ = network.hosts
    with a.within():
        listener = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        listener.bind((a.address, 0))
        with socket.socket() as client, pytest.raises(OSError, match="unreachable") as caught:
            client.connect((OUTSIDE, 9))
        assert caught.value.errno == errno.ENETUNREACH
    outside = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    outside.bind((OUTSIDE, 0))
    outside.sendto(b"from outside", listener.getsockname())
    inside = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    inside.sendto(b"from the drill", listener.getsockname())
    listener.settimeout(PATIENCE_S)
    assert listener.recv(100) == b"from the drill"  # on the same way, behind the other one
    listener.settimeout(0.05)
    with pytest.raises(TimeoutError):
        listener.recv(100)


SERVER = """
import os, socket, sys
if os.fork():
    os._exit(0)  # in the background, as daemons do
os.setsid()
with socket.create_server((sys.argv[1], 5432)) as server:
    print("up", flush=True)
    while True:
        client, _ = server.accept()
        client.sendall(f"{os.getuid()} at {client.getsockname()[0]}".encode())
        client.close()
"""


def ask(address):
    with socket.create_connection((address, 5432), PATIENCE_S) as client:
        return client.recv(100).decode()


def test_servers_run_at_hosts_on_ports_of_their_own_and_end_with_the_network(network, stack):
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    here = HERE.readlink()
    servers = []
    for host in network.hosts:
        server = stack.enter_context(ScratchServer(host.name))
        with host.within():
            assert HERE.readlink() != here
            server.start(
                ["/bin/sh", "-c", f"{python} -c '{SERVER}' {host.address}; sleep 600"],
                lambda server=server: "up" in server.tail(),
            )
        assert HERE.readlink() == here
        servers.append(server)
    for host, server in zip(network.hosts, servers, strict=True):
        assert ask(host.address) == f"{server.account.uid} at {host.address}"
        assert server.account.uid != 0
    with network.partition("b"), pytest.raises(TimeoutError):
        socket.create_connection((network["b"].address, 5432), 0.1)
    assert ask(network["b"].address)
    network.close()
    assert [server.process.wait() for server in servers] == [-9, -9]
    assert all(f"-c {SERVER}".encode() not in each for each in command_lines())


def test_other_threads_stay_where_they_were(network):
    found = []
    begun, entered = threading.Event(), threading.Event()

    def look():
        begun.set()
        entered.wait(PATIENCE_S)
        found.append(HERE.readlink())

    here = HERE.readlink()
    thread = threading.Thread(target=look)
    thread.start()
    begun.wait(PATIENCE_S)
    with network["a"].within():
        entered.set()
        thread.join()
        assert HERE.readlink() != here
    assert found == [here]


def command_lines():
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield each.read_bytes().replace(b"\0", b" ")


def test_a_command_runs_at_a_host_however_it_is_started(network):
    a, _ = network.hosts
    command = a.command(["cat", "/proc/self/net/fib_trie"])
    there = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    here = Path("/proc/thread-self/net/fib_trie").read_text()
    for place, text, other in ((a, there, here), (network.drill, here, there)):
        assert f"|-- {place.address}\n" in text
        assert f"|-- {place.address}\n" not in other


def test_the_thread_is_back_where_it_was_whatever_happened_at_the_host(network):
    here = HERE.readlink()
    a, b = network.hosts

    def interrupted():
        with b.within():
            pass
        assert HERE.readlink() != here
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), a.within():
        interrupted()
    assert HERE.readlink() == here
    with network.drill.within():
        assert HERE.readlink() == here


def test_its_hosts_are_scratch_for_the_allow_list_as_long_as_it_is_there(machine):
    with ScratchNetwork("a") as network:
        AllowList([]).check(f"http://{network['a'].address}/orders")
        AllowList([]).check(network.drill.address, 80)
    with pytest.raises(LiveRefused):
        AllowList([]).check(network.hosts[0].address)


def test_who_is_meant_has_to_be_clear(network):
    where = "is no host of this scratch network; there are drill, a, b$"
    with pytest.raises(ValueError, match=f"^'c' {where}"):
        network.partition("c")
    with pytest.raises(ValueError, match=f"^5432 {where}"):
        network.partition("a", ["b", 5432])
    with pytest.raises(ValueError, match=f"^'others' {where}"):
        network["others"]
    with pytest.raises(ValueError, match=r"^'a' is on both sides of the partition$"):
        network.partition("a", ["a", "b"])
    for sides in ([], "a"), ("a", []), (["a", "b", "drill"],):
        with pytest.raises(ValueError, match=r"^a partition has a host on each side$"):
            network.partition(*sides)
    assert network["a"] is network.hosts[0]
    network.close()
    network.close()
    network.heal()
    with pytest.raises(FaultError, match=r"is gone, so there is nothing to cut$"):
        network.partition("a")
    with pytest.raises(FaultError, match=r"^the scratch network of a is gone$"):
        network["a"].within()
    with pytest.raises(FaultError, match=r"is gone$"):
        network["a"].command(["true"])


@pytest.mark.parametrize(
    ("names", "kind", "sentence"),
    [
        ((), ValueError, "a scratch network takes the names of its hosts"),
        (("a", "b", "a"), ValueError, "'a' names two hosts of one scratch network"),
        (("drill",), ValueError, "'drill' is no name of a host; any text is but"),
        ((" ",), ValueError, "' ' is no name of a host"),
        ((["a", "b"],), TypeError, "the name of a host is a text, not ['a', 'b']"),
        ([str(each) for each in range(251)], ValueError, "has at most 250 hosts, not 251"),
    ],
)
def test_bad_names_are_one_sentence(names, kind, sentence):
    with pytest.raises(kind) as caught:
        ScratchNetwork(*names)
    assert sentence in str(caught.value)


def test_addresses_are_of_nobody_else():
    subnets = [str(each) for each in RANGE.subnets(new_prefix=24)]
    free = subnets.pop(300)
    routed = ["default", "10.0.0.0/8", "192.0.2.2", *subnets]
    subnet = Subnet(routed)
    assert str(subnet) == free
    # Who has claimed it may have no route yet.
    with pytest.raises(
        FaultError, match=r"^no network of 256 addresses in 198\.18\.0\.0/15 is free"
    ):
        Subnet(routed)
    subnet.release()
    subnet.release()
    again = Subnet(routed)
    again.release()
    with pytest.raises(FaultError, match="is free on this machine"):
        Subnet(["198.0.0.0/8"])


# -- where none can be made --------------------------------------------------------------------

TRY = """
from pytest_drdrill import FaultNotPermitted, ScratchNetwork
try:
    ScratchNetwork("a")
except FaultNotPermitted as error:
    print(error)
"""


@pytest.mark.parametrize("right", ["sys_admin", "net_admin"])
def test_without_a_right_it_is_not_permitted_and_nothing_is_left(tmp_path, right):
    command = [sys.executable, "-c", TRY]
    if os.geteuid() == 0:
        needs_networks()
        command = [needs("setpriv", "util-linux"), f"--bounding-set=-{right}", *command]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stderr == ""
    said = "/proc/sys/net/ipv4/ip_forward can't be written to: Operation not permitted"
    if os.geteuid() != 0 or right == "sys_admin":
        said = "the kernel says 'Operation not permitted'"
    assert run.stdout == (
        "scratch_network is not permitted on this machine: it makes network namespaces, which "
        f"takes root's rights ({said}): run the tests as root\n"
    )
    assert not (tmp_path / "state" / "journal").exists()


def test_without_ip_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "_SYSTEM", ())
    with pytest.raises(ComponentMissing) as caught:
        ScratchNetwork("a")
    assert str(caught.value) == "this machine lacks ip; install it: apt-get install iproute2"
    other = tmp_path / "ip"
    other.write_text("#!/bin/sh\necho BusyBox v1.36\n")
    other.chmod(0o755)
    with pytest.raises(
        ComponentMissing, match=r"^this machine lacks the ip of iproute2 \(/.*/ip is"
    ):
        ScratchNetwork("a")


# What ip says where a kernel refuses, which this one does not.
IP = """#!/bin/sh
case "$*" in
*-Version*) echo "ip utility, iproute2-6.1.0";;
*) cat >/dev/null; echo "{said}" >&2; exit 1;;
esac
"""


@pytest.mark.parametrize(
    ("said", "kind", "sentence"),
    [
        ("RTNETLINK answers: Operation not permitted", FaultNotPermitted, "run the tests as root"),
        (
            "Error: Unknown device type.",
            FaultNotPermitted,
            "its kernel lacks virtual links (veth) or policy routing (ip says 'Error: Unknown",
        ),
        ("RTNETLINK answers: Operation not supported", FaultNotPermitted, "its kernel lacks"),
        ("Cannot allocate", FaultError, "could not be changed: ip says 'Cannot allocate'"),
    ],
)
def test_what_the_kernel_refuses_is_one_sentence_and_nothing_is_left(
    machine, monkeypatch, tmp_path, said, kind, sentence
):
    before = machine.all()
    monkeypatch.setattr(programs, "_SYSTEM", ())
    (tmp_path / "ip").write_text(IP.format(said=said))
    (tmp_path / "ip").chmod(0o755)
    before_that = descriptors_open()
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        with pytest.raises(kind) as caught:
            ScratchNetwork("a")
    assert type(caught.value) is kind
    assert sentence in str(caught.value)
    assert descriptors_open() == before_that
    assert machine.all() == before
    assert not (tmp_path / "state" / "journal").exists()
