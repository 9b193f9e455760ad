"""Held against rsync, which looks at everything: what is restored differs in nothing."""

import subprocess
import sysconfig
from pathlib import Path

import pytest
from backup_trees import make_tree

from needs import needs
from pytest_drdrill.backup import FullBackupStrategy, IncrementalBackupStrategy


def differences(rsync, source, restored):
    """What rsync would do to make the restored tree the same, by content, links, owners, ACLs."""
    options = ["-aHAX", "--checksum", "--dry-run", "--itemize-changes", "--delete"]
    done = subprocess.run(
        [rsync, *options, f"{source}/", f"{restored}/"],
        check=True,
        capture_output=True,
        text=True,
        errors="surrogateescape",
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("kind", ["odd", "library"])
def test_rsync_sees_no_difference(tmp_path, vault, kind):
    rsync = needs("rsync")
    if kind == "odd":
        source = make_tree(tmp_path / "tree")
    else:
        source = Path(sysconfig.get_paths()["stdlib"])
    job = IncrementalBackupStrategy().create_backup(source, vault)
    FullBackupStrategy().restore_backup(job, tmp_path / "restored")
    assert differences(rsync, source, tmp_path / "restored") == []


def test_rsync_would_see_one(tmp_path, vault):
    rsync = needs("rsync")
    source = make_tree(tmp_path / "tree")
    job = FullBackupStrategy().create_backup(source, vault)
    FullBackupStrategy().restore_backup(job, tmp_path / "restored")
    (tmp_path / "restored" / "docs" / "run.sh").chmod(0o700)
    assert len(differences(rsync, source, tmp_path / "restored")) == 1
