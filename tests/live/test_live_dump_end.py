"""A restore that does not come to its end leaves nothing: no process, and no folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from dump_site import copied

from needs import lacks
from pytest_drdrill import RestoreFailed
from pytest_drdrill.faults.journal import recover
from pytest_drdrill.faults.tree import process_id
from pytest_drdrill.live.account import server_account


@pytest.fixture
def small_disk(request, monkeypatch):
    """The folder of temporary files is a disk of 96 MB, which a new server nearly fills."""
    size = getattr(request, "param", "96m")
    # Short, since a socket lies below it, and one that an ordinary user may enter.
    path = Path(tempfile.mkdtemp(prefix="drdrill-small-"))
    command = shutil.which("mount")
    arguments = ["-t", "tmpfs", "-o", f"size={size},mode=1777", "tmpfs", path]
    if not command or subprocess.run([command, *arguments], check=False).returncode:
        path.rmdir()
        lacks("the right to mount")
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    yield path
    subprocess.run(["umount", path], check=True)
    path.rmdir()


@pytest.mark.parametrize("kind", ["plain", "custom"])
def test_a_full_disk_in_the_middle_of_a_restore_is_told_and_given_back(
    source, restore, small_disk, kind
):
    source.make(
        f"large {kind}",
        "CREATE TABLE a AS SELECT repeat(md5(i::text), 30) FROM generate_series(1, 70000) AS i",
    )
    options = ("-Fc",) if kind == "custom" else ()
    dump = source.dump(f"large.{kind}", *options, database=f"large {kind}")
    with pytest.raises(RestoreFailed) as caught:
        restore(dump)
    assert str(caught.value) == (
        "the disk was full in the middle of the restore: the scratch server's data are below "
        f"{small_disk}; set TMPDIR to a folder with more room"
    )
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("small_disk", ["16m"], indirect=True)
def test_a_disk_that_has_no_room_for_a_server_is_told(source, restore, small_disk):
    with pytest.raises(RestoreFailed, match=f"the disk was full .* below {small_disk}; set TMPDIR"):
        restore(source.of_kind("custom"))
    assert list(small_disk.iterdir()) == []


RESTORE = """
import sys
from pytest_drdrill import restore_dump
from pytest_drdrill.live.dumps import catalog

def reached(self, *arguments):
    print(self._connection.info.host, flush=True)
    sys.stdin.read()

catalog.Catalog.check = reached
try:
    restore_dump(sys.argv[1])
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_restore_leaves_nothing(source, tmp_path, number):
    environment = os.environ | {"DRDRILL_STATE": str(tmp_path / "state")}
    command = [sys.executable, "-c", RESTORE, source.of_kind("custom")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as run:
        folder = Path(run.stdout.readline().strip())
        server = process_id(int((folder / "data" / "postmaster.pid").read_text().split()[0]))
        assert server.is_alive
        run.send_signal(number)
        said = run.stdout.read()
    if number == signal.SIGKILL:  # the next run finds it in the journal
        assert recover(tmp_path / "state" / "journal").failed == ()
    else:
        assert said == "interrupted\n"
    patience = time.monotonic() + 30
    while server.is_alive or folder.exists():  # the guardian may be at it as well
        assert time.monotonic() < patience
        time.sleep(0.002)


def test_a_server_that_dies_is_no_fault_of_the_dump(source, restore, tmp_path, monkeypatch):
    dump = copied(source.of_kind("plain"), tmp_path)
    text = dump.read_bytes()
    # A statement that ends its own server, as a lack of memory would.
    suicide = b"SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid());\n"
    dump.write_bytes(text.replace(b"SET row_security = off;\n", suicide))
    with pytest.raises(RestoreFailed, match=r"the scratch server gave up at line \d+ of the dump"):
        restore(dump)


def test_no_secret_is_in_the_process_list_or_the_log(source, restore):
    restored = restore(source.of_kind("custom"))
    assert server_account("postgres").uid
    log = Path(restored._server.folder, "log").read_text()
    assert "STATEMENT" not in log
    with pytest.raises(Exception, match="does not exist"):
        restored.query("SELECT 'hunter2' FROM nowhere")
    assert "hunter2" not in Path(restored._server.folder, "log").read_text()
