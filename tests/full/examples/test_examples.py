"""Each example runs whole: it trains, publishes, serves, and compares the answers with eager PyTorch."""

import subprocess
import sys
from pathlib import Path

import pytest

from kit.paths import ROOT

FORKED = Path(__file__).parent / "forked_programs.py"
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture(scope="module")
def ran(request, tmp_path_factory):
    """The folder in which the selected examples ran: the output and exit status of each."""
    items = [item for item in request.session.items if "ran" in getattr(item, "fixturenames", ())]
    wanted = {item.callspec.params["example"] for item in items}
    folder = tmp_path_factory.mktemp("examples")
    subprocess.run([sys.executable, "-W", "error", FORKED, folder, *sorted(wanted)], check=True)
    return folder


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_without_warnings(example, ran):
    status, said, warned = [(ran / example.stem / name).read_text() for name in ("status", "stdout", "stderr")]
    assert status == "0", warned
    assert "Warning" not in warned
    assert said
