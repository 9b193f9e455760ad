"""The newest backup is the one that its name, or failing that its time, says; and it is whole."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from pytest_drdrill import DumpNotFound, DumpUnfinished, latest_backup

QUICK = "1ms"


def made(folder, *names):
    """Files, each changed a minute later than the one before."""
    for number, name in enumerate(names):
        path = folder / name
        path.write_text("x")
        os.utime(path, (60 * number, 60 * number))
    return folder / names[-1]


@pytest.mark.parametrize(
    "names",
    [
        ("shop-2026-03-02.dump", "shop-2026-03-01.dump"),
        ("shop_20260301.dump", "shop_20260228.dump"),
        ("2026.03.01-shop.dump", "2025.12.31-shop.dump"),
        ("shop-20260301T0215.dump", "shop-20260301T0214.dump"),
        ("shop-2026-03-01_02-15-01.dump", "shop-2026-03-01_02-15-00.dump"),
        ("shop-2026-03-01-0000.dump", "shop-2026-02-30-9999.dump"),  # no date
        ("shop-20260301.dump", "shop-120260301.dump"),  # likewise
    ],
)
def test_a_date_in_the_name_comes_before_the_time_of_the_file(tmp_path, names):
    made(tmp_path, *names)  # the other way round in time
    assert latest_backup(tmp_path / "*.dump", watch=QUICK) == tmp_path / names[0]


def test_without_a_date_the_last_changed_is_the_newest(tmp_path):
    last = made(tmp_path, "b.dump", "a.dump")
    assert latest_backup(f"{tmp_path}/*.dump", watch=QUICK) == last


def test_of_one_date_the_last_changed_is_the_newest(tmp_path):
    last = made(tmp_path, "shop-2026-03-01.z.dump", "shop-2026-03-01.a.dump")
    assert latest_backup(f"{tmp_path}/shop-*.dump", watch=QUICK) == last


def test_what_lies_beside_a_backup_is_none(tmp_path):
    made(tmp_path, "a.dump", "a.dump.sha256", "a.dump.recovery-point", "a.dump.asc", "a.dump.log")
    assert latest_backup(f"{tmp_path}/*", watch=QUICK).name == "a.dump"


def test_folders_count_and_so_do_names_below_any_depth(tmp_path, monkeypatch):
    (tmp_path / "2026" / "shop-2026-03-01").mkdir(parents=True)
    (tmp_path / "2026" / "shop-2026-03-01" / "toc.dat").touch()
    monkeypatch.chdir(tmp_path)
    found = latest_backup("**/shop-*", watch=QUICK)
    assert found == tmp_path / "2026" / "shop-2026-03-01"


def test_nothing_that_matches_is_told_with_the_folder_that_is_missing(tmp_path):
    with pytest.raises(DumpNotFound) as caught:
        latest_backup(f"{tmp_path}/*.dump")
    assert str(caught.value) == f"no backup matches '{tmp_path}/*.dump'"
    with pytest.raises(DumpNotFound, match=f"there is no folder {tmp_path}/nightly"):
        latest_backup(f"{tmp_path}/nightly/*/x*.dump")
    (tmp_path / "gone.dump").symlink_to("nowhere")
    with pytest.raises(DumpNotFound):
        latest_backup(f"{tmp_path}/*.dump")
    with pytest.raises(TypeError, match=r"latest_backup\(\) takes a pattern, not 5"):
        latest_backup(5)
    with pytest.raises(ValueError, match="soon"):
        latest_backup("*", watch="soon")


def test_the_newest_is_not_skipped_when_it_is_unfinished(tmp_path):
    made(tmp_path, "shop-2026-03-01.dump", "shop-2026-03-02.dump.part")
    with pytest.raises(DumpUnfinished, match=r"03-02\.dump\.part, is unfinished by its name"):
        latest_backup(f"{tmp_path}/shop-*", watch=QUICK)
    assert latest_backup(f"{tmp_path}/shop-*.dump", watch=QUICK).name == "shop-2026-03-01.dump"


def test_a_directory_dump_without_its_contents_is_unfinished(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "3404.dat.gz").touch()
    with pytest.raises(DumpUnfinished, match=r"has no toc\.dat yet, which pg_dump writes last"):
        latest_backup(f"{tmp_path}/shop", watch=QUICK)


@pytest.mark.parametrize("is_folder", [False, True])
def test_one_that_grows_is_still_being_written(tmp_path, is_folder):
    dump = tmp_path / "shop"
    if is_folder:
        dump.mkdir()
    file = dump / "toc.dat" if is_folder else dump
    file.touch()
    stop = threading.Event()

    def write():
        while not stop.wait(0.001):
            with file.open("a") as opened:
                opened.write("more")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(DumpUnfinished, match=r"being written: (it changed within|process)"):
            latest_backup(dump, watch="500ms")
    finally:
        stop.set()
        writer.join()
    assert latest_backup(dump, watch=QUICK) == dump


@pytest.mark.parametrize("is_folder", [False, True])
def test_one_that_a_process_has_open_is_still_being_written(tmp_path, is_folder):
    dump = tmp_path / "shop"
    if is_folder:
        dump.mkdir()
    code = "import sys; f = open(sys.argv[1], 'ab'); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, dump / "toc.dat" if is_folder else dump]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as writer:
        writer.stdout.readline()
        with pytest.raises(DumpUnfinished, match=f"process {writer.pid} has it open"):
            latest_backup(dump, watch=QUICK)
        writer.stdin.close()
    with (dump / "toc.dat" if is_folder else dump).open("rb"):  # who reads it does no harm
        assert latest_backup(dump, watch=QUICK) == dump
