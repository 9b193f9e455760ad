"""A real server that is down, or can't start, is an error at the drill's own line."""

from __future__ import annotations

import re

from needs import lacks, needs_postgres
from pytest_drdrill import ComponentMissing
from pytest_drdrill.live.redis.binaries import redis_binary, redis_package

DRILLS = """
import contextlib, socket

pytestmark = pytest.mark.dr_service("x")

@contextlib.contextmanager
def taken(port):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        yield

def test_postgres(postgres_primary):
    postgres_primary.kill()
    with taken(postgres_primary.port), pytest.raises(ServerFailed) as caught:
        postgres_primary.start()
    assert "primary ended with status 1, since another process listens" in str(caught.value)
    postgres_primary.query("SELECT 1")  # the line

def test_refused(postgres_primary):
    postgres_primary.query("SELECT * FROM nowhere")  # the line

def test_redis(redis_primary):
    server = redis_primary()
    server.kill()
    with taken(server.port), pytest.raises(ServerFailed) as caught:
        server.start()
    assert "redis-primary ended with status 1, since another process" in str(caught.value)
    server.query("PING")  # the line

def test_replica(redis_primary, redis_replica):
    server = redis_primary()
    server.kill()
    redis_replica(server)  # the line
"""
SAID = {
    "test_postgres": r"psycopg.OperationalError: connection failed: .*Connection refused",
    "test_refused": r'psycopg.errors.UndefinedTable: relation "nowhere" does not exist',
    "test_redis": r"redis.exceptions.ConnectionError: Error 111 connecting to 127.0.0.1:\d+",
    "test_replica": r"pytest_drdrill.ServerFailed: redis-primary does not run, so redis-replica",
}


def test_what_is_shown_is_the_drills_own_line_and_what_the_server_or_its_driver_said(
    drills, monkeypatch, tmp_path
):
    needs_postgres()
    try:
        redis_package()
        redis_binary()
    except ComponentMissing as error:
        lacks(str(error).partition(" lacks ")[2])
    monkeypatch.setenv("DRDRILL_STATE", str(tmp_path / "state"))
    outcome = drills(DRILLS, "--tb=short", subprocess=True)
    outcome.result.assert_outcomes(failed=4)
    failures = outcome.text.partition("= FAILURES =")[2].partition("= disaster recovery =")[0]
    blocks = re.split(r"\n_+ (\w+) _+\n", failures)
    shown = dict(zip(blocks[1::2], blocks[2::2], strict=True))
    assert list(shown) == list(SAID)
    for name, said in SAID.items():
        frames = re.findall(r"^(\S+\.py):\d+: in ", shown[name], re.MULTILINE)
        assert frames == ["test_it.py"], name
        assert re.search(rf"^E   {said}", shown[name], re.MULTILINE), name
        assert "# the line" in shown[name]
        error = outcome.drills[name]["error"]
        assert re.match(said, error), name
        assert re.search(r"test_it\.py:\d+$", error), name
