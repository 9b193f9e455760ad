"""What a test needs of the machine: skipped where it is missing, a failure where CI has it all."""

import os
import shutil

import pytest


def needs(program, package=None):
    """The path of a program; skips the test where it is missing, naming the package to install."""
    found = shutil.which(program)
    if found is None:
        lacks(f"{program}: apt-get install {package or program}")
    return found


def needs_root():
    """Skips the test where it is not root who runs it: only root gives files to others."""
    if os.getuid() != 0:  # a test may have put its rights off by now
        lacks("root's rights: run the tests as root")


def lacks(what):
    """The machine has no such thing: skips the test, which fails where CI must have it."""
    message = f"this machine lacks {what}"
    if os.environ.get("DRDRILL_REQUIRE_LIVE") == "1":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
