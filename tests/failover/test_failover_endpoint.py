"""Endpoints and settings: what they accept, and the sentence for what they don't."""

import asyncio
import subprocess
import sys
from datetime import timedelta

import pytest

import pytest_drdrill.failover as room
from pytest_drdrill.failover import FailoverManager, HealthStatus, ServiceEndpoint

A = ServiceEndpoint("a", "http://a.test")
B = ServiceEndpoint("b", "http://b.test")


def test_an_endpoint_has_the_defaults_of_the_design():
    endpoint = ServiceEndpoint("api", "https://api.test")
    assert endpoint.priority is None
    assert endpoint.health_check_path == "/health"
    assert endpoint.timeout == timedelta(seconds=5)
    assert [status.value for status in HealthStatus] == ["healthy", "unhealthy", "unknown"]


@pytest.mark.parametrize(
    ("url", "path", "joined"),
    [
        ("http://a.test", "/health", "http://a.test/health"),
        ("http://a.test/", "/health", "http://a.test/health"),
        ("http://a.test:8080/base", "/health", "http://a.test:8080/base/health"),
        ("http://a.test/base/", "live/deep", "http://a.test/base/live/deep"),
        ("https://[::1]:8443", "/health?deep=1", "https://[::1]:8443/health?deep=1"),
        ("http://a.test", "/", "http://a.test/"),
        ("http://a.test", "/to?url=http://b", "http://a.test/to?url=http://b"),
    ],
)
def test_the_health_url_is_the_base_and_the_path(url, path, joined):
    assert ServiceEndpoint("a", url, health_check_path=path).health_url == joined


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"name": " "}, ValueError, "needs a name"),
        ({"name": 3}, TypeError, "name must be text, not 3"),
        ({"url": None}, TypeError, "url must be text, not None"),
        ({"url": "a.test"}, ValueError, "'a.test' is no url"),
        ({"url": "ftp://a.test"}, ValueError, "is no url"),
        ({"url": "http://"}, ValueError, "is no url"),
        ({"url": "http://a.test:port"}, ValueError, "is no url"),
        ({"url": "http://a.test:99999"}, ValueError, "is no url"),
        ({"url": "http://a.test:0"}, ValueError, "is no url"),
        ({"url": "http://[::1"}, ValueError, "is no url"),
        ({"url": "http://a.test/a b"}, ValueError, "white space"),
        ({"url": "http://a.test\r\nX: y"}, ValueError, "white space or control"),
        ({"url": "http://a.test?x=1"}, ValueError, "query or a fragment"),
        ({"url": "http://a.test#x"}, ValueError, "query or a fragment"),
        ({"health_check_path": ""}, ValueError, "'' is no path"),
        ({"health_check_path": "/a b"}, ValueError, "is no path"),
        ({"health_check_path": "/a#b"}, ValueError, "is no path"),
        ({"health_check_path": "http://b.test/"}, ValueError, "is no path"),
        ({"priority": "1"}, TypeError, "priority must be a whole number"),
        ({"priority": True}, TypeError, "priority must be a whole number"),
        ({"timeout": 5}, TypeError, "endpoint 'a': timeout: 5 has no unit"),
        ({"timeout": "soon"}, ValueError, "endpoint 'a': timeout: 'soon' is no duration"),
        ({"timeout": "0s"}, ValueError, "a timeout of zero"),
    ],
)
def test_a_bad_endpoint_is_one_clear_sentence(changes, error, message):
    with pytest.raises(error) as caught:
        ServiceEndpoint(**{"name": "a", "url": "http://a.test", **changes})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_endpoint_is_a_value_and_a_subclass_may_have_state():
    assert ServiceEndpoint("a", "http://a.test") == A
    assert len({A, ServiceEndpoint("a", "http://a.test")}) == 1
    with pytest.raises(AttributeError):
        A.url = "http://b.test"

    class Stateful(ServiceEndpoint):
        def fail(self):
            self.failing = True

    stateful = Stateful("a", "http://a.test")
    stateful.fail()
    assert stateful.failing
    assert FailoverManager([stateful]).get_active_endpoint() is stateful


