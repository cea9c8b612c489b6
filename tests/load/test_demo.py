"""`rnnserve demo` needs no torch, and prints the server's answers."""

import shlex
import subprocess
import sys

import pytest

from rnnserve.client import Unavailable
from rnnserve.load.commands import demo

WITHOUT_TORCH = (
    "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'safetensors']))\n"
    "from rnnserve.cli import main; sys.exit(main(sys.argv[1:]))"
)


def test_demo_serves_asks_streams_and_measures_without_torch():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, "demo", "--seconds", "0.3"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    steps = [line.split()[0] for line in done.stdout.splitlines() if line and not line.startswith(" ")]
    assert [step for step in steps if step in ("served", "asked", "streamed", "measured")] == [
        "served", "asked", "streamed", "measured",
    ]  # fmt: skip
    assert "asked     [1, 0, 1, 1] -> [1, 1, 0, 1]" in done.stdout
    assert "streamed  a bit at a time: 1 -> 1, 1 -> 0, 0 -> 0, 1 -> 1" in done.stdout
    assert "equal the reference outputs" in done.stdout
    assert f"rnnserve serve {shlex.quote(str(demo.DEMO_MODELS))}" in done.stdout


def test_demo_fails_when_an_answer_is_wrong():
    with pytest.raises(Unavailable, match=r"returned \[1, 1\] for \[1, 1\]; expected \[1, 0\]"):
        demo._checked([1, 1], [1, 1])
