"""Faults that take something of the machine: small disks, control groups, strace."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from needs import lacks, needs
from pytest_drdrill import FaultError, FaultInjector, FaultNotPermitted, PreconditionNotMet
from pytest_drdrill.faults import cgroups, disks, fsync, mounting, throttle
from pytest_drdrill.faults.journal import Journal
from pytest_drdrill.faults.names import format_size, parse_size
from pytest_drdrill.mounts import mounts_of_disk

SPINS = "print(flush=True)\nwhile True: pass"


@pytest.fixture
def scratch(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def told():
    return []


@pytest.fixture
def faults(scratch, told):
    injector = FaultInjector([scratch], announce=lambda *event: told.append(event))
    yield injector
    injector.stack.undo_all()
    assert not Journal.own().path.exists()


@pytest.fixture
def permitted(faults):
    def permitted(name):
        if (why := faults.permits(name)) is not None:
            lacks(f"what {name} takes: {why}")

    return permitted


def mounted(path):
    return str(path) in [
        line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()
    ]


# -- small disks -------------------------------------------------------------------------------


@pytest.fixture
def disk(faults, permitted):
    permitted("small_disk")
    return faults.small_disk("64KiB")


def test_disk_is_scratch_of_a_limited_size_for_everybody(faults, disk, told):
    assert mounted(disk.path)
    assert mounts_of_disk(disk) == [str(disk.path)]
    assert (disk.size, disk.path.stat().st_mode & 0o7777) == (1 << 16, 0o1777)
    (disk.path / "a").write_bytes(bytes(60_000))
    with pytest.raises(OSError, match="No space left"):
        (disk.path / "b").write_bytes(bytes(6_000))
    faults.truncate_file(disk.path / "a", 10)
    faults.delete_files(disk.path / "a")
    assert told[0] == ("scratch", f"made a disk of 64 KiB at {disk.path}")
    assert disk.undoable
    disk.undo()
    disk.undo()
    assert told[-1] == ("scratch removed", told[0][1])
    assert not mounted(disk.path)
    assert not disk.path.exists()


def test_disk_in_use_is_unmounted_all_the_same(disk):
    with disk, (disk.path / "a").open("wb") as file:
        file.write(b"x")
        os.chdir(disk.path)
        os.chdir("/")
        disk.undo()
        assert not disk.path.exists()


def test_disk_that_grows_takes_more(disk, told):
    disk.grow("128KiB")
    (disk.path / "a").write_bytes(bytes(100_000))
    assert disk.size == 1 << 17
    assert told[-1] == ("scratch", f"the disk at {disk.path} has 128 KiB now")
    with pytest.raises(FaultError, match=f"{disk.path} did not get a size of 4 KiB: Invalid argum"):
        disk.grow(4096)
    assert disk.size == 1 << 17


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (0, "size must be above 0: of a disk in memory, 0 means no limit"),
        ("1 PB", "size must be a number of bytes, or a text as '64MiB'"),
        ("999999GiB", "takes more than half of the memory that is available"),
    ],
)
def test_disk_of_no_size(faults, permitted, size, message):
    permitted("small_disk")
    with pytest.raises(FaultError, match=message):
        faults.small_disk(size)


def test_mount_that_the_kernel_refuses_leaves_no_folder(faults, permitted, monkeypatch, told):
    permitted("small_disk")
    made = []

    def refuse(folder, size):
        made.append(Path(folder))
        raise PermissionError(1, "Operation not permitted", str(folder))

    monkeypatch.setattr(mounting, "mount_memory", refuse)
    with pytest.raises(FaultError, match=r"no disk could be mounted: .*: Operation not permitted"):
        faults.small_disk(4096)
    assert [folder.exists() for folder in made] == [False]
    assert told == []


def test_disk_needs_the_right_to_mount(faults, users_folder, as_user):
    with as_user():
        message = "small_disk is not permitted on this machine: it mounts a file system, which tak"
        with pytest.raises(FaultNotPermitted, match=message) as caught:
            FaultInjector([users_folder]).small_disk(4096)
        assert "run the tests as root" in faults.permits("small_disk")
    assert isinstance(caught.value, PreconditionNotMet)
    assert isinstance(caught.value, FaultError)


def test_who_maps_themselves_to_root_may_mount(tmp_path):
    unshare = needs("unshare", "util-linux")
    program = """
