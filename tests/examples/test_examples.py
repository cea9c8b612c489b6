"""Each example runs whole: it trains, publishes, serves, asks, and compares the answers with eager PyTorch."""

import subprocess
import sys

import pytest

from kit.paths import ROOT, TESTS
from rnnserve.cli import main

FORKED = TESTS / "kit" / "forked_programs.py"
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test_examples_are_found():
    assert EXAMPLES


@pytest.fixture(scope="module")
def ran(request, tmp_path_factory):
    """The folder in which the examples that are tested have run: of each, what it has printed, and its exit status."""
    items = [item for item in request.session.items if "ran" in getattr(item, "fixturenames", ())]
    wanted = {item.callspec.params["example"] for item in items}
    folder = tmp_path_factory.mktemp("examples")
    subprocess.run([sys.executable, "-W", "error", FORKED, folder, *sorted(wanted)], check=True)
    return folder


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_without_warnings(example, ran):
    status, said, warned = [(ran / example.stem / name).read_text() for name in ("status", "stdout", "stderr")]
    assert status == "0", warned
    assert "Warning" not in warned
    assert said


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short(example):
    assert len(example.read_text().splitlines()) < 80


def test_an_example_is_exported_by_the_command(tmp_path, capsys):
    example = next(path for path in EXAMPLES if path.stem == "sentiment")
    assert main(["export", f"{example}:publication", "--repository", str(tmp_path)]) == 0, capsys.readouterr().err
    assert (tmp_path / "sentiment" / "1" / "manifest.json").is_file()
