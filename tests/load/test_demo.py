"""`rnnserve demo`: all of it without torch, and what it says is what the server answered."""

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


def test_everything_in_one_command_without_torch():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, "demo", "--seconds", "0.3"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    steps = [line.split()[0] for line in said if line and not line.startswith(" ")]
    assert [step for step in steps if step in ("served", "asked", "streamed", "measured")] == [
        "served", "asked", "streamed", "measured",
    ]  # fmt: skip
    assert "asked     [1, 0, 1, 1] -> [1, 1, 0, 1]" in said
    assert "after each bit of a sequence, whether the number of ones so far is odd" in said[0]
    assert "streamed  a bit at a time: 1 -> 1, 1 -> 0, 0 -> 0, 1 -> 1" in said
    assert "agree with the golden ones" in done.stdout
    assert f"rnnserve serve {shlex.quote(str(demo.DEMO_MODELS))}" in done.stdout
    assert done.stdout.index("agree with") < done.stdout.index("Try next")


def test_kept_until_it_is_interrupted():
    with subprocess.Popen(
        [sys.executable, "-m", "rnnserve", "demo", "--seconds", "0.1", "--keep"], stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if line.startswith("Serving on "):
                break
        address = line.split()[2]
        infer = [sys.executable, "-m", "rnnserve", "infer", demo.MODEL, "--url", address]
        asked = subprocess.run(infer, input="[[1, 0, 1]]", capture_output=True, text=True, timeout=60)
        process.send_signal(2)
        process.wait(60)
    assert asked.returncode == 0, asked.stderr
    assert "1" in asked.stdout
    assert process.returncode == 130


def test_a_wrong_answer_is_no_success():
    with pytest.raises(Unavailable, match=r"answered \[1, 1\] to \[1, 1\], expected \[1, 0\]"):
        demo._checked([1, 1], [1, 1])
