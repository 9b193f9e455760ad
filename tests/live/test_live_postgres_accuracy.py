"""What a drill of PostgreSQL measures is what an independent observer saw."""

import asyncio
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from pytest_drdrill import Canary, Drill, FaultProxy, PostgresNode, postgres_canary

pytestmark = pytest.mark.usefixtures("postgres_state")
OBSERVER = str(Path(__file__).with_name("postgres_observer.py"))
TOLERANCE = 0.02
MODES = ("asynchronous", "lagging", "partitioned", "synchronous")


@pytest.mark.parametrize("mode", ["lagging", "synchronous"])
def test_outage_and_loss_are_those_that_an_observer_saw(postgres_binaries, mode):
    check(postgres_binaries, mode)


@pytest.mark.soak
@pytest.mark.parametrize("run", range(20))
@pytest.mark.parametrize("mode", MODES)
def test_outage_and_loss_are_those_that_an_observer_saw_each_time(postgres_binaries, mode, run):
    check(postgres_binaries, mode)


def check(binaries, mode):
    with ExitStack() as stack:
        primary = stack.enter_context(PostgresNode("primary", binaries=binaries)).start()
        primary.query("create table observed (key text)")
        link = stack.enter_context(FaultProxy("127.0.0.1", primary.port))
        standby = primary.add_standby(synchronous=mode == "synchronous", through=link)
        stack.enter_context(standby)
        command = [sys.executable, OBSERVER, primary.dsn_with(standby)]
        observer = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        try:
            wait_for_rows(primary, 20)
            drill, result, confirmed = asyncio.run(measure(mode, primary, standby, link))
            wait_for_rows(standby, rows(standby) + 2)
        finally:
            seen = [line.split() for line in observer.communicate()[0].splitlines()]
        survivors = {row[0] for row in standby.query("select key from drdrill_canary")}
        observed = {row[0] for row in standby.query("select key from observed")}
    compare(mode, drill, result, confirmed, survivors, seen, observed)


def rows(server):
    return server.query("select count(*) from observed")[0][0]


def wait_for_rows(server, count):
    patience = time.monotonic() + 30
    while rows(server) < count:
        assert time.monotonic() < patience
        time.sleep(0.01)


async def measure(mode, primary, standby, link):
    drill, confirmed = Drill(), {}
    client = postgres_canary(primary, standby)

    async def write(key, value):
        await client.write(key, value)
        confirmed[key] = time.monotonic()  # a ledger beside the canary's own

    canary = Canary(drill, write=write, read_all=client.read_all, interval="10ms", warm_up=10)
    async with canary:
        if mode == "lagging":
            link.latency("200ms")
        await asyncio.sleep(0.6)
        if mode == "partitioned":
            link.blackhole()
            await asyncio.sleep(0.5)
        with drill.rto.outage():
            link.reset(new=True)  # what was on its way is gone with the machine
            await asyncio.to_thread(primary.kill)
            await asyncio.to_thread(standby.promote)
    result = await canary.verify()
    await client.close()
    return drill, result, confirmed


def compare(mode, drill, result, confirmed, survivors, seen, observed):
    missing = confirmed.keys() - survivors
    assert set(result.lost) == missing
    if mode in {"lagging", "partitioned"}:
        assert missing
    if mode == "synchronous":
        assert not missing
    (outage,) = drill.rto.outages
    disaster = outage.disaster.at
    writes = [(key, float(sent), float(ended), good == "1") for key, sent, ended, good in seen]
    bad = [ended for _, sent, ended, good in writes if not good and ended > disaster]
    first, sent_at = next(
        (ended, sent) for _, sent, ended, good in writes if good and sent > max(bad)
    )
    # The observer has a resolution, too: it can't know what was between its failure and this.
    own = first - max(bad) + (first - sent_at)
    measured = result.outage.total_seconds()
    assert abs(measured - (first - disaster)) <= outage.resolution + own + TOLERANCE
    # Where the tail was cut off, each of both knows from its own writes on either side of it.
    theirs = cut_off({key: ended for key, _, ended, good in writes if good}, observed, disaster)
    ours = cut_off(confirmed, confirmed.keys() - missing, disaster)
    assert max(theirs[0], ours[0]) <= min(theirs[1], ours[1]) + TOLERANCE
    lost = [confirmed[key] for key in confirmed if key in missing]
    loss = max(disaster, lost[-1]) - lost[0] if lost else 0.0
    assert abs(drill.rpo.data_loss.total_seconds() - loss) <= TOLERANCE


def cut_off(acknowledged, survivors, disaster):
    """The last survivor's moment before the first lost one's, and that; of none, the disaster."""
    lost = [at for key, at in acknowledged.items() if key not in survivors]
    first = min(lost, default=disaster)
    return max(at for key, at in acknowledged.items() if key in survivors and at < first), first
