"""What the client and its commands import: little, because they also run where no model is trained or served."""

import subprocess
import sys

import pytest

CLIENT = "import rnnserve.client, rnnserve.client.commands.infer"
HEALTH = "from rnnserve.cli import main; assert main(['health', '{}']) == 1"
NEVER = {"torch", "onnx", "onnxruntime", "rnnserve.server", "rnnserve.models", "rnnserve.export"}


@pytest.mark.parametrize(
    ("code", "unneeded"),
    [
        (CLIENT, NEVER),
        (HEALTH.format("127.0.0.1:1"), {*NEVER, "numpy", "google", "tqdm"}),
        (HEALTH.format("http://127.0.0.1:1"), {*NEVER, "numpy", "google", "grpc"}),
    ],
    ids=["client", "health", "health over HTTP"],
)
def test_client_imports_no_more_than_it_needs(code, unneeded):
    probe = f"import sys; {code}; print(sorted({unneeded!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
