"""What the example drills run on: real files and real processes, all of it scratch."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pytest_drdrill import ServiceEndpoint

HERE = Path(__file__).parent


@pytest.fixture
def library(tmp_path):
    """A copy of the running interpreter's standard library: thousands of real files."""
    copy = tmp_path / "library"
    skip = shutil.ignore_patterns("site-packages", "dist-packages", "__pycache__")
    shutil.copytree(sysconfig.get_paths()["stdlib"], copy, symlinks=True, ignore=skip)
    yield copy
    shutil.rmtree(copy)  # 100 MB that nobody looks at again


@pytest.fixture
def vault(tmp_path):
    """Where backups go; emptied with the drill, since they are as large as what they hold."""
    folder = tmp_path / "vault"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def tree_digest():
    """A function that fingerprints a folder: every name, link, permission and byte in it."""
    return _tree_digest


def _tree_digest(root):
    digest = hashlib.sha256()
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted([*folders, *names]):
            path = Path(folder, name)
            digest.update(f"{path.relative_to(root)!s} {path.lstat().st_mode:o} ".encode())
            if path.is_symlink():
                digest.update(os.fsencode(path.readlink()))
            elif path.is_file():
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@pytest.fixture
def web_servers():
    """A function that starts HTTP servers, each a process of its own, ended with the drill."""
    with ExitStack() as stack:
        yield lambda *names, address="127.0.0.1": [
            stack.enter_context(_web_server(name, address)) for name in names
        ]


class WebServer:
    """A server that runs: its process, to be broken, and its endpoint, to be watched."""

    def __init__(self, process, name, address):
        self.process = process
        self.address = address
        self.endpoint = ServiceEndpoint(name, f"http://{address}", timeout="1s")


@contextmanager
def _web_server(name, address):
    command = [sys.executable, str(HERE / "web_server.py"), name, address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = int(process.stdout.readline())  # printed once it listens
            yield WebServer(process, name, f"{address}:{port}")
        finally:
            process.kill()
