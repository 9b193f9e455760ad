"""Faults on files that are undone: a wrong configuration, and files that leak."""

import os
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from needs import needs_root
from pytest_drdrill import FaultError, FaultInjector
from pytest_drdrill.faults import leak
from pytest_drdrill.faults.journal import Journal, Owed, recover
from pytest_drdrill.faults.owed import put_back


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
    return FaultInjector([scratch], announce=lambda *event: told.append(event))


@pytest.fixture
def settings(scratch):
    path = scratch / "settings"
    path.write_text("port = 5432\n")
    path.chmod(0o640)
    os.utime(path, ns=(111, 222))
    return path


@pytest.fixture
def orders(scratch):
    folder = scratch / "orders"
    (folder / "2026").mkdir(parents=True)
    (folder / "2026" / "1").write_text("order 1")
    (folder / "2").write_text("order 2")
    (folder / "2").chmod(0o600)
    return folder


def owed():
    """What the journal of this process says."""
    journal = Journal.own()
    return [each.do for each in journal._open.values()] if journal.path.exists() else []


# -- wrong configuration -----------------------------------------------------------------------


def test_text_is_wrong_and_then_the_very_same_file_is_back(faults, scratch, settings, told):
    before = settings.stat()
    fault = faults.wrong_config(settings, "port = 1\n")
    assert settings.read_text() == "port = 1\n"
    assert stat.S_IMODE(settings.stat().st_mode) == 0o640
    assert fault.undoable
    assert told == [("fault", f"wrong configuration in {settings}, 9 B")]
    assert "put back" in owed()
    fault.undo()
    after = settings.stat()
    assert settings.read_text() == "port = 5432\n"
    assert (after.st_ino, after.st_mtime_ns, after.st_mode) == (before.st_ino, 222, before.st_mode)
    assert os.listdir(scratch) == ["settings"]  # noqa: PTH208 - names
    assert owed() == []
    fault.undo()
    assert told[1:] == [("fault undone", told[0][1])]


def test_text_may_be_made_of_what_is_there(faults, settings):
    faults.wrong_config(settings, lambda text: text.replace("5432", "5433"))
    assert settings.read_text() == "port = 5433\n"
    faults.stack.undo_all()
    with faults.wrong_config(settings, b"\xff"):
        assert settings.read_bytes() == b"\xff"
        with faults.wrong_config(settings, lambda text: text + "!"):
            assert settings.read_bytes() == b"\xff!"
        assert settings.read_bytes() == b"\xff"
    assert settings.read_text() == "port = 5432\n"


def test_nobody_ever_finds_no_file_or_half_of_it(faults, settings):
    texts = ["port = 5432\n", "x" * 100_000]
    seen, over = set(), threading.Event()

    def read():
        while not over.is_set():
            seen.add(settings.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(100):
            faults.wrong_config(settings, texts[1]).undo()
    finally:
        over.set()
        reader.join()
    assert seen <= set(texts)


@pytest.mark.parametrize("then", ["mended", "removed", "link", "folder removed"])
def test_file_is_put_back_whatever_bears_its_name(faults, scratch, settings, then):
    service = scratch / "service"
    service.mkdir()
    settings = settings.rename(service / "settings")
    faults.wrong_config(settings, "x")
    if then == "mended":
        settings.write_text("port = 5432")
    elif then == "folder removed":
        subprocess.run(["rm", "-r", service], check=True)
    else:
        settings.unlink()
        if then == "link":
            settings.symlink_to("elsewhere")
    faults.stack.undo_all()
    assert owed() == []
    if then == "folder removed":
        assert not service.exists()
    else:
        assert settings.read_text() == "port = 5432\n"
        assert not settings.is_symlink()
        assert len(list(service.iterdir())) == 1


def test_file_that_was_kept_aside_and_is_gone_is_no_success(faults, settings):
    faults.wrong_config(settings, "x")
    for path in settings.parent.iterdir():
        path.unlink()
    with pytest.raises(ExceptionGroup) as caught:
        faults.stack.undo_all()
    assert caught.group_contains(FileNotFoundError)


@pytest.mark.parametrize("stage", ["hardlink_to", "rename"])
def test_killed_half_way_it_is_put_back_by_another(faults, scratch, settings, monkeypatch, stage):
    class KilledError(BaseException):
        pass

    def killed(*args):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Path, stage, killed)
        with pytest.raises(KilledError):
            faults.wrong_config(settings, "x")
    assert len(list(scratch.iterdir())) == {"hardlink_to": 2, "rename": 3}[stage]
    for each in reversed(Journal.own()._open.values()):
        each.settle()
        each.settle()
    assert os.listdir(scratch) == ["settings"]  # noqa: PTH208 - names
    assert settings.read_text() == "port = 5432\n"


def test_two_names_of_one_file_become_one_again(settings):
    aside = settings.with_name("aside")
    aside.hardlink_to(settings)
    put_back(settings, aside)
    assert not aside.exists()
    assert settings.read_text() == "port = 5432\n"


