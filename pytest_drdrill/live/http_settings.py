"""How a canary writes over HTTP, checked: addresses, templates, and what statuses say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_drdrill.redact import keep_secret
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    from ssl import SSLContext

_UNSAFE = re.compile(r"[\x00-\x20\x7f]")
_NO_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORM = "http://host:port/path or https://host:port/path"
_KEY, _VALUE = "{key}", "{value}"
_LOWEST, _HIGHEST = 200, 599
ACKNOWLEDGED = frozenset(range(200, 300)) - {202}
"""Statuses of success; but 202 says that the work is yet to be done, be it that it fails."""
REFUSED = frozenset(range(400, 500))
"""Statuses that blame the request. What is of neither kind leaves its outcome open: an error of a
server, or of what stands before it, can come after the work was done, and so can a redirect."""
_LEAST_SECRET = 4
_LOGS_IN = re.compile("auth|cookie|key|secret|token", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class HttpSettings:
    """Arguments of ``http_canary``; see there.

    Attributes:
        url: of a write, a template.
        method: of a write.
        body: of a write, a template, or None.
        headers: of every request, those that are the same each time.
        templates: headers that are not.
        read_url: a template; of reading a key.
        list_url: of reading all, or None.
        value_in: gives the value in the text of an answer.
        entries_in: gives the keys and values in the text of a list.
        acknowledged: statuses that confirm a write.
        refused: statuses that refuse one.
        ssl: as given.
    """

    url: str
    method: str
    body: str | None
    headers: Mapping[str, str]
    templates: Mapping[str, str]
    read_url: str | None
    list_url: str | None
    value_in: Callable[[str], Any]
    entries_in: Callable[[str], Any]
    acknowledged: frozenset[int]
    refused: frozenset[int]
    ssl: SSLContext | bool

    @property
    def targets(self) -> tuple[str, ...]:
        """Host and port of all addresses, each once."""
        urls = [each for each in (self.url, self.read_url, self.list_url) if each is not None]
        return tuple(dict.fromkeys(target(each) for each in urls))

    @property
    def shown(self) -> str:
        """What it does, without what may be a secret: headers, and the query of the address."""
        return f"{self.method} {self.url.partition('?')[0]}"

    def scrub(self, text: str) -> str:
        """A text without the values of headers and the queries of addresses."""
        urls = [each for each in (self.url, self.read_url, self.list_url) if each is not None]
        queries = [each.partition("?")[2] for each in urls]
        for secret in (*self.headers.values(), *self.templates.values(), *queries):
            # Of "Bearer TOKEN" the token alone as well; nothing so short as to be in every text.
            for part in (secret, *re.split(r"[\s&=]+", secret)):
                if len(part) >= _LEAST_SECRET:
                    text = text.replace(part, "***")
        return text


def read_settings(  # noqa: PLR0913 - wired once, by keyword
    *,
    url: str,
    method: str,
    body: object,
    headers: Mapping[str, str],
    read_url: str | None,
    list_url: str | None,
    value_in: str | Callable[[str], Any] | None,
    entries_in: tuple[str, str] | Callable[[str], Any] | None,
    acknowledged: Collection[int] | None,
    refused: Collection[int] | None,
    ssl: SSLContext | bool,
) -> HttpSettings:
    """Check the arguments of ``http_canary``.

    Raises:
        TypeError: an argument of another type.
        ValueError: an address that can't be asked, or what makes no sense together.
    """
    __tracebackhide__ = True
    origin = _check_url("url", url)
    text, kind = _body(body)
    fixed, templates = _headers(headers, kind)
    if not any(_KEY in each for each in (url, text or "", *templates.values())):
        raise ValueError(
            "http_canary(...): every write would be the same; put {key} into the url, the body or "
            "a header"
        )
    others = {}
    for name, value in (("read_url", read_url), ("list_url", list_url)):
        if isinstance(value, str) and value.startswith("/"):
            value = origin + value  # noqa: PLW2901 - the same address, written in full
        if value is not None:
            _check_url(name, value)
        others[name] = value
    if others["read_url"] is None and _KEY in url and _VALUE not in url:
        others["read_url"] = url
    _check_reading(**others)
    right = _statuses("acknowledged", acknowledged, ACKNOWLEDGED)
    wrong = _statuses("refused", refused, REFUSED - right)
    if both := sorted(right & wrong):
        raise ValueError(f"http_canary(...): status {both[0]} can't both acknowledge and refuse")
    keep_secret(*_secrets({**fixed, **templates}, (url, *others.values())))
    return HttpSettings(
        url=url,
        method=_method(method),
        body=text,
        headers=fixed,
        templates=templates,
        **others,
        value_in=_value_in(value_in),
        entries_in=_entries_in(entries_in),
        acknowledged=right,
        refused=wrong - right,
        ssl=_ssl(ssl),
    )


def _secrets(headers: Mapping[str, str], urls: Iterable[str | None]) -> Iterator[str]:
    """What headers of a log-in hold, and the values of queries."""
    for name, value in headers.items():
        if _LOGS_IN.search(name):
            yield value
            yield value.split(" ")[-1]  # of "Bearer TOKEN" the token alone as well
    for url in urls:
        for pair in (url or "").partition("?")[2].split("&"):
            yield pair.partition("=")[2]


def filled(template: str, key: str, value: str = "") -> str:
    """A template with its key and value; both are letters, digits and dashes alone."""
    return template.replace(_KEY, key).replace(_VALUE, value)


def target(url: str) -> str:
    """Host and port of an address."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    shown_host = f"[{host}]" if ":" in host else host
    return f"{shown_host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _check_url(name: str, url: object) -> str:
    """Check an address, and give its origin; no message shows it, for it may hold a secret."""
    __tracebackhide__ = True
    if not isinstance(url, str):
        raise TypeError(f"http_canary({name}=...) takes a text, not {type(url).__name__}")
    try:
        parts = urlsplit(url)
        well_formed = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # brackets or a port that are none
        well_formed = False
    if not well_formed or _UNSAFE.search(url) or "#" in url:
        raise ValueError(f"http_canary({name}=...) is no address; write {_FORM}")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            f"http_canary({name}=...) holds a user or a password; give an Authorization header in "
            "headers=, which is never shown"
        )
    if _KEY in parts.netloc or (_VALUE in url and name != "url"):
        raise ValueError(
            f"http_canary({name}=...) has a key in the name of its host, or a value, which is what "
            "is read"
        )
    return f"{parts.scheme}://{parts.netloc}"


