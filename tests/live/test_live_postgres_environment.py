"""What libpq takes from the environment leads no drill to a server that it does not mean."""

from __future__ import annotations

import os

import pytest

from needs import needs_postgres
from pytest_drdrill import PostgresNode, postgres_canary

ELSEWHERE = {
    "PGHOST": "prod.example",
    "PGHOSTADDR": "203.0.113.1",
    "PGPORT": "7777",
    "PGUSER": "nobody",
    "PGDATABASE": "orders",
    "PGPASSWORD": "wrong",
    "PGSSLMODE": "verify-full",
    "PGOPTIONS": "-c no_such_setting=1",
}


@pytest.fixture
def elsewhere(monkeypatch):
    needs_postgres()
    for name, value in ELSEWHERE.items():
        monkeypatch.setenv(name, value)


def test_a_scratch_server_is_the_one_that_is_reached(postgres_state, postgres_binaries, elsewhere):
    import psycopg

    with PostgresNode("primary", binaries=postgres_binaries) as server:
        server.start()
        where = "select inet_server_port(), current_user::text"
        assert server.query(where) == [(server.port, "postgres")]
        for dsn in (server.dsn, server.dsn_with(server)):
            with psycopg.connect(dsn) as connection:
                assert connection.execute(where).fetchall() == [(server.port, "postgres")]
        assert postgres_canary(server).targets == [f"127.0.0.1:{server.port}"]


def test_a_dump_is_restored_into_no_other_server(source, elsewhere):
    with source.server.connect("shop") as connection:
        assert connection.execute("select inet_server_addr()").fetchall() == [(None,)]


@pytest.mark.parametrize(
    ("variables", "dsn", "target"),
    [
        ({"PGHOST": "prod"}, "dbname=x", "prod:5432"),
        ({"PGHOST": "prod"}, "host=db1", "db1:5432"),
        ({"PGHOST": "prod", "PGPORT": "99"}, "", "prod:99"),
        ({"PGHOSTADDR": "10.0.0.9"}, "postgresql://127.0.0.1/x", "10.0.0.9:5432"),
        ({}, "host=127.0.0.1 hostaddr=10.0.0.7", "10.0.0.7:5432"),
        ({}, "service=prod", "10.9.9.9:7777"),
        ({}, "service=prod host=127.0.0.1 port=1", "127.0.0.1:1"),
        ({"PGSERVICE": "prod"}, "dbname=x", "10.9.9.9:7777"),
        ({"PGSERVICE": "other"}, "service=prod", "10.9.9.9:7777"),
        ({"PGSERVICE": "prod"}, "host=127.0.0.1", "127.0.0.1:7777"),
    ],
)
def test_a_canary_names_the_server_that_libpq_would_go_to(
    monkeypatch, tmp_path, variables, dsn, target
):
    needs_postgres()
    (tmp_path / "services").write_text("[prod]\nhost=10.9.9.9\nport=7777\n[other]\nhost=o\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    for name in ("PGSERVICE", *ELSEWHERE):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert postgres_canary(dsn).targets == [target]
    assert os.environ.get("PGSERVICE") == variables.get("PGSERVICE")
