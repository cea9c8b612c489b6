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


@pytest.mark.parametrize("package", ["rnnserve.server.repository", "rnnserve.export"])
def test_telemetry_is_disabled_before_onnxruntime_is_imported(package):
    """By the package, which Python imports before anything in it."""
    assert printed(f"import {package}; {PRINT}") == "False 1"
