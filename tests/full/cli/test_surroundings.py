"""Commands in broken surroundings: one line at most, the right exit status, never a traceback.

A command is started as users start it, in a process of its own, with arguments that would work elsewhere, or that fail
before anything large is imported where that is enough.
"""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from kit.artifacts import build_model, publish_model, tensor
from kit.narrowed import closed, limited

COMMAND = [sys.executable, "-m", "rnnserve"]
TORCH = ["export", "import"]
# A command for each set of libraries that the commands import.
ARGUMENTS = {
    "export": ["DIR/own.py:one", "--repository", "DIR/repository"],
    "import": ["DIR/model.onnx", "--name", "one", "--repository", "DIR/repository"],
    "inspect": ["DIR/repository"],
    "infer": ["one", "DIR/rows.json", "--url", "127.0.0.1:1"],
    "health": ["127.0.0.1:1"],
    "web": ["--upstream", "127.0.0.1:1", "--http-port", "0"],
    "load": ["one", "--url", "127.0.0.1:1"],
}
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the arguments name."""
    folder = tmp_path_factory.mktemp("surroundings")
    (folder / "own.py").write_text("one = 1\n")
    (folder / "model.onnx").write_bytes(b"no model")
    (folder / "rows.json").write_text("[[[0, 0]]]")
    x, y = tensor("x", "FP32", "batch", ("features", 2)), tensor("y", "FP32", "batch", ("features", 2))
    model = build_model("y = Identity (x)", [x], [y], {})
    publish_model(folder / "repository", "one", model, [x], [y], [{"x": np.ones((3, 2), np.float32)}])
    return folder


def run(words, folder, narrow=list, **settings):
    """Run a command with `DIR` in its words replaced; `narrow` takes the command line and gives the one to start."""
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": ENVIRONMENT, **settings}
    words = [word.replace("DIR", str(folder)) for word in words]
    return subprocess.run(narrow([*COMMAND, *words]), timeout=120, check=False, **settings)


def one_line(done, command):
    said = done.stderr.decode(errors="replace")
    assert said.count("\n") == 1, said
    assert said.startswith(f"rnnserve {command}: ".replace(" :", ":"))
    return said


def test_too_little_address_space_is_reported_in_one_line(folder):
    """Below what numpy needs, and for commands that import torch below what that needs."""
    for command in ARGUMENTS:
        for kibibytes in (100_000, *([400_000] if command in TORCH else [])):
            done = run([command, *ARGUMENTS[command]], folder, partial(limited, RLIMIT_AS=kibibytes * 1024))
            assert (done.returncode, done.stdout) == (1, b""), command
            assert f"the limit is {kibibytes // 1024} MiB. Raise it with `ulimit -v " in one_line(done, command)


def without_threads():
    """A function of a command line: the one under which no thread can be started.

    Root has no limit of processes. Another user has; with the right to read files, since Python may be in root's
    folder.
    """
    if os.geteuid() != 0:
        return partial(limited, RLIMIT_NPROC=1)
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv to be another user")
    capabilities = "+dac_read_search,+dac_override"
    other = ["setpriv", "--reuid", "54321", "--clear-groups", "--inh-caps", capabilities]
    return lambda command: limited([*other, "--ambient-caps", capabilities, *command], RLIMIT_NPROC=1)


def test_missing_threads_are_reported_in_one_line(folder):
    """OpenBLAS and gRPC would print 40 lines and end the process."""
    for command in ARGUMENTS:
        done = run([command, *ARGUMENTS[command]], folder, without_threads())
        if b"setpriv" in done.stderr:
            pytest.skip(done.stderr.decode())
        assert (done.returncode, done.stdout) == (1, b""), command
        assert "Raise the limit of processes, which is 1 (`ulimit -u`)" in one_line(done, command)


def test_closed_standard_output_is_reported_before_any_work(folder):
    """The next file that is opened would be standard output."""
    for command in ("", "inspect", "export"):  # the streams are opened before any command is known
        words = [command, *ARGUMENTS[command]] if command else ["--help"]
        done = run(words, folder, partial(closed, descriptor=1), stdout=None)
        assert done.returncode == 1, command
        assert "standard output is closed" in one_line(done, command)


def test_other_closed_streams_do_not_matter(folder):
    for descriptor in (0, 2):
        done = run(["inspect", "DIR/repository"], folder, partial(closed, descriptor=descriptor))
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"FP32" in done.stdout
    with Path("/dev/full").open("wb") as full:
        for narrow in (partial(closed, descriptor=2), list):
            done = run(["inspect", "DIR/nowhere"], folder, narrow, stderr=full)
            assert (done.returncode, done.stdout) == (1, b"")


def test_help_is_printed_in_any_encoding(folder):
    environment = {**ENVIRONMENT, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for words in (["--help"], ["infer", "--help"]):
        done = run(words, folder, env={**environment, "PYTHONIOENCODING": "ascii"})
        assert (done.returncode, done.stderr) == (0, b""), words
        assert "usage: rnnserve" in done.stdout.decode("ascii")
        assert b"\\u" not in done.stdout


INTERRUPTING = """
import os, signal, sys
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
from rnnserve.cli import main
sys.exit(main(sys.argv[2:]))
"""


def test_interrupt_during_an_import_is_status_130_without_output(folder):
    for module, words in (
        ("rnnserve.cli.commands.inspect", ["inspect", "."]),
        ("numpy", ["inspect", "."]),
        ("grpc", ["infer", "model", "DIR/rows.json"]),
        ("rnnserve.models.training", ["train", "--checkpoints", "DIR/interrupted"]),
        ("rnnserve.export.commands.export", ["export", "DIR/own.py:one"]),
    ):
        words = [word.replace("DIR", str(folder)) for word in words]
        command = [sys.executable, "-c", INTERRUPTING, module, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert (done.returncode, done.stdout, done.stderr) == (130, "", ""), module
    assert not (folder / "interrupted").exists()


def test_characters_that_standard_output_cannot_encode_are_escaped():
    """So a document stays JSON: `\\xe9` would be none."""
    code = (
        "import json, sys\nfrom rnnserve.cli.streams import open_streams\nopen_streams(needs_output=True)\n"
        "print(json.dumps(['caf\\u00e9 \\u2026 \\U0001f600 \\udce9'], ensure_ascii=False))"
    )
    for encoding in ("ascii", "latin-1", "utf-8"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            env={**ENVIRONMENT, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
            check=True,
        )
        assert json.loads(done.stdout.decode(encoding)) == ["café … \U0001f600 \udce9"]


def test_sufficient_address_space_is_not_used_up_by_arenas(folder):
    """The threads that were started to be counted took 64 MiB each: OpenBLAS had none left, and ended the process."""
    narrow = partial(limited, RLIMIT_AS=390 << 20)
    done = run(["infer", *ARGUMENTS["infer"]], folder, narrow)
    assert done.returncode == 1
    assert "no server responds at" in one_line(done, "infer")