from pytest_drdrill import FaultInjector
with FaultInjector([]).small_disk(4096) as disk: (disk.path / "a").touch()
"""
    done = subprocess.run(
        [unshare, "--user", "--map-root-user", "--mount", sys.executable, "-c", program],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "DRDRILL_STATE": str(tmp_path / "s")},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr:
        lacks("user namespaces for ordinary users")
    assert (done.returncode, done.stderr) == (0, "")


# -- full disks --------------------------------------------------------------------------------


@pytest.mark.parametrize(("free", "left"), [(0, 0), (4096, 4096), ("20KiB", 20480), (1, 0)])
def test_disk_is_full_until_the_space_is_given_back(faults, disk, told, free, left):
    (disk.path / "sub").mkdir()
    fault = faults.fill_disk(disk.path / "sub", free=free)
    assert disks._free_bytes(disk.path) == left
    assert told[-1] == ("fault", f"filled the disk of {disk.path}/sub: {format_size(left)} left")
    with pytest.raises(OSError, match="No space left"):
        (disk.path / "a").write_bytes(bytes(left + 1))
    fault.undo()
    (disk.path / "a").write_bytes(bytes(50_000))
    assert list((disk.path / "sub").iterdir()) == []


def test_disk_that_is_full_is_not_filled(faults, disk, told):
    (disk.path / "a").write_bytes(bytes(1 << 16))
    count = len(told)
    for free in (0, "1MiB"):
        with pytest.raises(FaultError, match="has 0 B free already, so there is nothing to fill"):
            faults.fill_disk(disk, free=free)
    assert [each.name for each in disk.path.iterdir()] == ["a"]
    assert len(told) == count


def test_disk_of_the_machine_is_never_filled(faults, scratch, tmp_path, told):
    for folder in (scratch, tmp_path, "/", "/dev/shm"):
        with pytest.raises(FaultError, match="disk that is not this drill's own, mounted at /"):
            faults.fill_disk(folder)
    with pytest.raises(FaultError, match="is no folder, so it lies on no disk that could be"):
        faults.fill_disk(scratch / "nothing")
    assert told == []


def test_disk_that_is_mounted_elsewhere_too_is_not_filled(faults, disk, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run(["mount", "--bind", disk.path, elsewhere], check=True)
    try:
        with pytest.raises(FaultError, match=f"not this drill's own, mounted at {elsewhere}"):
            faults.fill_disk(disk)
    finally:
        subprocess.run(["umount", elsewhere], check=True)
    faults.fill_disk(disk)


# -- processor time ----------------------------------------------------------------------------


@pytest.fixture
def spinner():
    with subprocess.Popen([sys.executable, "-c", SPINS], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_slowed_process_gets_its_share_and_no_more(faults, permitted, spinner, told):
    permitted("slow_process")
    before = cgroups.hierarchy().group_of(spinner.pid)
    fault = faults.slow_process(spinner, 0.02)
    group = cgroups.hierarchy().group_of(spinner.pid)
    assert group != before
    assert told == [("fault", f"slowed process {spinner.pid} and its tree down to 0.02 of a core")]
    # The kernel has held it back, which it counts: no clock of ours.
    while not throttled(group):
        pass
    fault.undo()
    assert cgroups.hierarchy().group_of(spinner.pid) == before
    assert not group.exists()


def throttled(group):
    counts = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
    return int(counts["nr_throttled"])


FORKS = """
import os, sys
os.fork()
print(flush=True)
for line in sys.stdin:
    if os.fork() == 0: print(os.getpid(), flush=True)
