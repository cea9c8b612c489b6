"""`make` says by name which Python is too old, before it makes or changes anything."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def old_python(tmp_path):
    """A program that answers as a Python 3.10 does."""
    program = tmp_path / "python3.10"
    program.write_text('#!/bin/sh\ncase "$1" in --version) echo "Python 3.10.12";; *) exit 1;; esac\n')
    program.chmod(0o755)
    return program


def make_setup(environment, python):
    return subprocess.run(
        ["make", "setup", f"VENV={environment}", f"PYTHON={python}"], cwd=ROOT, capture_output=True, text=True
    )


def test_an_old_python_is_refused_by_name(old_python, tmp_path):
    made = make_setup(tmp_path / "venv", old_python)
    assert made.returncode != 0
    assert f"rnnserve needs Python 3.11 or newer, and {old_python} is Python 3.10.12" in made.stderr
    assert not (tmp_path / "venv").exists()


def test_an_environment_of_an_old_python_is_named(old_python, tmp_path):
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    old_python.rename(tmp_path / "venv" / "bin" / "python")
    made = make_setup(tmp_path / "venv", "python3")
    assert made.returncode != 0
    assert f"Remove {tmp_path / 'venv'} and try again" in made.stderr
