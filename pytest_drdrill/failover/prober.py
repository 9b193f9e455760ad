"""One check of one endpoint: the ``Prober`` protocol, and how it is done over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pytest_drdrill.failover.errors import NotMonitoringError
from pytest_drdrill.failover.shortage import refuse_shortage
from pytest_drdrill.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp
    import yarl

    from pytest_drdrill.failover.endpoint import ServiceEndpoint
    from pytest_drdrill.failover.names import NameResolver
    from pytest_drdrill.failover.turns import Turnstile

_BODY_LIMIT = 10_240
_NOT_OPEN = "this prober is not open; a manager opens and closes it"
_KEEP_ALIVE_S = 3_600.0


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one check found.

    Attributes:
        healthy: whether the endpoint answered as a usable one does.
        reason: why not, in a few words; empty for a healthy one.
    """

    healthy: bool
    reason: str = ""


class Prober(Protocol):
    """How a manager asks endpoints for their health.

    A prober belongs to one manager, which opens it, asks it for many endpoints at once, bounds
    each answer by the endpoint's timeout (by cancelling the probe) and closes it.
    """

    async def open(self) -> None:
        """Get ready; called in the loop in which the probes will run."""
        ...

    async def probe(self, endpoint: ServiceEndpoint) -> ProbeResult:
        """Ask one endpoint, once.

        An endpoint that can't be asked is an unhealthy result, or an ``OSError``; one that says
        that this process or machine is out of descriptors or memory is none of the endpoint's, and
        ends the monitoring. So does any other exception, which is a broken prober: no verdict rests
        on it.
        """
        ...

    async def close(self) -> None:
        """Let go of everything; also called after an ``open`` that failed or never came."""
        ...


@runtime_checkable
class PacedProber(Prober, Protocol):
    """A prober with work of its own for each check: of thousands that are due, some must wait."""

    async def take_turn(self) -> None:
        """Wait until one more check can begin; that is nothing of what the check takes."""
        ...


_HEALTHY = ProbeResult(healthy=True)


class HttpProber:
    """Asks endpoints over HTTP, all on one session that keeps its connections alive.

    A ``GET`` of the endpoint's ``health_url`` is healthy when the answer has a 2xx status and
    arrives complete (of a large body: its first 10 KiB) within the timeout. Redirects are not
    followed: a 3xx says that something else would answer. Neither proxies of the environment nor
    cookies are used, and certificates are verified. A name is looked up when a connection is made,
    so one that moves is noticed once the kept connection ends. aiohttp is imported by ``open``.
    """

    __slots__ = ("_names", "_session", "_turns", "_urls")

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._names: NameResolver | None = None
        self._urls: dict[str, yarl.URL] = {}
        self._turns: Turnstile | None = None

    async def open(self) -> None:
        """Make the session."""
        import aiohttp  # 225 ms that only a drill over HTTP should pay

        from pytest_drdrill.failover.names import NameResolver
        from pytest_drdrill.failover.turns import Turnstile

        self._turns = Turnstile()
        self._names = NameResolver()
        self._session = aiohttp.ClientSession(
            # Any number of checks at once, on connections that outlast every sensible interval.
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=_KEEP_ALIVE_S, resolver=self._names
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            # No timeout of aiohttp's own, which it rounds up to whole seconds: the manager's holds.
            timeout=aiohttp.ClientTimeout(),
            headers={"User-Agent": "pytest-drdrill"},
            auto_decompress=False,
        )

    async def take_turn(self) -> None:
        """Wait until one more check can begin."""
        if self._turns is not None:  # else the check says that it is not open
            await self._turns.come_through()

    async def probe(self, endpoint: ServiceEndpoint) -> ProbeResult:
        """Ask one endpoint, once; takes as long as the endpoint does, the caller bounds it.

        Raises:
            MonitorShortageError: this process has no file descriptor left, or the like.
            NotMonitoringError: the prober is not open.
        """
        import aiohttp  # as above
        import yarl

        if self._session is None:
            raise NotMonitoringError(_NOT_OPEN)
        try:
            url = self._urls.get(endpoint.health_url)
            if url is None:
                url = self._urls[endpoint.health_url] = yarl.URL(endpoint.health_url)
            async with self._session.get(url, allow_redirects=False) as response:
                # A connection can only be kept when its answer was read to the end.
                read = 0
                while read < _BODY_LIMIT and (piece := await response.content.readany()):
                    read += len(piece)
                status = response.status
        except aiohttp.ClientResponseError as error:
            # Its own text holds the address, and that may hold a secret.
            return ProbeResult(healthy=False, reason=f"no HTTP answer: {one_line(error.message)}")
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, OSError):
                refuse_shortage(error, endpoint.name)
            return ProbeResult(healthy=False, reason=one_line(str(error) or type(error).__name__))
        except UnicodeError:  # found when the name is looked up
            return ProbeResult(healthy=False, reason="its host name can't be encoded for a look-up")
        if 200 <= status <= 299:  # noqa: PLR2004 - the statuses of success
            return _HEALTHY
        return ProbeResult(healthy=False, reason=f"HTTP status {status}")

    async def hold(self, endpoint: ServiceEndpoint, held: Callable[[], None]) -> str:
        """Hold an idle connection to an endpoint until it is lost; see ``Watcher``.

        Raises:
            NotMonitoringError: the prober is not open.
            OSError: it can't be made.
        """
        from pytest_drdrill.failover.held import hold_connection  # only where one is watched

        if self._names is None:
            raise NotMonitoringError(_NOT_OPEN)
        names = self._names
        await self.take_turn()
        return await hold_connection(endpoint, held, names.addresses)

    async def close(self) -> None:
        """Close the session and its connections; does nothing when there is none."""
        session, self._session, self._names = self._session, None, None
        if session is not None:
            await session.close()
