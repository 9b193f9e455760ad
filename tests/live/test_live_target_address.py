"""Addresses of live systems: every form that people write, and no secret in any message."""

from __future__ import annotations

import pytest

from needs import needs_postgres
from pytest_drdrill import http_canary, postgres_canary, redact, redis_canary
from pytest_drdrill.live.host_port import read_host_port
from pytest_drdrill.live.target import Declared
from pytest_drdrill.live.target_address import TargetAddress, read_addresses
from pytest_drdrill.redact import secrets_of, without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("db.staging", "db.staging"),
        (" DB.Staging.:5432 ", "db.staging:5432"),
        ("10.1.2.3:6379", "10.1.2.3:6379"),
        ("::1", "::1"),
        ("[::1]:5432", "[::1]:5432"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("postgresql://app:s3cret@db.staging/orders", "db.staging:5432"),
        ("postgresql+psycopg://app:s3cret@db.staging:6432/orders", "db.staging:6432"),
        ("postgresql://a:s3cret@db1,db2:5433/x", "db1:5432 db2:5433"),
        ("redis://:s3cret@[::1]:7000/0", "[::1]:7000"),
        ("https://shop.staging/health", "shop.staging:443"),
        ("ftp://shop.staging", "shop.staging"),
        ("host=db1,db2 port=5433 password='s3 cret'", "db1:5433 db2:5433"),
        ("host=db1,db2 port=1,2", "db1:1 db2:2"),
        ("hostaddr=10.0.0.1 host=db user=x", "10.0.0.1:5432"),
        ("/srv/orders/", "/srv/orders"),
        ("/srv/../srv/orders", "/srv/orders"),
        ("file:///srv/orders", "/srv/orders"),
    ],
)
def test_every_form_is_read(text, shown):
    assert " ".join(map(str, read_addresses(text))) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "db staging",
        "db:port",
        "db:0",
        "db:70000",
        "-db",
        "[db]:1",
        "[::1]5432",
        "app:s3cret@db",
        "postgresql:///orders?password=s3cret",
        "postgresql://app:s3cret@/orders",
        "postgresql://app:s3cret@[db/orders",
        "postgresql://app:s3cret@d b/orders",
        "host=/run/postgresql password=s3cret",
        "password=s3cret",
        "host=a,b port=1,2,3 password=s3cret",
    ],
)
def test_what_is_no_address_is_one_sentence_without_its_secret(text):
    with pytest.raises(ValueError, match=r"write|hosts and") as caught:
        read_addresses(text)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_links_to_a_folder_are_the_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert read_addresses(str(tmp_path / "link")) == read_addresses(str(tmp_path / "real"))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_loopback_is_this_machine(host):
    assert TargetAddress(host).is_loopback
    assert not TargetAddress("10.0.0.1").is_loopback


@pytest.mark.parametrize(
    "text",
    [
        'connection to "postgresql://app:s3cret@db/x" failed',
        "user=app password=s3cret host=db",
        "PGPASSWORD=s3cret",
        "password: s3cret",
        "redis://:s3cret@db",
        "https://x/?token=s3cret&y=1",
        "password='s3cret two'",
    ],
)
def test_what_looks_like_a_password_is_left_out(text):
    shown = without_secrets(text)
    assert "s3cret" not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    "text",
    [
        "connect to 'postgresql://app:pa/s3cret@db1,db2/x'",
        "{'user': 'app', 'password': 's3cret two', 'port': 1}",
        "Authorization: Bearer s3cret",
        "ALTER ROLE app PASSWORD 's3cret'",
        'Connection(password = "s3cret")',
        "PGPASSWORD=s3cret psql",
    ],
)
def test_what_a_traceback_shows_of_a_password_is_left_out(text):
    assert "s3cret" not in without_secrets(text)


@pytest.mark.parametrize(
    "text",
    [
        "assert token == 5",
        "assert password != other",
        "if secret:\n    go()",
        "password authentication failed for user app",
        "http://127.0.0.1:80/x and me@example.org",
    ],
)
def test_what_holds_no_secret_stays_as_it_is(text):
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("postgresql://app:s3%20cret@db/x", ("s3%20cret",)),
        ("redis://:s3cret@db,db2", ("s3cret",)),
        ("postgresql://db/x?user=u&password=s3cret", ("u", "s3cret")),
        ("host=db password='s3 cret' user=x", ("s3 cret",)),
        ("https://db/x", ()),
        ("db:5432", ()),
    ],
)
def test_the_passwords_of_an_address_are_found(text, secrets):
    assert secrets_of(text) == secrets


@pytest.fixture
def known(monkeypatch):
    """What other tests have made known stays out."""
    monkeypatch.setattr(redact, "_known", set())
    redact._pattern.cache_clear()
    yield redact.keep_secret
    redact._pattern.cache_clear()


@pytest.mark.parametrize(
    "given",
    [
        lambda: Declared("postgresql://app:s3cret@db/x", "is paused", "resuming it"),
        lambda: postgres_canary("host=db user=app password=s3cret"),
        lambda: redis_canary("redis://:s3cret@db"),
        lambda: redis_canary("redis://db", password="s3cret"),
        lambda: redis_canary(["db:1"], service="x", sentinel_password="s3cret"),
        lambda: http_canary("http://db/{key}", headers={"Authorization": "Bearer s3cret"}),
        lambda: http_canary("http://db/{key}?sig=s3cret"),
        lambda: http_canary("http://db/{key}", headers={"X-Api-Key": "s3cret"}),
    ],
)
def test_whatever_takes_a_password_makes_it_known(known, given):
    needs_postgres()
    assert redact.without_secrets("it is s3cret") == "it is s3cret"
    given()
    assert redact.without_secrets("it is s3cret") == "it is ***"


@pytest.mark.parametrize(
    "text", ["app:s3cret@db:5432", "redis://app:s3cret@db:5432", "app:s3cret@"]
)
def test_an_address_that_holds_more_than_that_is_not_shown(text):
    for given in ((text,), (text, 5432)):
        with pytest.raises(ValueError, match="not shown") as caught:
            read_host_port(*given)
        assert "s3cret" not in str(caught.value)


def test_what_is_known_to_be_secret_is_left_out_in_every_form(known):
    secret = "s3 cr/et\\'"
    known(secret, None, "", "abc", "postgres", "whole")
    for text in (f"x={secret}", f"{[secret]}", "u:s3%20cr%2Fet%5C%27", "a whole, b"):
        assert "***" in redact.without_secrets(text), text
        assert "cr" not in redact.without_secrets(text)
    twice = repr(repr(secret))
    cut = f"x='s3 cr...' y='...r/et{secret[-2:]}'"
    for text in (twice, cut):
        assert "r" not in redact.without_secrets(text), text
    stays = "abc postgres wholesale unwhole"
    assert redact.without_secrets(stays) == stays