"""


def test_tree_is_slowed_and_so_is_who_joins_it(faults, permitted):
    permitted("slow_process")
    command = [sys.executable, "-c", FORKS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        for _ in range(2):
            parent.stdout.readline()
        faults.slow_process(parent)
        group = cgroups.hierarchy().group_of(parent.pid)
        assert len((group / "cgroup.procs").read_text().split()) == 2
        parent.stdin.write(b"go\n")
        parent.stdin.flush()
        late = int(parent.stdout.readline())
        assert cgroups.hierarchy().group_of(late) == group
        faults.stack.undo_all()
        assert not group.exists()
        parent.stdin.close()


def test_slowed_process_that_was_killed_needs_no_undo(faults, permitted, spinner):
    permitted("slow_process")
    faults.slow_process(spinner)
    group = cgroups.hierarchy().group_of(spinner.pid)
    faults.kill_process(spinner)
    faults.stack.undo_all()
    assert not group.exists()


@pytest.mark.parametrize("share", [0, -1, "half", None, True, float("nan")])
def test_share_that_is_none(faults, spinner, share):
    with pytest.raises(FaultError, match=r"cpu must be a share of a core above 0, as 0.1 for"):
        faults.slow_process(spinner, share)


def test_slow_process_needs_groups_that_we_may_make(users_folder, as_user, spinner):
    with as_user():
        faults = FaultInjector([])
        with pytest.raises(FaultNotPermitted, match="slow_process is not permitted on"):
            faults.slow_process(spinner)
        assert "run the tests as root" in faults.permits("slow_process")


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ("cgroup {0}/v1 cgroup rw,cpu,cpuacct 0 0", ("v1", 1)),
        ("cgroup2 {0}/v2 cgroup2 rw 0 0\ncgroup {0}/v1 cgroup rw,cpu 0 0", ("v1", 1)),
        ("cgroup2 {0}/v2 cgroup2 rw,nsdelegate 0 0", ("v2", 2)),
        ("cgroup2 {0}/off cgroup2 rw 0 0", "as root, echo +cpu > {0}/off/cgroup.subtree_control"),
        ("cgroup {0}/v1 cgroup rw,memory 0 0", "no control group hierarchy is mounted"),
        (None, "this system has no control groups"),
    ],
)
def test_hierarchy_is_found_in_the_table_of_mounts(tmp_path, mounts, expected):
    for name, controllers in (("v1", ""), ("v2", "cpu memory"), ("off", "memory")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.subtree_control").write_text(controllers)
    table = tmp_path / "mounts"
    if mounts is not None:
        table.write_text(mounts.format(tmp_path))
    found = cgroups.hierarchy(table)
    if isinstance(expected, str):
        assert expected.format(tmp_path) in found
    else:
        assert found == (tmp_path / expected[0], expected[1])


def test_limit_of_version_2_is_one_line(tmp_path):
    (tmp_path / "cpu.max").touch()
    cgroups.Hierarchy(tmp_path, 2).limit(tmp_path, 0.25)
    assert (tmp_path / "cpu.max").read_text() == "25000 100000"


# -- fsync -------------------------------------------------------------------------------------

SYNCS = """
import os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
print(os.getpid(), flush=True)
for call in (os.fsync, os.fsync, os.fdatasync, os.write):
    try:
        call(file) if call is not os.write else call(file, b"x")
        print("works", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["Input/output error"] * 3),
        ({"after": 1, "calls": ["fsync"]}, ["works", "Input/output error", "works"]),
        (
            {"error": "ENOSPC", "calls": ["fdatasync"]},
            ["works", "works", "No space left on device"],
        ),
    ],
)
def test_fsync_fails_as_asked_and_nothing_else_does(faults, told, tmp_path, options, expected):
    needs("strace")
    command = [*faults.failing_fsync(**options), sys.executable, "-c", SYNCS, tmp_path / "file"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        lines = [child.stdout.readline().strip() for _ in range(5)]
        assert lines == [str(child.pid), *expected, "works"]
        faults.pause_process(child).undo()
        child.communicate("", timeout=60)
    assert child.returncode == 0
    assert "in a program that is started next" in told[0][1]


def test_killed_program_takes_strace_with_it(faults, tmp_path):
    needs("strace")
    command = [*faults.failing_fsync(), sys.executable, "-c", SYNCS, tmp_path / "file"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        status = Path(f"/proc/{child.pid}/status").read_text().splitlines()
        (strace,) = [int(line.split()[1]) for line in status if line.startswith("TracerPid")]
        assert strace
        faults.kill_process(child)
        child.stdout.read()  # which strace holds open, too
    assert child.returncode == -9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calls": ["open"]}, r"calls must be some of fsync, .* not \['open'\]"),
        ({"calls": "fsync"}, "calls must be some of fsync, .* not 'fsync'"),
        ({"calls": []}, r"calls must be some of fsync, .* not \[\]"),
        ({"error": "EWHAT"}, "error must be the name of one, as EIO or ENOSPC, not 'EWHAT'"),
        ({"after": -1}, "after must be a whole number from 0 on, not -1"),
    ],
)
def test_fsync_that_can_not_be_asked_for(faults, told, options, message):
    with pytest.raises(FaultError, match=message):
        faults.failing_fsync(**options)
    assert told == []


