"""What a canary of Redis is pointed at: scratch servers, an address, or Sentinels by address."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from pytest_drdrill.durations import parse_duration
from pytest_drdrill.live.host_port import HostPort
from pytest_drdrill.live.redis.binaries import redis_package
from pytest_drdrill.live.redis.canary import RedisCanary
from pytest_drdrill.live.redis.lookup import FixedAddress, Login, SentinelLookup
from pytest_drdrill.live.redis.sentinels import RedisSentinels
from pytest_drdrill.live.redis.server import RedisServer

if TYPE_CHECKING:
    from datetime import timedelta

    from pytest_drdrill.live.redis.canary import Lookup

_PORT, _SENTINEL_PORT = 6379, 26379
_WANTED = (
    "redis_canary takes a RedisServer, RedisSentinels, a URL such as "
    "'redis://cache.example.com:6379/0', or addresses of Sentinels such as "
    "['s1.example.com:26379', 's2.example.com:26379'] and their service="
)


def redis_canary(  # noqa: PLR0913 - one target, and settings with defaults, by keyword
    target: RedisServer | RedisSentinels | str | Iterable[str],
    *,
    service: str | None = None,
    wait: int = 0,
    wait_timeout: str | timedelta = "500ms",
    expires: str | timedelta = "1d",
    username: str | None = None,
    password: str | None = None,
    sentinel_username: str | None = None,
    sentinel_password: str | None = None,
    tls: bool = False,
) -> RedisCanary:
    """A client for ``canary``, which writes through a failover of Redis, and reads back.

    Args:
        target: scratch servers of the drill; or where a Redis is that exists without it: a URL,
            ``redis://`` or ``rediss://``, of a server or of what leads to the primary; or addresses
            of Sentinels. What each Sentinel says is followed.
        service: the name of the primary, where the target is addresses of Sentinels.
        wait: how many replicas have to confirm a write before it is acknowledged: ``WAIT``. One
            that fewer have confirmed is indeterminate.
        wait_timeout: for how long they are waited for, less than the canary's own timeout.
        expires: how long a key lives that the drill, killed, could not remove.
        username: of the servers; in a URL, it is there.
        password: likewise; no message and no report shows it.
        sentinel_username: of the Sentinels.
        sentinel_password: likewise.
        tls: speak TLS to servers and Sentinels, as with ``rediss://``.

    Raises:
        ComponentMissing: the Python package ``redis`` is missing: the drill is not verified.
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: an address that is none, or an argument out of range.
    """
    __tracebackhide__ = True
    redis_package()
    if type(wait) is not int or wait < 0:
        raise ValueError("redis_canary(wait=...) takes a whole number, 0 or more")
    lifes = {"wait_timeout": wait_timeout, "expires": expires}
    wait_ms, expires_ms = (_milliseconds(*each) for each in lifes.items())
    logins = Logins(
        Login(_given(username, password), tls=tls),
        Login(_given(sentinel_username, sentinel_password), tls=tls),
    )
    return RedisCanary(
        _lookup(target, service, logins),
        wait=wait,
        wait_ms=wait_ms,
        expires_ms=expires_ms,
        is_scratch=isinstance(target, RedisServer | RedisSentinels),
    )


class Logins(NamedTuple):
    """With what one connects.

    Attributes:
        servers: to the servers.
        sentinels: to the Sentinels.
    """

    servers: Login
    sentinels: Login


def _lookup(target: object, service: str | None, logins: Logins) -> Lookup:
    __tracebackhide__ = True
    if isinstance(target, RedisServer):
        return FixedAddress(_address(target.address, _PORT), logins.servers)
    if isinstance(target, RedisSentinels):
        sentinels = [HostPort(*each) for each in target.addresses]
        return SentinelLookup(sentinels, target.service, logins.servers, logins.sentinels)
    if isinstance(target, str):
        return _at_url(target, logins.servers)
    if not isinstance(target, Iterable):
        raise TypeError(f"{_WANTED}; not a {type(target).__name__}")
    sentinels = [_address(each, _SENTINEL_PORT) for each in target]
    if not sentinels or not service:
        raise ValueError(f"{_WANTED}; here is no {'service' if sentinels else 'address'}")
    return SentinelLookup(sentinels, service, logins.servers, logins.sentinels)


def _at_url(url: str, login: Login) -> FixedAddress:
    """Messages do not show the URL, which may hold a password."""
    __tracebackhide__ = True
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"{_WANTED}; the port of this URL is no number") from None
    database = parts.path.strip("/") or "0"
    if parts.scheme not in {"redis", "rediss"} or not host or parts.query or parts.fragment:
        raise ValueError(f"{_WANTED}; this URL is none of redis:// or rediss:// with a host alone")
    if not database.isdecimal():
        raise ValueError(f"{_WANTED}; the path of a URL is the number of a database")
    settings = {"db": int(database), **_given(parts.username, parts.password, quoted=True)}
    login = login.beside(settings, tls=parts.scheme == "rediss")
    return FixedAddress(HostPort(host, port or _PORT), login)


def _address(text: object, port: int) -> HostPort:
    __tracebackhide__ = True
    if not isinstance(text, str):
        raise TypeError(f"{_WANTED}; an address is text, not a {type(text).__name__}")
    try:
        parts = urlsplit(f"//{text}")
        host, found = parts.hostname, parts.port
    except ValueError:
        host, found = None, None
    if not host or "@" in text or parts.path or parts.query:
        raise ValueError(f"{_WANTED}; an address is a host and a port, no more")
    return HostPort(host, found or port)


def _given(username: str | None, password: str | None, *, quoted: bool = False) -> dict[str, Any]:
    found = {"username": username, "password": password}
    return {name: unquote(each) if quoted else each for name, each in found.items() if each}


def _milliseconds(name: str, value: str | timedelta) -> int:
    __tracebackhide__ = True
    try:
        milliseconds = round(parse_duration(value).total_seconds() * 1000)
    except (TypeError, ValueError) as error:
        raise type(error)(f"redis_canary({name}=...): {error}") from None
    if milliseconds < 1:  # WAIT would take none for ever
        raise ValueError(f"redis_canary({name}=...) must be a millisecond at least")
    return milliseconds