def _check_reading(*, read_url: str | None, list_url: str | None) -> None:
    __tracebackhide__ = True
    if read_url is None and list_url is None:
        raise ValueError(
            "http_canary(...): nothing says how to read back; give read_url with {key} in it, or "
            "list_url"
        )
    if read_url is not None and _KEY not in read_url:
        raise ValueError("http_canary(read_url=...) needs {key} in it; what lists all is list_url")
    if list_url is not None and _KEY in list_url:
        raise ValueError("http_canary(list_url=...) lists all keys; with {key} in it is read_url")


def _method(method: object) -> str:
    __tracebackhide__ = True
    if not isinstance(method, str) or not _TOKEN.fullmatch(method):
        raise ValueError(f"http_canary(method={shown(method)}) is no method; write PUT or POST")
    return method.upper()


def _body(body: object) -> tuple[str | None, str | None]:
    """The template of a body, and its type."""
    __tracebackhide__ = True
    if body is None:
        return None, None
    if isinstance(body, str):
        return body, "text/plain; charset=utf-8"
    if isinstance(body, Mapping | list):
        return json.dumps(dict(body) if isinstance(body, Mapping) else body), "application/json"
    raise TypeError(
        f"http_canary(body=...) takes a text, or a mapping or list for JSON, not "
        f"{type(body).__name__}"
    )


def _headers(headers: object, kind: str | None) -> tuple[dict[str, str], dict[str, str]]:
    """Headers that are the same for each request, and those that are not."""
    __tracebackhide__ = True
    if not isinstance(headers, Mapping):
        raise TypeError(f"http_canary(headers=...) takes a mapping, not {type(headers).__name__}")
    fixed: dict[str, str] = {}
    templates: dict[str, str] = {}
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ValueError(f"http_canary(headers=...): {shown(name)} is no name of a header")
        if not isinstance(value, str) or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
            raise ValueError(
                f"http_canary(headers=...): the value of {name} is no text of one line"
            )
        (templates if _KEY in value or _VALUE in value else fixed)[name] = value
    if kind is not None and "content-type" not in {name.lower() for name in headers}:
        fixed["Content-Type"] = kind
    return fixed, templates


def _statuses(name: str, given: object, default: frozenset[int]) -> frozenset[int]:
    __tracebackhide__ = True
    if given is None:
        return default
    right = isinstance(given, Collection) and all(
        type(each) is int and _LOWEST <= each <= _HIGHEST for each in given
    )
    if not right:
        raise ValueError(
            f"http_canary({name}={shown(given)}) takes statuses, such as (200, 201) or "
            "range(200, 300)"
        )
    return frozenset(given)  # type: ignore[call-overload, no-any-return] # checked just now


def _ssl(given: object) -> SSLContext | bool:
    __tracebackhide__ = True
    if isinstance(given, bool):
        return given
    from ssl import SSLContext  # only where one was made

    if isinstance(given, SSLContext):
        return given
    raise TypeError(f"http_canary(ssl=...) takes an SSLContext or False, not {shown(given)}")


def _value_in(given: object) -> Callable[[str], Any]:
    __tracebackhide__ = True
    if given is None:
        return str
    if isinstance(given, str):
        return lambda text: json.loads(text)[given]
    if callable(given):
        return given
    raise TypeError(
        f"http_canary(value_in={shown(given)}) takes the name of a field of a JSON object, or a "
        "function of the answer's text"
    )


def _entries_in(given: object) -> Callable[[str], Any]:
    __tracebackhide__ = True
    if given is None:
        return json.loads  # an object, or a list of pairs
    if callable(given):
        return given
    if isinstance(given, tuple) and [type(each) for each in given] == [str, str]:
        key, value = given
        return lambda text: [(each[key], each[value]) for each in json.loads(text)]
    raise TypeError(
        f"http_canary(entries_in={shown(given)}) takes two names, of the fields with the key and "
        "the value, or a function of the answer's text"
    )
