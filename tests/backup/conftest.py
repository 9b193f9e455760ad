import shutil
import tempfile
from pathlib import Path

import pytest
from backup_site import Site
from backup_trees import make_tree, ordinary_user

# Imported before a test gives up root's rights: root's Python may be out of reach then.
from pytest_drdrill.backup import FullBackupStrategy, prune, restore, verify  # noqa: F401


@pytest.fixture
def full():
    return FullBackupStrategy()


@pytest.fixture
def source(tmp_path):
    return make_tree(tmp_path / "source")


@pytest.fixture
def small(tmp_path):
    """A source with three small files."""
    root = tmp_path / "small"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("alpha")
    (root / "sub" / "b.txt").write_text("beta")
    (root / "z.txt").write_text("zeta")
    return root


@pytest.fixture
def vault(tmp_path):
    return tmp_path / "vault"


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


@pytest.fixture
def open_folder():
    """A folder that an ordinary user reaches, which tmp_path of root is not."""
    path = Path(tempfile.mkdtemp(prefix="drdrill-test-"))
    path.chmod(0o777)
    yield path
    for folder in [path, *path.rglob("*")]:
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(0o700)
    shutil.rmtree(path)


@pytest.fixture
def as_user():
    return ordinary_user
