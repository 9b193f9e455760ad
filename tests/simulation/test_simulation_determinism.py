"""Same seed, same trace: in every process, whatever its hash seed, its memory and its Python."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_drdrill
from needs import lacks

PACKAGE = Path(pytest_drdrill.__file__).parent  # be it a checkout's or an installed one
SCRIPT = """
import asyncio, random, sys
from pytest_drdrill import simulate

junk = [object() for _ in range(random.SystemRandom().randrange(20_000))]  # shifts addresses
del junk[::2]

async def endpoint(world, name):
    draw = world.random(name)
    try:
        while True:
            try:
                async with world.clock.timeout(1):
                    await world.clock.sleep(draw.expovariate(1.2))
                world.record(name, "answered")
            except TimeoutError:
                world.record(name, "timed out")
            await world.clock.sleep(draw.choice([1, 1, 30]))
    except asyncio.CancelledError:
        world.record(name, "was cancelled", asyncio.current_task().get_name())
        raise

async def main(world):
    names = [f"endpoint-{number}" for number in range(40)]
    left = [asyncio.create_task(endpoint(world, f"left-{name}")) for name in names]
    try:
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(endpoint(world, name))
            await world.clock.sleep(100)
            raise RuntimeError("the region is lost")
    except* RuntimeError as lost:
        world.record("world", "lost", lost.exceptions[0])
    done, pending = await asyncio.wait(left[:7], timeout=3)
    world.record("world", "waits", [task.get_name() for task in pending])
    worlds.append(world)

worlds = []
simulate(main, seed=int(sys.argv[1]))  # whose end cancels what is left
worlds[0].trace.write(sys.argv[2])
"""


REPLICATION = """
import asyncio, sys
from pytest_drdrill import (
    Canary, CrossRegionReplication, Drill, RegionUnreachableError, SimulatedWorld
)

NAMES = [f"region-{number}" for number in range(6)]

async def main(world):
    drill = Drill(clock=world.clock)
    regions = world.regions(*NAMES, replication_lag="3s")
    regions[5].lag_s = 5.0

    def told(event):
        ends = f"{event.region} {event.other}"
        world.record("replication", event.kind, f"{ends}: {event.reason}")

    data = CrossRegionReplication(
        regions, "semi-synchronous", acknowledgements=5, max_lag="4s", network=world.network,
        clock=world.clock, seed=world.seed, on_event=told,
    )
    data.add_alert_callback(lambda alert: world.record("alert", alert.kind, alert.message))
    clients = []

    async def read_all():
        return [(key, await data.read(key)) for key in await data.keys()]

    async with data:
        for name in ("shop", "till", "desk"):
            clients.append(Canary(
                drill, write=data.write, read_all=read_all, interval="700ms", timeout="8s",
                concurrency=9, name=name, warm_up_timeout="60s", patience="5m",
                on_event=lambda what, detail, name=name: world.record(name, what, detail),
            ))
        async with clients[0], clients[1], clients[2]:
            with drill.rto.outage():
                regions[0].lose()
                await data.promote_region_to_primary(NAMES[5])  # all others have more
                await world.clock.sleep(20)
                regions[3].isolate()
                await world.clock.sleep(20)
                regions[0].restore()
                regions[3].restore()
                await data.rejoin(NAMES[0])
                await data.wait_caught_up(NAMES[3])
                await data.wait_caught_up(NAMES[0])
                await world.clock.sleep(30)
        for client in clients:
            world.record(client.name, "found", await client.verify())
    world.record("drill", "lost", drill.rpo.lost)
    world.record("drill", "timeline", drill.timeline.events())

with SimulatedWorld(int(sys.argv[1])) as world:
    world.run(main(world))
    world.trace.write(sys.argv[2])
"""


def trace_of(path, *, seed=1, hash_seed="0", python=sys.executable, script=SCRIPT):
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(PACKAGE.parent)}
    subprocess.run([python, "-c", script, str(seed), path], check=True, env=environment)
    return path.read_text("ascii")


def test_processes_agree_on_a_replication_and_its_canaries(tmp_path):
    path = tmp_path / "trace.jsonl"
    first = trace_of(path, script=REPLICATION)
    assert first.count('"event": "writes_discarded"') >= 4
    for event in ("fallback", "promotion", "connection_lost", "lag_exceeded", "rejoined", "found"):
        assert f'"event": "{event}"' in first
    for hash_seed in ("1", "2", "4711"):
        assert trace_of(path, hash_seed=hash_seed, script=REPLICATION) == first


def test_processes_agree_and_seeds_do_not(tmp_path):
    path = tmp_path / "trace.jsonl"
    first = trace_of(path)
    assert first.count("was cancelled") == 80
    assert first.count("answered") > 500
    for hash_seed in ("0", "1", "4711"):
        assert trace_of(path, hash_seed=hash_seed) == first
    assert trace_of(path, seed=2) != first


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_pythons_agree(tmp_path, version):
    python = shutil.which(f"python{version}")
    if (
        python is None
        or subprocess.run([python, "-V"], capture_output=True, check=False).returncode
    ):
        lacks(f"Python {version}")
    path = tmp_path / "trace.jsonl"
    assert trace_of(path, python=python, hash_seed="77") == trace_of(path)
