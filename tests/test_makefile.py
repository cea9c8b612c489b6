"""`make` says by name which Python is too old, before it makes or changes anything."""

import itertools
import os
import shlex
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


def parts_of_the_tests():
    """What each part of `make test` is given: the paths that it collects, and those that it leaves out."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    made = subprocess.run(
        ["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True, env=environment
    ).stdout
    for line in made.splitlines():
        if " -m pytest" in line:
            words = shlex.split(line.partition(" -m pytest")[2])
            left_out = {after for word, after in itertools.pairwise(words) if word == "--ignore"}
            yield {word for word in words if word != "--ignore"} - left_out or {"tests"}, left_out


def test_each_test_is_in_one_part():
    parts = list(parts_of_the_tests())
    assert len(parts) > 1
    for path in {path for taken, left_out in parts for path in taken | left_out}:
        assert (ROOT / path).exists(), path
    for file in (ROOT / "tests").rglob("test_*.py"):
        places = {str(place.relative_to(ROOT)) for place in (file, *file.parents) if place.is_relative_to(ROOT)}
        taking = [taken for taken, left_out in parts if taken & places and not left_out & places]
        assert len(taking) == (0 if "tests/drills" in places else 1), file
