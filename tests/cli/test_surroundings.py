"""Every command in every broken surrounding: one line at most, the right exit status, never a traceback.

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
from onnx import helper

from kit.artifacts import build_model, publish_model, tensor
from kit.narrowed import closed, limited
from rnnserve.cli.command_table import COMMANDS
from rnnserve.cli.limits import Needs, missing

COMMAND = [sys.executable, "-m", "rnnserve"]
OTHERS = [name for name in COMMANDS if name != "serve"]
TORCH = ["train", "export", "verify", "check", "import"]
ARGUMENTS = {
    "demo": ["--seconds", "0.1"],
    "train": ["direction_simple", "--checkpoints", "DIR/checkpoints"],
    "export": ["DIR/own.py:one", "--repository", "DIR/repository"],
    "verify": ["DIR/repository"],
    "check": ["DIR/model.onnx", "--against", "DIR/own.py:one"],
    "import": ["DIR/model.onnx", "--name", "one", "--repository", "DIR/repository"],
    "inspect": ["DIR/repository"],
    "sign": ["DIR/repository/one/1", "--release-only"],
    "token": ["list", "--tokens", "DIR/tokens.toml"],
    "infer": ["one", "DIR/rows.json", "--url", "127.0.0.1:1"],
    "health": ["127.0.0.1:1"],
    "doctor": ["DIR/repository", "--no-http", "--grpc-port", "0"],
    "completion": ["bash"],
    "web": ["--upstream", "127.0.0.1:1", "--http-port", "0"],
    "ray": ["status", "--address", "127.0.0.1:1"],
    "load": ["one", "--url", "127.0.0.1:1"],
    "size": ["DIR/load.json", "--target-rate", "1000"],
}
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
MEASURED = ("inspect", "infer")
"""Commands whose coverage is measured: what all of them have executed is that of these, and `add_arguments`, which
test_cli.py measures. It would take a third of the time of the others."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the arguments name."""
    folder = tmp_path_factory.mktemp("surroundings")
    (folder / "own.py").write_text("one = 1\n")
    (folder / "model.onnx").write_bytes(b"no model")
    (folder / "rows.json").write_text("[[[0, 0]]]")
    x, y = tensor("x", "FP32", "batch", ("features", 2)), tensor("y", "FP32", "batch", ("features", 2))
    model = build_model([helper.make_node("Identity", ["x"], ["y"])], [x], [y], {})
    publish_model(folder / "repository", "one", model, [x], [y], [{"x": np.ones((3, 2), np.float32)}])
    return folder


def run(words, folder, narrow=list, **settings):
    """Run a command with `DIR` in its words replaced; `narrow` takes the command line and gives the one to start."""
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": ENVIRONMENT, **settings}
    if words[0] in COMMANDS and words[0] not in MEASURED:
        settings["env"] = {name: value for name, value in settings["env"].items() if not name.startswith("COVERAGE_")}
    words = [word.replace("DIR", str(folder)) for word in words]
    return subprocess.run(narrow([*COMMAND, *words]), timeout=120, check=False, **settings)


def one_line(done, command):
    said = done.stderr.decode(errors="replace")
    assert said.count("\n") == 1, said
    assert said.startswith(f"rnnserve {command}: ".replace(" :", ":"))
    return said


@pytest.mark.parametrize("command", OTHERS)
def test_little_address_space(command, folder):
    """`ulimit -v`: below what numpy needs, and for those that import torch below what that needs."""
    for kibibytes in (100_000, *([400_000, 700_000] if command in TORCH else [])):
        narrow = partial(limited, RLIMIT_AS=kibibytes * 1024)
        done = run([command, *ARGUMENTS[command]], folder, narrow)
        assert done.returncode == 1
        assert done.stdout == b""
        said = one_line(done, command)
        assert f"the limit is {kibibytes // 1024} MiB: raise it, with `ulimit -v " in said


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


@pytest.mark.parametrize("command", OTHERS)
def test_no_threads(command, folder):
    """`ulimit -u`: OpenBLAS and gRPC would print 40 lines and end the process."""
    done = run([command, *ARGUMENTS[command]], folder, without_threads())
    if b"setpriv" in done.stderr:
        pytest.skip(done.stderr.decode())
    said = one_line(done, command)
    assert (done.returncode, done.stdout) == (1, b"")
    assert "threads, and 1 can be started: raise the limit of processes, which is 1 (`ulimit -u`)" in said


def test_needs_that_are_met_are_no_complaint():
    assert missing(Needs(memory=1, memory_of_core=0, threads=3, threads_of_core=0)) == ""


OUTPUTS = [["inspect", *ARGUMENTS["inspect"]], ["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]


@pytest.mark.parametrize(
    ("words", "unbuffered"), [*((words, "") for words in OUTPUTS), (OUTPUTS[0], "1"), (["infer", "--help"], "1")]
)
def test_a_full_disk_behind_standard_output(words, folder, unbuffered):
    with Path("/dev/full").open("wb") as full:
        done = run(words, folder, stdout=full, env={**ENVIRONMENT, "PYTHONUNBUFFERED": unbuffered})
    said = one_line(done, words[0] if words[0] in COMMANDS else "")
    assert done.returncode == 1
    assert said.endswith(": standard output cannot be written: No space left on device\n")


@pytest.mark.parametrize("command", ["", *OTHERS])
def test_a_closed_standard_output(command, folder):
    """Told before anything is done: the next file that is opened would be standard output."""
    words = [command, *ARGUMENTS[command]] if command else ["--help"]
    done = run(words, folder, partial(closed, descriptor=1), stdout=None)
    said = one_line(done, command)
    assert done.returncode == 1
    assert "standard output is closed" in said


@pytest.mark.parametrize("descriptor", [0, 2])
def test_other_streams_that_are_closed_matter_to_no_one(descriptor, folder):
    done = run(["inspect", "DIR/repository"], folder, partial(closed, descriptor=descriptor))
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"FP32" in done.stdout


@pytest.mark.parametrize("narrow", [partial(closed, descriptor=2), list], ids=["closed", "full"])
def test_a_mistake_cannot_be_told_without_standard_error(folder, narrow):
    with Path("/dev/full").open("wb") as full:
        done = run(["inspect", "DIR/nowhere"], folder, narrow, stderr=full)
    assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.parametrize("words", OUTPUTS, ids=" ".join)
def test_a_pipe_that_nobody_reads(words, folder):
    ours, theirs = os.pipe()
    os.close(ours)
    done = run(words, folder, stdout=theirs)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_help_in_an_encoding_that_lacks_characters(words, folder, encoding):
    environment = {**ENVIRONMENT, "LC_ALL": "C", "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = run(words, folder, env={**environment, "PYTHONCOERCECLOCALE": "0"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert "usage: rnnserve" in done.stdout.decode(encoding)
    assert b"\\u" not in done.stdout


def test_what_standard_output_cannot_encode_is_escaped_as_in_json():
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


@pytest.mark.parametrize("mebibytes", [390, 600])
def test_address_space_that_is_enough_is_not_spent_on_arenas(mebibytes, folder):
    """The threads that were started to be counted took 64 MiB each: OpenBLAS had none left, and ended the process."""
    narrow = partial(limited, RLIMIT_AS=mebibytes << 20)
    done = run(["infer", *ARGUMENTS["infer"]], folder, narrow)
    assert done.returncode == 1
    assert "no server answers at" in one_line(done, "infer")
