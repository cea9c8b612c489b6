"""Ctrl-C at any moment: exit status 130, and nothing on standard error."""

import socket
import subprocess
import sys

import pytest

PROBE = """
import os, signal, sys
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
from rnnserve.cli import main
sys.exit(main(sys.argv[2:]))
"""

MOMENTS = [
    ("rnnserve.cli.commands.inspect", ["inspect", "."]),
    ("numpy", ["inspect", "."]),
    ("grpc", ["infer", "model", "FILE", "--url", "ADDRESS"]),
    ("rnnserve.models.training", ["train", "--checkpoints", "FOLDER/checkpoints"]),
    ("rnnserve.export.commands.export", ["export", "FILE.py:one"]),
]


@pytest.fixture
def silent():
    """The address of a server that accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(("module", "words"), MOMENTS)
def test_interrupt_during_an_import_is_status_130_without_output(module, words, tmp_path, silent):
    (tmp_path / "rows.json").write_text("[[[0, 0]]]")
    (tmp_path / "rows.json.py").write_text("")
    (tmp_path / "model" / "1").mkdir(parents=True)
    names = {"FILE": str(tmp_path / "rows.json"), "FOLDER": str(tmp_path), "ADDRESS": silent}
    for name, value in names.items():
        words = [word.replace(name, value) for word in words]
    done = subprocess.run([sys.executable, "-c", PROBE, module, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
    assert not (tmp_path / "checkpoints").exists()
