"""One endpoint of a service: where it is, how it is asked for its health, and what it answered."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pytest_drdrill.durations import parse_duration

if TYPE_CHECKING:
    from datetime import timedelta

_UNSAFE = re.compile(r"[\x00-\x20\x7f]")
_URL_FORM = "http://host:port or https://host:port, with or without a path"


class HealthStatus(Enum):
    """What repeated checks say of an endpoint.

    ``UNKNOWN`` until the first successful check, or as many failed ones as the failure threshold.
    """

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ServiceEndpoint:
    """One endpoint of a service.

    Attributes:
        name: what events, messages and the report call it; unique within a manager.
        url: its base, ``http://`` or ``https://``, with or without a port and a path.
        priority: the lower one is preferred. Endpoints without a priority come after those that
            have one; among equals the order in which the manager was given them decides.
        health_check_path: what is asked below the base, ``http://host/base`` and ``/health`` make
            ``http://host/base/health``; it may carry a query.
        timeout: how long one check may take; a manager that checks more often than that cuts it to
            its interval. A timedelta, or a duration such as ``"5s"``.
        health_url: the address that is asked, made from the base and the path.

    Raises:
        TypeError: an argument of another type, or a timeout without a unit.
        ValueError: an empty name, an address or a path that can't be asked, or a timeout that is
            no duration above zero.
    """

    # No slots: a frozen class with slots refuses every attribute of a subclass that has state.
    name: str
    url: str
    priority: int | None = None
    health_check_path: str = "/health"
    timeout: timedelta = "5s"  # type: ignore[assignment] # parsed below; __init__ is typed there
    health_url: str = field(init=False, repr=False, compare=False)

    if TYPE_CHECKING:
        # What a caller may pass; the fields above say what is kept.
        def __init__(
            self,
            name: str,
            url: str,
            priority: int | None = None,
            health_check_path: str = "/health",
            timeout: str | timedelta = "5s",
        ) -> None: ...

    def __post_init__(self) -> None:
        for attribute in ("name", "url", "health_check_path"):
            value = getattr(self, attribute)
            if not isinstance(value, str):
                raise TypeError(f"{attribute} must be text, not {value!r}")
        if not self.name.strip():
            raise ValueError("an endpoint needs a name")
        if self.priority is not None and type(self.priority) is not int:
            raise TypeError(
                f"endpoint {self.name!r}: priority must be a whole number, not {self.priority!r}"
            )
        try:
            timeout = parse_duration(self.timeout)
        except (TypeError, ValueError) as error:
            raise type(error)(f"endpoint {self.name!r}: timeout: {error}") from None
        if not timeout:
            raise ValueError(f"endpoint {self.name!r}: a timeout of zero fails every check")
        object.__setattr__(self, "timeout", timeout)
        try:
            health_url = _joined(self.url, self.health_check_path)
        except ValueError as error:
            raise ValueError(f"endpoint {self.name!r}: {error}") from None
        object.__setattr__(self, "health_url", health_url)


def _joined(url: str, path: str) -> str:
    if _UNSAFE.search(url):
        raise ValueError(f"the url {url!r} holds white space or control characters")
    try:
        parts = urlsplit(url)
        well_formed = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # brackets or a port that are none
        well_formed = False
    if not well_formed:
        raise ValueError(f"{url!r} is no url; write {_URL_FORM}")
    if "?" in url or "#" in url:
        raise ValueError(
            f"the url {url!r} holds a query or a fragment; a query belongs to health_check_path"
        )
    if not path or _UNSAFE.search(path) or "#" in path or "://" in path.partition("?")[0]:
        raise ValueError(f"{path!r} is no path below the url; write one such as '/health'")
    return f"{url.rstrip('/')}/{path.lstrip('/')}"
