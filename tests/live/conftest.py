from pathlib import Path

import pytest
from dump_site import Source

from needs import needs_postgres
from pytest_drdrill import restore_dump
from pytest_drdrill.faults.journal import Journal


@pytest.fixture(scope="session")
def postgres_templates(tmp_path_factory):
    """A state folder for the session: initdb runs once in it, and not once a test."""
    return tmp_path_factory.mktemp("postgres-state")


@pytest.fixture
def postgres_state(postgres_templates, monkeypatch):
    """What a test's servers owe is in a journal that no other test has."""
    postgres_templates.chmod(0o700)
    monkeypatch.setenv("DRDRILL_STATE", str(postgres_templates))
    monkeypatch.setattr(Journal, "_own", None)
    return postgres_templates


@pytest.fixture(scope="session")
def postgres_binaries():
    """The PostgreSQL that drills would take; the tests need the driver as well."""
    return needs_postgres()


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """A database with dumps of it; in a journal of its own, since other tests look at theirs."""
    folder = tmp_path_factory.mktemp("dumps")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRDRILL_STATE", str(folder / "state"))
        patch.setattr(Journal, "_own", None)
        source = Source(folder)
    yield source
    source.close()


@pytest.fixture
def restore():
    """Restores dumps, and ends their servers; nothing of them stays."""
    servers = []

    def restored(*arguments, **options):
        server = restore_dump(*arguments, **options)
        servers.append(server)
        return server

    yield restored
    for server in servers:
        folder = server._server.folder
        server.close()
        assert not Path(folder).exists()
