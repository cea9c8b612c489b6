"""Each example runs whole: it trains, publishes, serves, asks, and compares the answers with eager PyTorch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rnnserve.cli import main

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def test_examples_are_found():
    assert EXAMPLES


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_without_warnings(example, tmp_path):
    result = subprocess.run(
        [sys.executable, "-W", "error", example],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr
    assert result.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short(example):
    assert len(example.read_text().splitlines()) < 80


def test_an_example_is_exported_by_the_command(tmp_path, capsys):
    example = next(path for path in EXAMPLES if path.stem == "sentiment")
    assert main(["export", f"{example}:publication", "--repository", str(tmp_path)]) == 0, capsys.readouterr().err
    assert (tmp_path / "sentiment" / "1" / "manifest.json").is_file()