@pytest.mark.parametrize(
    ("endpoints", "settings", "error", "message"),
    [
        ([], {}, ValueError, "at least one endpoint"),
        (A, {}, TypeError, "must be a list of ServiceEndpoint"),
        ("ab", {}, TypeError, "must be a list of ServiceEndpoint"),
        (["http://a.test"], {}, TypeError, "it holds 'http://a.test'"),
        ([A, ServiceEndpoint("a", "http://c.test")], {}, ValueError, "two endpoints are named 'a'"),
        ([A], {"failure_threshold": 0}, ValueError, "failure_threshold must be at least 1"),
        ([A], {"failure_threshold": 2.5}, TypeError, "failure_threshold must be a whole number"),
        ([A], {"failure_threshold": True}, TypeError, "failure_threshold must be a whole number"),
        ([A], {"recovery_threshold": -1}, ValueError, "recovery_threshold must be at least 1"),
        ([A], {"check_interval": 30}, TypeError, "check_interval: 30 has no unit"),
        ([A], {"check_interval": "often"}, ValueError, "check_interval: 'often' is no duration"),
        ([A], {"check_interval": "0s"}, ValueError, "check_interval must be above zero"),
        ([A], {"jitter": "31s"}, ValueError, "jitter of 31s is longer than the check_interval"),
        (
            [A],
            {"fast_interval": "31s"},
            ValueError,
            "fast_interval of 31s is longer than the check",
        ),
        ([A], {"fast_interval": "0s"}, ValueError, "fast_interval must be above zero"),
        ([A], {"flap_damping": "15m"}, TypeError, "flap_damping must be a FlapDamping, not '15m'"),
        ([A], {"failback": "later"}, ValueError, "'automatic', 'delayed', 'manual', not 'later'"),
        ([A], {"failback": "delayed"}, ValueError, "needs a failback_delay"),
        ([A], {"failback_delay": "5m"}, ValueError, "no meaning with failback='automatic'"),
        (
            [A],
            {"failback": "delayed", "failback_delay": "0s"},
            ValueError,
            "failback_delay must be above zero",
        ),
    ],
)
def test_a_bad_setting_is_one_clear_sentence(endpoints, settings, error, message):
    with pytest.raises(error) as caught:
        FailoverManager(endpoints, **settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lower_priority_is_preferred_and_unset_ones_follow_in_their_order():
    def named(name, priority=None):
        return ServiceEndpoint(name, "http://a.test", priority)

    def order(*endpoints):
        return "".join(each.name for each in FailoverManager(endpoints).endpoints)

    assert order(named("a", 2), named("b", 1)) == "ba"
    assert order(named("a"), named("b")) == "ab"
    assert order(named("b"), named("a")) == "ba"
    assert order(named("a"), named("b", 9), named("c"), named("d", -1), named("e", 9)) == "dbeac"


def test_the_preferred_endpoint_is_active_from_the_start_and_unknown():
    manager = FailoverManager([ServiceEndpoint("a", "http://a.test", 2), B, A][:2])
    assert manager.get_active_endpoint().name == "a"
    assert manager.get_endpoint_status("a") is HealthStatus.UNKNOWN
    assert manager.get_endpoint_status(B) is HealthStatus.UNKNOWN
    assert not manager.is_monitoring
    with pytest.raises(ValueError, match="'c' is none of this manager's endpoints: a, b"):
        manager.get_endpoint_status("c")
    with pytest.raises(TypeError, match="must be callable"):
        manager.add_failover_callback("log it")


def test_without_a_running_loop_the_error_says_so():
    manager = FailoverManager([A, B])
    with pytest.raises(room.NotMonitoringError, match="without a running asyncio event loop"):
        manager.start_monitoring().send(None)
    assert not manager.is_monitoring
    asyncio.run(manager.stop_monitoring())


def test_the_exports_are_all_there_is_and_each_is_documented():
    assert room.__all__ == sorted(room.__all__)
    homes = [name for names in room._HOMES.values() for name in names]
    assert sorted(homes) == sorted(room.__all__)
    assert set(room.__all__) <= set(dir(room))
    for name in room.__all__:
        value = getattr(room, name)
        assert value.__doc__, name
        for member, inner in vars(value).items():
            if not member.startswith("_") and callable(inner):
                assert inner.__doc__, f"{name}.{member}"
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        room.Nothing  # noqa: B018 - the access is the test


def test_nothing_heavy_loads_before_it_is_used():
    code = """
import sys
def loaded(*names): return [name for name in names if name in sys.modules]
import pytest_drdrill.failover as room
assert not loaded("asyncio", "ssl", "aiohttp", "pytest", "hypothesis")
room.ServiceEndpoint("a", "http://a.test"), room.HttpProber(), room.FailoverError
assert not loaded("asyncio", "ssl", "aiohttp", "pytest", "hypothesis")
room.FailoverManager([room.ServiceEndpoint("a", "http://a.test")])
assert not loaded("aiohttp", "pytest", "hypothesis")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
