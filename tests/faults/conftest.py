import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from needs import needs_root
from pytest_drdrill.faults.journal import Journal

NOBODY = 65534


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """A state folder that is the test's own; what it owes still is forgotten with it."""
    monkeypatch.setenv("DRDRILL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(Journal, "_own", None)
    yield tmp_path / "state"
    if (journal := Journal._own) is not None and journal._open:
        journal._end()


@pytest.fixture
def users_folder():
    """A folder of an ordinary user, who reaches it, unlike tmp_path of root; with their state."""
    needs_root()
    path = Path(tempfile.mkdtemp(prefix="drdrill-test-"))
    os.chown(path, NOBODY, NOBODY)
    with pytest.MonkeyPatch.context() as patch:  # or what ends later would make it again
        patch.setenv("DRDRILL_STATE", str(path / "state"))
        yield path
    shutil.rmtree(path)


@pytest.fixture
def as_user():
    """A block that is run as that ordinary user."""

    @contextmanager
    def user():
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)

    return user
