"""A canary's client of an HTTP service: one session, whose connections are kept alive."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from pytest_drdrill.live.http_settings import HttpSettings, filled, read_settings, target
from pytest_drdrill.live.outcomes import MaybeWrittenError, NotReadError, NotWrittenError
from pytest_drdrill.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from ssl import SSLContext

    import aiohttp

_AT_ONCE = 16
"""Keys that are read back at the same time."""
_KEEP_ALIVE_S = 3_600.0
_ABSENT = (404, 410)


def http_canary(  # noqa: PLR0913 - all but one have a default
    url: str,
    *,
    method: str = "PUT",
    body: str | Mapping[str, Any] | list[Any] | None = "{value}",
    headers: Mapping[str, str] | None = None,
    read_url: str | None = None,
    list_url: str | None = None,
    value_in: str | Callable[[str], Any] | None = None,
    entries_in: tuple[str, str] | Callable[[str], Any] | None = None,
    acknowledged: Collection[int] | None = None,
    refused: Collection[int] | None = None,
    ssl: SSLContext | bool = True,
) -> HttpClient:
    """A client that writes over HTTP, for ``canary(http_canary(url))``.

    A 2xx other than 202 acknowledges a write, a 4xx refuses it, and so does a connection that can't
    be made. All else leaves its outcome open: a 5xx, a redirect (which is not followed), an answer
    that does not come or breaks off. Where a kept connection turns out to be dead, a write of a
    method that may be repeated, such as PUT, is sent once more on a new one, as HTTP clients do;
    what refuses it then leaves open whether the first one was carried out. Neither proxies of the
    environment nor cookies are used, and a name is looked up whenever a connection is made.

    Values of headers and queries of addresses are in no message.

    Args:
        url: of a write; ``{key}`` stands for its key, which is made of letters, digits and dashes,
            and ``{value}`` for its value, of letters and digits.
        method: of a write.
        body: of a write, with ``{key}`` and ``{value}`` in it; a mapping or list is sent as JSON.
        headers: of all requests, ``{key}`` allowed: ``{"Idempotency-Key": "{key}"}``.
        read_url: what a GET gives the value of a key at; by default the url, where that has
            ``{key}`` in it. 404 and 410 say that there is none.
        list_url: what one GET gives all keys and values at, so that they are not read one by one.
            Like ``read_url``, it may be a path at the host of the url.
        value_in: the name of the field of a JSON object that holds the value, or a function of the
            answer's text that gives it; by default the text is the value.
        entries_in: two names of fields, of the key and of the value, for a JSON list of objects; or
            a function of the list's text; by default that is a JSON object, or a list of pairs.
        acknowledged: statuses that confirm a write, instead of those above.
        refused: statuses that say it was not done, instead of those above.
        ssl: a context, or False for no check of certificates.

    Raises:
        TypeError: an argument of another type.
        ValueError: an address that can't be asked, or what makes no sense together.
    """
    __tracebackhide__ = True
    return HttpClient(
        read_settings(
            url=url,
            method=method,
            body=body,
            headers={} if headers is None else headers,
            read_url=read_url,
            list_url=list_url,
            value_in=value_in,
            entries_in=entries_in,
            acknowledged=acknowledged,
            refused=refused,
            ssl=ssl,
        )
    )


class HttpClient:
    """See ``http_canary``; it belongs to one event loop.

    Attributes:
        targets: host and port of all that it asks.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self.targets = settings.targets
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._keys: dict[str, None] = {}

    def __repr__(self) -> str:
        return f"http_canary({self._settings.shown!r})"

    async def write(self, key: str, value: str, /) -> None:
        """Write.

        Raises:
            NotWrittenError: it was refused, or nobody could be asked.
            MaybeWrittenError: it may have been carried out.
        """
        settings = self._settings
        self._keys[key] = None
        sent: list[None] = []
        body = None if settings.body is None else filled(settings.body, key, value).encode()
        try:
            status, _ = await self._ask(
                settings.method,
                filled(settings.url, key, value),
                data=body,
                headers={
                    name: filled(each, key, value) for name, each in settings.templates.items()
                },
                trace_request_ctx=sent,
            )
        except OSError as error:
            what = MaybeWrittenError if sent else NotWrittenError
            raise what(settings.scrub(str(error))) from None
        if status in settings.acknowledged:
            return
        text = f"HTTP status {status} of {target(settings.url)}"
        # The second of two may be refused just because the first was carried out.
        if status in settings.refused and len(sent) == 1:
            raise NotWrittenError(text)
        raise MaybeWrittenError(text)

    async def read(self, key: str, /) -> Any:
        """The value of a key, or None where there is none.

        Raises:
            NotReadError: there was no answer, or one that is not understood.
        """
        if self._settings.read_url is None:
            raise NotReadError("http_canary(...) was given no read_url, so no key can be read")
        text = await self._get(filled(self._settings.read_url, key))
        return None if text is None else self._found(self._settings.value_in, text, "value_in")

    async def read_all(self) -> Any:
        """All keys and values, of one list or of each key that was written.

        Raises:
            NotReadError: there was no answer, or one that is not understood.
        """
        settings = self._settings
        if settings.list_url is None:
            return await self._read_each(list(self._keys))
        text = await self._get(settings.list_url)
        if text is None:
            raise NotReadError(f"{target(settings.list_url)} has no list at list_url (404)")
        return self._found(settings.entries_in, text, "entries_in")

    async def close(self) -> None:
        """Close its connections; again, nothing happens."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _read_each(self, keys: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        left = iter(keys)

        async def read_some() -> None:
            for key in left:
                if (value := await self.read(key)) is not None:
                    found[key] = value

        readers = [asyncio.create_task(read_some()) for _ in range(min(_AT_ONCE, len(keys)))]
        try:
            await asyncio.gather(*readers)
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
        return found

    async def _get(self, url: str) -> str | None:
        """The text at an address, or None where there is nothing."""
        settings = self._settings
        try:
            status, text = await self._ask("GET", url)
        except OSError as error:
            raise NotReadError(settings.scrub(str(error))) from None
        if status in _ABSENT:
            return None
        if not 200 <= status <= 299:  # noqa: PLR2004 - the statuses of success
            raise NotReadError(f"HTTP status {status} of {target(url)} to a GET")
        return text

    def _found(self, parse: Callable[[str], Any], text: str, which: str) -> Any:
        try:
            return parse(text)
        except (ValueError, LookupError, TypeError) as error:
            why = f"{type(error).__name__}: {error}"
            raise NotReadError(
                f"http_canary({which}=...) finds nothing in an answer of {len(text)} characters: "
                f"{one_line(self._settings.scrub(why), 200)}"
            ) from None

    async def _ask(self, method: str, url: str, **how: Any) -> tuple[int, str]:
        """Status and text of an answer.

        Raises:
            OSError: there was none that was complete.
        """
        import aiohttp  # 225 ms that only a drill over HTTP should pay

        session = self._open()
        try:
            async with session.request(method, url, allow_redirects=False, **how) as answer:
                return answer.status, (await answer.read()).decode("utf-8", "replace")
        except aiohttp.ClientConnectorError as error:
            raise OSError(f"can't connect to {target(url)}: {_reason(error.os_error)}") from error
        except aiohttp.ClientResponseError as error:  # whose text holds the whole address
            raise OSError(f"no HTTP answer of {target(url)}: {one_line(error.message)}") from error
        except UnicodeError as error:  # found when the name is looked up
            raise OSError(f"{target(url)} has a name that can't be looked up") from error
        except (aiohttp.ClientError, OSError) as error:
            raise OSError(f"no answer of {target(url)}: {_reason(error)}") from error

    def _open(self) -> aiohttp.ClientSession:
        """The session, made in the loop in which it is first used."""
        if self._session is not None:
            return self._session
        if self._closed:
            raise RuntimeError("an http_canary(...) is for one canary, whose end has closed it")
        import aiohttp  # as above

        from pytest_drdrill.failover.names import NameResolver

        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_note_sent)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # the canary says how many are under way
                keepalive_timeout=_KEEP_ALIVE_S,
                resolver=NameResolver(),
                use_dns_cache=False,
                ssl=self._settings.ssl,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            # No timeout of aiohttp's own, which it rounds up to whole seconds: the canary's holds.
            timeout=aiohttp.ClientTimeout(),
            headers={
                "User-Agent": "pytest-drdrill",
                "Accept-Encoding": "identity",
                **self._settings.headers,
            },
            trace_configs=[trace],
        )
        return self._session


async def _note_sent(_: object, context: Any, __: object) -> None:
    """A request begins to be sent; a second time where it is sent once more."""
    if context.trace_request_ctx is not None:
        context.trace_request_ctx.append(None)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno:
        # Of a failed connection aiohttp gives the address where the reason belongs.
        return os.strerror(error.errno) if error.errno > 0 else one_line(error.strerror)
    return one_line(str(error) or type(error).__name__)
