"""onnxruntime does not report its use to its maker."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["import rnnserve.server.app", "from rnnserve.export import publish"])
def test_it_is_switched_off_before_onnxruntime_is_imported(module):
    code = f"{module}; import os, sys; assert 'onnxruntime' in sys.modules; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for given, found in (({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")):
        others = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
        done = subprocess.run([sys.executable, "-c", code], env={**others, **given}, capture_output=True, check=True)
        assert done.stdout.decode().strip() == found
