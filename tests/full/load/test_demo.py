"""`rnnserve demo --keep` serves until it is interrupted."""

import subprocess
import sys

from rnnserve.load.commands import demo


def test_kept_demo_serves_until_it_is_interrupted():
    with subprocess.Popen(
        [sys.executable, "-m", "rnnserve", "demo", "--seconds", "0.1", "--keep"], stdout=subprocess.PIPE, text=True
    ) as process:
        address = next(line for line in process.stdout if line.startswith("Serving on ")).split()[2]
        infer = [sys.executable, "-m", "rnnserve", "infer", demo.MODEL, "--url", address]
        asked = subprocess.run(infer, input="[[1, 0, 1]]", capture_output=True, text=True, timeout=300)
        process.send_signal(2)
        process.wait(300)
    assert asked.returncode == 0, asked.stderr
    assert "1" in asked.stdout
    assert process.returncode == 130
