"""No password is in anything that pytest, or a report, shows of a drill that fails."""

from __future__ import annotations

import json

import pytest

from needs import needs_postgres

SECRET = "s3cretZZ9"
QUOTED = "p%40ss%20w0rd'Z"
LEAKY = """
import psycopg

pytestmark = [pytest.mark.rto("1m"), pytest.mark.rpo("0s")]
URL = os.environ["ORDERS"]
NOBODY = "127.0.0.1:1"

def connect(dsn, **more):
    text = f"connecting to {dsn}"
    print(text)
    return psycopg.connect(dsn, connect_timeout=1, **more)

def test_chain(drill):
    drill.note(f"against {URL}")
    drill.event("connect", URL)
    drill.finding(f"{URL} is open to all")
    try:
        connect(URL)
    except Exception as error:
        raise RuntimeError(f"no way to {URL}") from error

def test_words(drill, caplog):
    import logging
    logging.getLogger("app").warning("dsn %s", URL)
    connect(f"host=127.0.0.1 port=1 user=app", password=os.environ["PGPASSWORD"])

def test_value(rto_timer):
    client = postgres_canary(URL)
    given = os.environ["ORDERS_PASSWORD"]
    assert client is None, given

def test_compared():
    options = {"user": "app", "password": os.environ["ORDERS_PASSWORD"]}
    assert options == {"user": "app"}

def test_redis(fault_proxy):
    redis_canary(f"redis://app:{os.environ['PGPASSWORD']}@127.0.0.1:99999/0")

def test_sentinels():
    redis_canary([f"app:{os.environ['PGPASSWORD']}@127.0.0.1"], service="x")

def test_http():
    client = http_canary("http://127.0.0.1:1/{key}?sig=" + os.environ["PGPASSWORD"])
    raise RuntimeError(os.environ["PGPASSWORD"])

def test_environment(): raise RuntimeError(os.environ["APP_TOKEN"])
def test_proxy(fault_proxy): fault_proxy(f"app:{os.environ['PGPASSWORD']}@127.0.0.1:5432")
def test_dump(postgres_restore): postgres_restore(URL)
def test_words_for_a_dump(postgres_restore):
    postgres_restore(f"host=db password={os.environ['PGPASSWORD']}")
def test_pattern(): latest_backup(URL)
def test_skipped(): pytest.skip(f"{URL} is away")
def test_expected():
    pytest.xfail(f"{URL} is away")

@pytest.fixture
def broken():
    yield
    connect(URL)

def test_undo(broken): pass
"""


@pytest.mark.parametrize(
    "how",
    [
        (),
        ("--tb=long", "-l", "--full-trace", "-rA"),
        ("--tb=native", "-n2"),
        ("--tb=short", "-l", "-vv", "--reruns=1"),
    ],
    ids=["plain", "full", "native", "rerun"],
)
def test_no_password_is_shown(drills, pytester, monkeypatch, how):
    needs_postgres()
    monkeypatch.setenv("ORDERS", f"postgresql://app:{QUOTED}@127.0.0.1:1/orders")
    monkeypatch.setenv("ORDERS_PASSWORD", "p@ss w0rd'Z")
    monkeypatch.setenv("PGPASSWORD", SECRET)
    monkeypatch.setenv("APP_TOKEN", f"{SECRET}too")
    outputs = ("--dr-report=it.md", "--html=it.html", "--self-contained-html", "--junitxml=it.xml")
    outcome = drills(LEAKY, *outputs, *how, mode="n0")
    verdicts = outcome.verdicts
    assert verdicts.pop("test_skipped") == "not_verified"
    assert verdicts.pop("test_expected") == "known_broken"
    assert set(verdicts.values()) == {"failed"}
    shown = {"terminal": outcome.text, "json": json.dumps(outcome.record)}
    shown |= {kind: (pytester.path / f"it.{kind}").read_text() for kind in ("md", "html", "xml")}
    for name, text in shown.items():
        for secret in (SECRET, QUOTED, "p@ss w0rd", "w0rd"):
            at = text.find(secret)
            assert at < 0, (name, text[max(0, at - 300) : at + 100])
        assert "***" in text
        assert "test_chain" in text
    # What is no secret is still there.
    assert "no way to postgresql://***@127.0.0.1:1/orders" in outcome.text
    assert outcome.drills["test_chain"]["notes"] == ["against postgresql://***@127.0.0.1:1/orders"]
    assert "a dump is named by its path, not an address" in outcome.drills["test_dump"]["error"]


LIVE = """
@pytest.mark.dr_service("orders")
@pytest.mark.dr_live(max_outage="1m")
@pytest.mark.dr_live_target("$ORDERS", breaks="is paused", undone_by="resuming it")
def test_it(live_target):
    given = live_target("$ORDERS").dsn
    raise RuntimeError(given)
"""


def test_the_address_of_a_live_system_is_not_shown_either(drills, monkeypatch, tmp_path):
    monkeypatch.setenv("DRDRILL_STATE", str(tmp_path))
    monkeypatch.setenv("ORDERS", f"postgresql://app:{QUOTED}@127.0.0.1:1/orders?token={SECRET}")
    options = ("--dr-live", "-o", "dr_live_targets=127.0.0.1", "-l", "--full-trace")
    outcome = drills(LIVE, *options)
    assert outcome.verdicts == {"test_it": "failed"}
    assert "RuntimeError: postgresql://***@127.0.0.1:1/orders?token=***" in outcome.text
    for secret in (SECRET, QUOTED):
        assert secret not in outcome.text + json.dumps(outcome.record)


def test_a_drill_without_a_secret_is_shown_as_ever(drills):
    source = """
@pytest.mark.dr_service("x")
def test_it():
    total = {"orders": 1, "url": "http://127.0.0.1:80/orders"}
    assert total == {"orders": 2}
"""
    outcome = drills(source, "-l")
    assert "'url': 'http://127.0.0.1:80/orders'" in outcome.text
    assert "***" not in outcome.text