@pytest.mark.parametrize("how", ["missing", "forbidden", "broken"])
def test_fsync_needs_strace(faults, tmp_path, monkeypatch, how):
    fsync.obstacle.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    if how != "missing":
        strace = tmp_path / "strace"
        strace.write_text(
            "#!/bin/sh\necho no ptrace here >&2\nexit 1" if how == "forbidden" else ""
        )
        strace.chmod(0o755)
    words = {
        "missing": "strace is not on this machine; install it: apt-get install strace",
        "forbidden": "strace may not trace processes here: no ptrace here",
        "broken": "strace can't be run: ",
    }
    with pytest.raises(FaultNotPermitted, match=words[how]):
        faults.failing_fsync()
    monkeypatch.undo()
    fsync.obstacle.cache_clear()


# -- what is permitted, and sizes ----------------------------------------------------------------


def test_permits_answers_for_every_fault_and_no_other(faults):
    names = [name for name in dir(FaultInjector) if not name.startswith("_") and name != "permits"]
    for name in names:
        assert faults.permits(name) is None or "\n" not in faults.permits(name)
    for name in ("permits", "_own", "fill", "", None):
        with pytest.raises(FaultError, match="is no fault; faults: delete_files, encrypt_files"):
            faults.permits(name)


def test_every_fault_says_its_type_of_disaster():
    types = ("`natural`", "`technical`", "`human_error`", "`security`", "`infrastructure`")
    for name in dir(FaultInjector):
        if not name.startswith("_") and name != "permits":
            text = getattr(FaultInjector, name).__doc__
            assert any(each in text for each in types), name


def test_no_group_is_left_by_a_throttle_that_the_kernel_refuses(faults, permitted, spinner):
    permitted("slow_process")
    slow = throttle.Throttle(spinner, 0.5)
    slow._hierarchy.root.joinpath(slow._group.name).mkdir()
    with pytest.raises(FaultError, match=r"was not slowed down: .*File exists"):
        slow.strike()
    slow.undo()
    assert not slow._group.exists()


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("64KiB", 1 << 16), ("1 GiB", 1 << 30), ("3kB", 3000), ("2MB", 2_000_000), (7, 7)],
)
def test_sizes(text, size):
    assert parse_size("size", text) == size


@pytest.mark.parametrize(
    "value", ["", "5", "MiB", "1.5MiB", "5 kb", "-1B", "٣B", -1, True, 1.0, None]
)
def test_what_is_no_size(value):
    with pytest.raises(FaultError, match="free must be a number of bytes, or a text as '64MiB'"):
        parse_size("free", value)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 40, "1024 GiB")]
)
def test_sizes_as_people_read_them(size, text):
    assert format_size(size) == text
