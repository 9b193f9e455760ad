"""Real web servers and a real HAProxy before them; a client that counts what failed."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp

from pytest_drdrill import ScratchServer, ServiceEndpoint
from pytest_drdrill.live.account import server_account
from pytest_drdrill.live.programs import program

SERVER = Path(__file__).parents[3] / "example_drills" / "web_server.py"


class Web:
    """A web server that says its name: a process of its own, to be broken."""

    def __init__(self, name):
        command = [sys.executable, str(SERVER), name]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        self.is_broken = False
        self.endpoint = ServiceEndpoint(name, f"http://127.0.0.1:{self.port}", timeout="1s")

    def kill(self):
        self.is_broken = True
        self.process.kill()
        self.process.wait(timeout=30)

    def pause(self):
        self.is_broken = True
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        self.kill()
        self.process.stdout.close()


class Load:
    """Clients that request over and over while the block lasts; each answer, and each failure."""

    def __init__(self, url, clients=4):
        self.url = url
        self.clients = clients
        self.answers = []
        self.failures = []
        self._asked = []  # the look during which each answer was asked for
        self._look = 0
        self._tasks = []

    async def __aenter__(self):
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self.clients)]
        return self

    async def __aexit__(self, *_):
        for each in self._tasks:
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    async def _work(self):
        while True:
            look = self._look
            try:
                async with self._session.get(self.url) as answer:
                    text = await answer.text()
                    if answer.status == 200:
                        self.answers.append(text)
                        self._asked.append(look)
                    else:
                        self.failures.append(answer.status)
            except aiohttp.ClientError as error:
                self.failures.append(error)
            await asyncio.sleep(0.001)

    async def until(self, holds):
        async with asyncio.timeout(30):
            while not holds(self):  # noqa: ASYNC110 - told by nobody
                await asyncio.sleep(0.002)

    async def serves(self, name):
        """Until whoever asks from now on is answered by this one alone."""
        begun = len(self.answers)
        await self.until(lambda load: load.answers[begun:].count(name) >= 2 * load.clients)
        return self.answers[-1] == name

    async def serving(self, count=40):
        """The names that answer as many requests, all of which are asked from now on.

        Other clients beside these would take turns with them, and could take all of one server's.
        """
        self._look += 1
        await self.until(lambda load: load._asked.count(load._look) >= count)
        pairs = zip(self.answers, self._asked, strict=True)
        return {name for name, look in pairs if look == self._look}


async def request(url, method="GET"):
    """Status and text of one request."""
    limit = aiohttp.ClientTimeout(total=20)
    async with (
        aiohttp.ClientSession(timeout=limit) as session,
        session.request(method, url) as answer,
    ):
        return answer.status, await answer.text()


async def names(url, count=12):
    """Who answers so many requests, each on a connection of its own."""
    return {(await request(url))[1] for _ in range(count)}


@contextlib.contextmanager
def haproxy_of(config):
    """An HAProxy with a config of the test's own, in which ``{folder}`` is its folder."""
    with ScratchServer("haproxy", server_account("haproxy")) as server:
        path = server.folder / "haproxy.cfg"
        path.write_text(config.replace("{folder}", str(server.folder)))
        path.chmod(0o644)
        command = [program("haproxy", "apt-get install haproxy"), "-db", "-f", str(path)]
        server.start(command, (server.folder / "ready.sock").exists)
        yield server


class Relay:
    """Between a switch and HAProxy: hands answers on, the n-th only once ``go`` is set.

    What begins with what it ``swallows`` it does not hand on, and acknowledges.
    """

    def __init__(self, path, target, held=0, swallows=None):
        self.path = path
        self.target = target
        self.held = held
        self.swallows = swallows
        self.go = asyncio.Event()
        self.holds = asyncio.Event()

    async def __aenter__(self):
        self._links = set()
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_):
        self.go.set()
        self._server.close()
        await asyncio.gather(*self._links)

    async def _serve(self, reader, writer):
        self._links.add(asyncio.current_task())
        link, out = await asyncio.open_unix_connection(self.target)
        count = 0
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while line := await reader.readline():
                answer = b"\n> "
                if self.swallows is None or not line.startswith(self.swallows):
                    out.write(line)
                    answer = await link.readuntil(b"\n> ")
                count += 1
                if count == self.held:
                    self.holds.set()
                    await self.go.wait()
                writer.write(answer)
        for each in (writer, out):
            each.close()
            with contextlib.suppress(OSError):
                await each.wait_closed()
