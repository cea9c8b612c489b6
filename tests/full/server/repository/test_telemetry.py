"""onnxruntime does not report its use to its maker."""

import os
import subprocess
import sys

import pytest

VARIABLE = "ORT_DISABLE_TELEMETRY"
PRINT = f"import os, sys; print('onnxruntime' in sys.modules, os.environ[{VARIABLE!r}])"


def printed(code, **given):
    others = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run([sys.executable, "-c", code], env={**others, **given}, capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.mark.parametrize("module", ["import rnnserve.server.app", "from rnnserve.export import publish"])
def test_what_the_user_has_set_stays(module):
    assert printed(f"{module}; {PRINT}", **{VARIABLE: "0"}) == "True 0"
