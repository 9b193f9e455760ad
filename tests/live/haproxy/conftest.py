import pytest
from haproxy_site import Web

from needs import lacks
from pytest_drdrill import ComponentMissing, HAProxyServer
from pytest_drdrill.faults.journal import Journal
from pytest_drdrill.live.programs import program


@pytest.fixture(autouse=True)
def _ready(tmp_path, monkeypatch):
    monkeypatch.setenv("DRDRILL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(Journal, "_own", None)
    try:
        program("haproxy", "apt-get install haproxy")
    except ComponentMissing:
        lacks("haproxy: apt-get install haproxy")


@pytest.fixture(scope="module")
def _webs():
    started = {}
    yield started
    for each in started.values():
        each.close()


@pytest.fixture
def webs(_webs):
    """Gives web servers by their names; those that a test broke are not used again."""

    def give(*names):
        for name in names:
            if name not in _webs:
                _webs[name] = Web(name)
        return [_webs[name] for name in names]

    yield give
    for name, web in list(_webs.items()):
        if web.is_broken:
            _webs.pop(name).close()


@pytest.fixture
def pair(webs):
    return webs("a", "b")


@pytest.fixture
def before():
    """Puts an HAProxy before some web servers."""
    made = []

    def make(webs, **settings):
        made.append(HAProxyServer([each.endpoint for each in webs], **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()