def test_owner_of_the_file_reads_the_wrong_text_too(faults, settings):
    needs_root()
    os.chown(settings, 65534, 65533)
    faults.wrong_config(settings, "x")
    assert (settings.stat().st_uid, settings.stat().st_gid) == (65534, 65533)
    faults.stack.undo_all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("port = 5432\n", "holds that text already, so there is nothing to break"),
        (None, "text must be a text, bytes, or a function that gives one, not None"),
        (lambda text: 7, "text must be a text, bytes, or a function that gives one, not 7"),
    ],
)
def test_text_that_is_refused(faults, scratch, settings, told, text, message):
    with pytest.raises(FaultError, match=message):
        faults.wrong_config(settings, text)
    assert os.listdir(scratch) == ["settings"]  # noqa: PTH208 - names
    assert told == []
    assert owed() == []


def test_what_is_no_file_has_no_text(faults, orders):
    with pytest.raises(FaultError, match="is no regular file, so there is no text to replace"):
        faults.wrong_config(orders, "x")


def test_ordinary_user_changes_what_is_their_own(users_folder, as_user):
    (users_folder / "closed").mkdir()
    (users_folder / "closed" / "settings").write_text("kept")
    with as_user():
        (users_folder / "own").write_text("port = 5432")
        faults = FaultInjector([users_folder])
        fault = faults.wrong_config(users_folder / "own", "x")
        with pytest.raises(FaultError, match=r"settings was not changed: .*Permission denied"):
            faults.wrong_config(users_folder / "closed" / "settings", "x")
        fault.undo()
        leaked = faults.leak_files(users_folder / "own")
        assert leaked.path.read_text() == "port = 5432"
        leaked.undo()
        assert not leaked.path.parent.exists()
    assert (users_folder / "own").read_text() == "port = 5432"
    assert (users_folder / "own").stat().st_uid == 65534


# -- leaks -------------------------------------------------------------------------------------


def test_copy_lies_where_everybody_can_read_it(faults, orders, told, monkeypatch, tmp_path):
    monkeypatch.setattr(leak.tempfile, "gettempdir", lambda: str(tmp_path))
    (orders / "link").symlink_to("/etc/passwd")
    mask = os.umask(0o077)
    try:
        fault = faults.leak_files(orders)
    finally:
        os.umask(mask)
    found = {str(path.relative_to(fault.path)): path for path in fault.path.rglob("*")}
    assert {name for name, path in found.items() if path.is_file()} == {"2026/1", "2"}
    assert (fault.path / "2026" / "1").read_text() == "order 1"
    assert fault.path.parent.parent == tmp_path
    for path in (*found.values(), fault.path, fault.path.parent):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)
    assert told == [("fault", f"leaked 2 files to {fault.path}")]
    assert owed() == ["remove"]
    fault.undo()
    fault.undo()
    assert not fault.path.parent.exists()
    assert owed() == []
    assert stat.S_IMODE((orders / "2").stat().st_mode) == 0o600
    assert (orders / "link").is_symlink()


def test_copy_lies_where_it_was_asked_for(faults, scratch, orders):
    (scratch / "public").mkdir()
    with faults.leak_files(orders / "2", to=scratch / "public") as fault:
        assert fault.path == scratch / "public" / "2"
        assert fault.path.read_text() == "order 2"
        with pytest.raises(FaultError, match="public/2 is there already, so nothing was copied"):
            faults.leak_files(orders / "2", to=scratch / "public")
    assert list((scratch / "public").iterdir()) == []


def test_leak_that_fails_half_way_leaves_no_copy(faults, scratch, orders, told, monkeypatch):
    def fail(plain, out):
        out.write(b"half")
        raise OSError(28, "No space left on device")

    (scratch / "public").mkdir()
    monkeypatch.setattr(leak.shutil, "copyfileobj", fail)
    with pytest.raises(FaultError, match=f"{orders} was not leaked: No space left on device"):
        faults.leak_files(orders, to=scratch / "public")
    assert list((scratch / "public").iterdir()) == []
    assert told == []
    assert owed() == []


def test_what_is_refused_to_be_leaked(faults, scratch, orders, tmp_path):
    (scratch / "empty").mkdir()
    with pytest.raises(FaultError, match="holds no file, so there is nothing to leak"):
        faults.leak_files(scratch / "empty")
    with pytest.raises(FaultError, match="is no folder, so nothing can be leaked to it"):
        faults.leak_files(orders, to=orders / "2")
    for given in ({"path": "/etc"}, {"path": orders, "to": tmp_path}):
        with pytest.raises(FaultError, match="is not this drill's scratch, which alone may be"):
            faults.leak_files(**given)


# -- the journal, which settles them too ---------------------------------------------------------


def test_nothing_is_broken_where_nothing_can_be_written_down(faults, settings, orders, state):
    state.mkdir()
    state.chmod(0o777)
    for strike in (lambda: faults.wrong_config(settings, "x"), lambda: faults.leak_files(orders)):
        with pytest.raises(FaultError, match=r"nothing was broken, as nothing would put .* right"):
            strike()
    assert settings.read_text() == "port = 5432\n"
    assert len(list(settings.parent.iterdir())) == 2
    faults.stack.undo_all()


def test_deed_that_fails_is_told(tmp_path):
    aside = tmp_path / "aside"
    deed = Owed("put back", "the text", path=str(tmp_path / "a"), other=str(aside))
    with pytest.raises(FileNotFoundError):
        deed.settle()
    aside.write_text("x")
    deed.settle()
    deed.settle()
    assert (tmp_path / "a").read_text() == "x"
    assert recover() == ((), ())
