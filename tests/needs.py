"""What a test needs of the machine: skipped where it is missing, a failure where CI has it all."""

import os
import shutil

import pytest


def needs(program, package=None):
    """The path of a program; skips the test where it is missing, naming the package to install."""
    found = shutil.which(program)
    if found is None:
        message = f"needs {program}: apt-get install {package or program}"
        if os.environ.get("DRDRILL_REQUIRE_LIVE") == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return found
