"""Whatever ends who made a scratch network: nothing of it is left."""

import contextlib
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from network_site import Machine, descriptors_open

from needs import needs_networks
from pytest_drdrill import FaultError, ScratchNetwork, ScratchServer
from pytest_drdrill.faults.journal import Journal, recover
from pytest_drdrill.faults.network import end_network, marks_of, network_name, processes_within
from pytest_drdrill.faults.owed import Owed
from pytest_drdrill.live.network import wires

PATIENCE_S = 60
MAKE = """
import os, sys
from pytest_drdrill import ScratchNetwork
from pytest_drdrill.faults.journal import Journal
network = ScratchNetwork("a", "b")
network.partition("a")
with network["a"].within():
    if os.fork() == 0:  # in the background, as daemons do: nobody else knows of it
        os.setsid(); os.close(1)
        os.execvp("sleep", ["sleep", "600"])
print(network.name, flush=True)
"""
KILLED = "os.kill(os.getpid(), 9)"
ALONE = "Journal.own()._guardian._shell.kill(); os.kill(os.getpid(), 9)"


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    monkeypatch.setenv("DRDRILL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(Journal, "_own", None)
    needs_networks()
    machine = Machine()
    with machine.namespace.entered():
        before = machine.all()
        yield machine
        assert machine.all() == before
    machine.namespace.close()


def soon(check):
    patience = time.monotonic() + PATIENCE_S
    while not check():
        assert time.monotonic() < patience
        time.sleep(0.005)


def made_and_killed(end):
    """The name of a network whose maker ended so."""
    command = [sys.executable, "-c", MAKE + end]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert run.returncode == -signal.SIGKILL
    return run.stdout.strip()


def links():
    return {name for _, name in socket.if_nameindex()}


def test_killed_maker_leaves_nothing(tmp_path):
    name = made_and_killed(KILLED)
    journal = tmp_path / "state" / "journal"
    soon(lambda: any('"done"' in each.read_text() for each in journal.glob("*.jsonl")))
    assert processes_within(name) == []
    assert name not in links()
    (word,) = recover().done
    assert word == f"the scratch network {name} of a, b"
    assert not journal.exists()


def test_what_no_guardian_ended_the_next_run_does():
    other = ScratchNetwork("a")  # of a maker that lives
    name = made_and_killed(ALONE)
    (process,) = processes_within(name)
    with other["a"].within():
        bystander = subprocess.Popen(["sleep", "600"])
    try:
        recovery = recover()
        assert (recovery.done, recovery.failed) == ((f"the scratch network {name} of a, b",), ())
        assert not process.is_alive
        assert name not in links()
        assert bystander.poll() is None
        assert other.name in links()
    finally:
        other.close()
    assert bystander.wait() == -signal.SIGKILL


def test_interrupted_in_the_making_nothing_is_left(monkeypatch, tmp_path):
    before = descriptors_open()
    for place in ("_connect", "_wait_for_links"):

        def interrupted(self, *_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(wires.Wires, place, interrupted)
            with pytest.raises(KeyboardInterrupt):
                ScratchNetwork("a", "b")
        assert descriptors_open() == before
        assert not (tmp_path / "state" / "journal").exists()


def test_what_can_not_be_removed_is_one_sentence_and_stays_owed(monkeypatch, tmp_path):
    network = ScratchNetwork("a")
    with monkeypatch.context() as patch:
        patch.setattr(network._wires._links, "program", "/bin/false")
        with pytest.raises(FaultError) as caught:
            network.close()
    assert str(caught.value).startswith(f"the scratch network {network.name} could not be removed")
    assert list((tmp_path / "state" / "journal").iterdir())
    network.close()
    assert not (tmp_path / "state" / "journal").exists()


CLOSED_WITHIN = """
from pytest_drdrill import ScratchNetwork
network = ScratchNetwork("a")
with network["a"].within():
    network.close()
print(network.name)
"""


def test_who_closes_it_from_a_host_lives_on():
    command = [sys.executable, "-c", CLOSED_WITHIN]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert run.stdout.strip() not in links()


def test_ending_it_twice_or_where_there_is_none_does_nothing():
    network = ScratchNetwork("a")
    owed = Owed("end network", "it", path=network.name, other=network._wires._links.program)
    owed.settle(rebooted=True)
    assert network.name in links()
    owed.settle()
    assert network.name not in links()
    owed.settle()
    network.close()
    end_network(network_name(), "/no/such/program")


def test_a_servers_own_end_comes_before_or_after_that_of_the_network():
    for network_first in (True, False):
        with contextlib.ExitStack() as stack:
            network = ScratchNetwork("a")
            server = ScratchServer("sleeper")
            both = (network.close, server.close)
            for close in both if network_first else reversed(both):
                stack.callback(close)
            with network["a"].within():
                server.start(["/bin/sleep", "600"], lambda: True)
        assert not server.is_running
        assert not Path(server.folder).exists()


def test_its_name_and_marks_are_its_own():
    names = {network_name() for _ in range(1000)}
    assert len(names) == 1000
    assert {len(name) for name in names} == {15}  # as many as the kernel takes
    assert marks_of("drd0102030afe05") == ["127.1.2.3", "127.10.254.5"]


@pytest.mark.parametrize(
    "name", ["", "drd", "eth0", "drd0102030afe0", "drd0102030AFE05", "drd0102030afe05 "]
)
def test_what_is_no_name_of_a_network_ends_nothing(name):
    with pytest.raises(OSError, match="is no name of a scratch network"):
        end_network(name, "/no/such/program")
