"""Each example runs whole: it trains, publishes, serves, and compares the answers with eager PyTorch."""

import os
import subprocess
import sys

import pytest

from kit.paths import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_without_warnings(example, tmp_path):
    command, environment = [sys.executable, "-W", "error", example], {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert done.stdout
