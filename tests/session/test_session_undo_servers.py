"""Whatever ends a drill with real servers, broken ones too: not one of them outlives it."""

import json
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from leaks import Leaks

from needs import lacks, needs, needs_postgres
from pytest_drdrill import ComponentMissing, PostgresNode
from pytest_drdrill.faults.journal import Journal, recover
from pytest_drdrill.live.redis.binaries import redis_binary, redis_package

BROKEN = '''
from pathlib import Path
from pytest_drdrill.faults.journal import Journal

DUMP = """--
-- PostgreSQL database dump
--
CREATE TABLE public.orders (id integer);
INSERT INTO public.orders VALUES (1);
--
-- PostgreSQL database dump complete
--
"""

def note(kind, *folders, memory=()):
    """The folders of servers that run, and the shared memory of those that have data there."""
    assert all(each.is_dir() for each in folders)
    with open(NOTES / "kinds", "a") as file:
        file.write(f"{kind}\\n")
    with open(NOTES / "memory", "a") as file:
        for each in memory:
            segment = (each / "postmaster.pid").read_text().splitlines()[6].split()[1]
            file.write(f"{segment}\\n")

@pytest.fixture
def postgres(postgres_primary, postgres_standby, postgres_archive, fault_proxy):
    """One that is frozen, with an archive; one that is dead; one cut off that has no primary."""
    link = fault_proxy("127.0.0.1", postgres_primary.port)
    cut_off, dead = postgres_standby(through=link), postgres_standby()
    note("postgres", *(each.folder for each in (postgres_primary, postgres_archive, cut_off, dead)),
         memory=[each.data for each in (postgres_primary, cut_off, dead)])
    link.blackhole()
    dead.kill()
    postgres_primary.pause()

@pytest.fixture
def restore(postgres_restore):
    """What a dump was restored into."""
    Path("nightly.sql").write_text(DUMP)
    server = postgres_restore("nightly.sql", ignore={"missing_role": "none"})._server
    note("restore", Path(server.folder), memory=[Path(server.folder) / "data"])

@pytest.fixture
def redis(redis_primary, redis_replica, redis_sentinels):
    """A dead primary, a frozen replica, a frozen Sentinel and two that look for both."""
    primary = redis_primary()
    replica = redis_replica(primary)
    sentinels = redis_sentinels(primary)
    note("redis", *(each._scratch.folder for each in (primary, replica, *sentinels.members)))
    primary.kill()
    replica.pause()
    sentinels.members[0].pause()

@pytest.fixture
def balancer(haproxy, fault_proxy):
    """One that is frozen, and one that runs, before a server that resets whoever asks."""
    proxy = fault_proxy("127.0.0.1:9")
    web = ServiceEndpoint("web", f"http://127.0.0.1:{proxy.port}")
    frozen, running = haproxy([web]), haproxy([web])
    note("balancer", frozen.socket.parent, running.socket.parent)
    proxy.refuse()
    frozen.pause()

pytestmark = pytest.mark.dr_service("x")
'''
KINDS = ("postgres", "restore", "redis", "balancer")
FOLDERS = 4 + 1 + 5 + 2
DO = {
    "pass": "pass",
    "fail": "assert 0",
    "skip": "pytest.skip('half way')",
    "interrupt": "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)",
    "terminate": "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)",
}
# Each row is one run of drills, one after another; each of them breaks one kind, and ends that way.
# How it ends makes no difference to the servers, so those that cost most have the fewest.
RUNS = {
    "interrupt": {"pass": "redis", "fail": "restore", "skip": "balancer", "interrupt": "redis"},
    "terminate": {"pass": "balancer", "skip": "redis", "terminate": "postgres"},
    "first failure": {"fail": "balancer", "pass": "balancer"},
}
NEXT = "def test_next(): pass"
NO_GUARDIAN = "Journal.own()._guardian._shell.kill()"
DIE = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture(scope="module")
def templates():
    """Where initdb has left what servers begin with: run once, and not once a test."""
    needs_postgres()
    needs("haproxy")
    try:
        redis_package()
        redis_binary()
    except ComponentMissing as error:
        lacks(str(error).partition(" lacks ")[2])
    # Not among pytest's temporary folders, which the users that servers run as can't enter.
    folder = Path(tempfile.mkdtemp(prefix="drdrill-test-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRDRILL_STATE", str(folder / "state"))
        patch.setattr(Journal, "_own", None)
        PostgresNode().close()
    folder.chmod(0o755)
    yield folder / "state" / "postgres"
    shutil.rmtree(folder)


@pytest.fixture
def leaks(templates, monkeypatch):
    folder = Path(tempfile.mkdtemp(prefix="drdrill-test-"))
    folder.chmod(0o755)
    (folder / "state").mkdir(mode=0o700)
    (folder / "state" / "postgres").symlink_to(templates)
    found = Leaks(folder)
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    yield found
    recover(found.owed)  # where the test has failed
    shutil.rmtree(folder)


@pytest.fixture
def run(drills, leaks):
    """Runs drills that break servers, each of the kinds that are named."""

    def run(source, kinds, *args, mode="no-xdist"):
        head = BROKEN.replace("NOTES", f"Path({str(leaks.folder)!r})")
        outcome = drills(head + source, *args, mode=mode, subprocess=True)
        assert (leaks.folder / "kinds").read_text().split() == list(kinds)
        memory = (leaks.folder / "memory").read_text().split()
        assert len(memory) == 3 * ("postgres" in kinds) + ("restore" in kinds)
        return outcome

    return run


@pytest.mark.parametrize("name", RUNS)
def test_no_server_is_left_however_a_drill_ends(run, leaks, name):
    row = RUNS[name]
    source = "".join(
        f"def test_{number}({kind}): {DO[end]}\n" for number, (end, kind) in enumerate(row.items())
    )
    if name == "first failure":
        outcome = run(source, ["balancer"], "-x")
        assert outcome.ret == 1
    else:
        outcome = run(source, row.values())
        assert outcome.ret == pytest.ExitCode.INTERRUPTED
    assert leaks.left() == []
    assert not leaks.owed.exists()


def test_no_server_outlives_a_killed_run(run, leaks, drills):
    # Nobody watches over this one, so all of it is there until the next one starts.
    source = f"def test_it({', '.join(KINDS)}): {NO_GUARDIAN}; {DIE}"
    assert run(source, KINDS).ret == -signal.SIGKILL
    left = leaks.left()
    assert sum(each.startswith("process ") for each in left) > len(KINDS) * 3
    # A copy of the programs is made only where the server's user can't reach them.
    folders = [each for each in left if each.startswith("file drdrill-") and "pgbin" not in each]
    assert len(folders) == FOLDERS
    assert sum(each.startswith("memory ") for each in left) == 3  # the dead one's is given back
    drills(NEXT, report=False).result.assert_outcomes(passed=1)
    assert leaks.none_soon() == []
    assert not leaks.owed.exists()


def test_no_server_outlives_a_killed_worker(run, leaks):
    # The controller puts it right, before the next drill.
    source = f"""
def test_it({", ".join(KINDS)}): {NO_GUARDIAN}; {DIE}
def test_next(): pass
"""
    outcome = run(source, KINDS, "-n1", mode="n2")
    assert "crashed while running" in outcome.drills["test_it"]["error"]
    assert outcome.verdicts["test_next"] == "passed"
    assert leaks.none_soon() == []
    assert not leaks.owed.exists()
    assert "drdrill: put right what a killed run had left: " in outcome.text


def test_no_server_outlives_a_killed_controller(run, leaks):
    # Its worker dies some seconds later, as execnet has it, and has its guardian.
    source = (
        f"def test_it({', '.join(KINDS)}): os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)"
    )
    assert run(source, KINDS, "-n1", mode="n2").ret == -signal.SIGKILL
    assert leaks.none_soon() == []
    for word in leaks.owed.glob("*.jsonl"):
        told = [json.loads(line) for line in word.read_text().splitlines()]
        assert {each for record in told for each in record} == {"done"}
