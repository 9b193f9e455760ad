from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import sample_records as samples

from pytest_drdrill.report import files
from pytest_drdrill.report.files import (
    ReportError,
    ReportFormatError,
    ReportWriteError,
    check_target,
    dumps,
    render,
    write,
)


def test_json_is_readable_and_ends_with_a_line_end() -> None:
    text = dumps(samples.record(run=samples.run(host={"name": "größe"})))
    assert text.endswith("}\n")
    assert "größe" in text
    record = samples.rich()
    assert json.loads(dumps(record)) == record
    lines = dumps(record).split("\n")
    assert (
        sum(json.loads(line.rstrip(","))["nodeid"] != "" for line in lines if "nodeid" in line) == 4
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_what_it_can_not_hold(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        dumps(samples.record([samples.drill(duration_s=value)]))


def test_a_surrogate_behind_a_backslash_stays_valid_json() -> None:
    text = dumps(samples.record(run=samples.run(id="\\\udc80\\")))
    assert json.loads(text.encode("utf-8"))["run"]["id"] == "\\\\udc80\\"


def test_the_suffix_names_the_format() -> None:
    record = samples.all_green()
    assert render(record, "a/b.json") == dumps(record)
    assert render(record, Path("B.JSON")) == dumps(record)
    assert render(record, "b.md").startswith("## ")


@pytest.mark.parametrize("name", ["report.txt", "report", ".json", "a.json.gz"])
def test_an_unknown_suffix_is_one_sentence_with_the_known_ones(name: str, tmp_path: Path) -> None:
    with pytest.raises(ReportFormatError, match=r"known are \.json, \.md$") as caught:
        check_target(tmp_path / "new" / name)
    assert name in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert not (tmp_path / "new").exists()


def test_a_good_target_is_prepared_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    check_target(tmp_path / "a" / "b" / "r.json")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    old = tmp_path / "old.md"
    old.write_text("old")
    check_target(old)
    assert old.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "old.md"]


def bad_targets(folder: Path) -> dict[str, tuple[Path, str]]:
    (folder / "file").write_text("")
    (folder / "folder.json").mkdir()
    (folder / "device.json").symlink_to("/dev/full")
    (folder / "loop.json").symlink_to(folder / "loop.json")
    return {
        "it is a folder": (folder / "folder.json", "it is a folder"),
        "below a file": (folder / "file" / "sub" / "r.json", "not a directory"),
        "no place for files": (Path("/proc/r.json"), "no such file or directory"),
        "no place for folders": (Path("/proc/new/r.json"), "no such file or directory"),
        "a device": (folder / "device.json", "it is no regular file"),
        "a name too long": (folder / ("n" * 300 + ".json"), "file name too long"),
        "a zero byte": (folder / "a\0b.json", "null"),
        "a loop": (folder / "loop.json", "too many levels of symbolic links"),
    }


@pytest.mark.parametrize("case", bad_targets(Path(tempfile.mkdtemp())))
def test_a_bad_target_is_one_sentence(case: str, tmp_path: Path) -> None:
    path, reason = bad_targets(tmp_path)[case]
    before = sorted(tmp_path.rglob("*"))
    for attempt in (check_target, lambda path: write(path, "text")):
        with pytest.raises(ReportWriteError, match=reason) as caught:
            attempt(path)
        message = str(caught.value)
        assert message.startswith("can't write the DR report /")
        assert "\n" not in message
        assert "\0" not in message
        assert isinstance(caught.value, OSError)
        assert isinstance(caught.value, ReportError)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_without_permission() -> None:
    nobody = 65534
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        root = os.geteuid() == 0
        if root:  # who may write everywhere, so somebody else tries
            os.seteuid(nobody)
        try:
            with pytest.raises(ReportWriteError, match="permission denied"):
                check_target(Path(name) / "r.json")
            with pytest.raises(ReportWriteError, match="permission denied"):
                check_target(Path(name) / "new" / "r.json")
        finally:
            if root:
                os.seteuid(0)
            Path(name).chmod(0o755)
        assert list(Path(name).iterdir()) == []


def test_write_replaces_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.json"
    write(path, "one\n")
    assert path.read_bytes() == b"one\n"
    write(str(path), "größe\n")
    assert path.read_text("utf-8") == "größe\n"
    assert [entry.name for entry in path.parent.iterdir()] == ["r.json"]


def test_write_keeps_the_permissions_of_the_old_file_and_the_umask_of_a_new_one(
    tmp_path: Path,
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text("secret")
    old.chmod(0o600)
    before = os.umask(0o027)
    try:
        write(old, "text")
        write(new, "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE(old.stat().st_mode) == 0o600
    assert stat.S_IMODE(new.stat().st_mode) == 0o640


def test_write_goes_through_a_link(tmp_path: Path) -> None:
    link = tmp_path / "latest.json"
    link.symlink_to(tmp_path / "run-1.json")
    write(link, "text")
    assert link.is_symlink()
    assert (tmp_path / "run-1.json").read_text() == "text"


def test_a_lone_surrogate_does_not_lose_the_report(tmp_path: Path) -> None:
    write(tmp_path / "r.md", "a\udc80b")
    assert (tmp_path / "r.md").read_text("utf-8") == "a\\udc80b"


@pytest.mark.parametrize("step", ["fsync", "replace", "fchmod"])
def test_a_failure_at_any_step_keeps_the_old_file(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "r.json"
    path.write_text("old")
    monkeypatch.setattr(Path if step == "replace" else files.os, step, full)
    with pytest.raises(ReportWriteError, match="no space left on device") as caught:
        write(path, "new")
    monkeypatch.undo()
    assert str(caught.value).endswith("; the older report there is unchanged")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("r.json", "old")]


def test_an_interrupt_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "r.json", "new")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("older", [True, False])
def test_a_disk_that_fills_leaves_no_half_written_file(older: bool, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    if older:
        path.write_text("old")
    code = """
import resource, sys
from pytest_drdrill.report.files import ReportWriteError, write
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
write(sys.argv[1] + ".small.json", "x" * 4000)
try:
    write(sys.argv[1], "x" * 100_000)
except ReportWriteError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True
    )
    kept = "; the older report there is unchanged" if older else ""
    assert done.stdout == f"can't write the DR report {path}: file too large{kept}\n"
    assert done.stderr == ""
    names = {entry.name for entry in tmp_path.iterdir()}
    assert names == {"r.json.small.json"} | ({"r.json"} if older else set())
    if older:
        assert path.read_text() == "old"
