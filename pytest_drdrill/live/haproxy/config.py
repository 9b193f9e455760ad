"""The config of a scratch HAProxy, as text, made from the endpoints that it stands before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from pytest_drdrill.failover import settings
from pytest_drdrill.failover.presets.haproxy import HAProxyPreset
from pytest_drdrill.live.haproxy.answers import is_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_drdrill.failover.endpoint import ServiceEndpoint

Standby: TypeAlias = Literal["out", "backup", "in"]

BACKEND = "service"
CONNECT = timedelta(milliseconds=250)
"""``timeout connect``, after which a refused connection is tried again, too."""
_WAITING = "server waiting 127.0.0.1:1 backup"
"""Nobody but root can listen on that port. Where no other server is left, HAProxy assigns this one,
which refuses, and so the request waits for another; without it, it is answered with 503 at once."""
_ONCE_ONLY = "http-request disable-l7-retry unless { method GET HEAD OPTIONS PUT DELETE TRACE }"
"""Others, done twice, may do something twice."""


@dataclass(frozen=True, slots=True)
class HAProxySettings:
    """Arguments of an ``HAProxyServer``, checked; see there.

    Attributes:
        endpoints: as given.
        servers: the name of the server of each, by the endpoint's.
        base: the path below which all of them are, empty for none.
    """

    endpoints: tuple[ServiceEndpoint, ...]
    servers: dict[str, str]
    base: str
    standby: Standby
    checks: HAProxyPreset | None
    redispatch: bool
    keep_state: bool
    patience: timedelta
    answer_within: timedelta

    def text(self, port: int, socket: str, state_file: str) -> str:
        """The config.

        Args:
            port: of the loopback, where it listens.
            socket: path of the stats socket.
            state_file: path of the file with the servers' states, if they are kept.
        """
        sections = (
            self._global(socket, state_file),
            self._defaults(),
            ["frontend clients", f"bind 127.0.0.1:{port}", f"default_backend {BACKEND}"],
            self._backend(),
        )
        return "\n".join("\n  ".join(lines) + "\n" for lines in sections)

    def _global(self, socket: str, state_file: str) -> list[str]:
        lines = [
            "global",
            f"stats socket {socket} mode 600 level admin expose-fd listeners",
            # Else it makes room for what the limit of open files admits, which may be a billion.
            "maxconn 4000",
            "nbthread 1",
            "hard-stop-after 5s",
        ]
        if self.keep_state:
            lines.append(f"server-state-file {state_file}")
        return lines

    def _defaults(self) -> list[str]:
        connect = self.checks.timeout_connect if self.checks else None
        connect = connect or CONNECT
        lines = [
            "defaults",
            "mode http",
            f"timeout connect {_ms(connect)}",
            "timeout client 1m",
            f"timeout server {_ms(self.answer_within)}",
        ]
        if self.checks is not None and self.checks.timeout_check is not None:
            lines.append(f"timeout check {_ms(self.checks.timeout_check)}")
        if self.keep_state:
            lines.append("load-server-state-from-file global")
        if not self.redispatch:
            return [*lines, "retries 0"]
        # A refused connection is tried again after `timeout connect`, or a second if that is less.
        pause = min(connect, timedelta(seconds=1))
        return [
            *lines,
            f"retries {math.ceil(self.patience / pause)}",
            "option redispatch 1",
            "retry-on conn-failure empty-response response-timeout",
        ]

    def _backend(self) -> list[str]:
        lines = [f"backend {BACKEND}", "balance roundrobin"]
        if self.redispatch:
            lines.append(_ONCE_ONLY)
        check = ""
        if self.checks is not None:
            path = urlsplit(self.endpoints[0].health_url)
            query = f"?{path.query}" if path.query else ""
            lines.append(f"option httpchk GET {path.path}{query}")
            check = _check(self.checks)
        for place, endpoint in enumerate(self.endpoints):
            word = {"out": " disabled", "backup": " backup", "in": ""}[self.standby]
            host = urlsplit(endpoint.url)
            address = f"{_host(host.hostname or '')}:{host.port or 80}"
            name = self.servers[endpoint.name]
            lines.append(f"server {name} {address}{check}{word if place else ''}")
        if self.redispatch:
            lines.append(_WAITING)
        return lines


def read_settings(  # noqa: PLR0913 - by keyword
    endpoints: Iterable[ServiceEndpoint],
    *,
    standby: Standby,
    checks: HAProxyPreset | None,
    redispatch: bool,
    keep_state: bool,
    patience: str | timedelta,
    answer_within: str | timedelta,
) -> HAProxySettings:
    """Check the arguments of an ``HAProxyServer``.

    Raises:
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: no endpoint, a name used twice, an endpoint that HAProxy can't stand before in
            this way, or a choice or a duration that is none.
    """
    found = tuple(settings.by_preference(endpoints))
    if standby not in get_args(Standby):
        known = ", ".join(repr(each) for each in get_args(Standby))
        raise ValueError(f"standby must be one of {known}, not {standby!r}")
    if checks is not None and not isinstance(checks, HAProxyPreset):
        raise TypeError(f"checks must be an HAProxyPreset or None, not {checks!r}")
    for name, flag in (("redispatch", redispatch), ("keep_state", keep_state)):
        if not isinstance(flag, bool):
            raise TypeError(f"{name} must be True or False, not {flag!r}")
    first = found[0]
    for each in found:
        if urlsplit(each.url).scheme != "http":
            raise ValueError(f"HAProxy stands before http:// endpoints here, not {each.url!r}")
        if urlsplit(each.url).path != urlsplit(first.url).path:
            raise ValueError(
                f"HAProxy keeps the path of a request, so all endpoints need the same one: "
                f"{each.url!r} differs from {first.url!r}"
            )
        if checks and urlsplit(each.health_url)[2:4] != urlsplit(first.health_url)[2:4]:
            raise ValueError(
                "HAProxy checks all servers of a backend with one path: "
                f"{each.health_check_path!r} of {each.name!r} differs from "
                f"{first.health_check_path!r}"
            )
    servers = {
        each.name: each.name if is_name(each.name) else f"server-{place}"
        for place, each in enumerate(found, 1)
    }
    if len({*servers.values(), "waiting"}) <= len(servers):
        raise ValueError(f"the names {list(servers)} can't be those of servers beside 'waiting'")
    return HAProxySettings(
        endpoints=found,
        servers=servers,
        base=urlsplit(first.url).path,
        standby=standby,
        checks=checks,
        redispatch=redispatch,
        keep_state=keep_state,
        patience=settings.duration("patience", patience),
        answer_within=settings.duration("answer_within", answer_within),
    )


def _check(preset: HAProxyPreset) -> str:
    words = [f" check inter {_ms(preset.inter)} fall {preset.fall} rise {preset.rise}"]
    for name, value in (("fastinter", preset.fastinter), ("downinter", preset.downinter)):
        if value is not None:
            words.append(f"{name} {_ms(value)}")
    return " ".join(words)


def _ms(value: timedelta) -> str:
    return f"{max(1, round(value / timedelta(milliseconds=1)))}ms"


def _host(name: str) -> str:
    return f"[{name}]" if ":" in name else name
