"""The console script: help, mistakes, and commands that import only what they need."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rnnserve.cli import main


def test_version_is_that_of_the_installed_package(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"rnnserve {importlib.metadata.version('rnnserve')}\n"


def test_python_m_runs_the_console_script():
    run = subprocess.run([sys.executable, "-m", "rnnserve", "sevre"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr == "rnnserve: there is no command 'sevre'; did you mean serve? See `rnnserve --help`\n"


def test_serve_infer_and_load_never_import_torch_or_onnx():
    probe = (
        "import sys; from rnnserve.cli import main\n"
        "helps = [[name, '--help'] for name in ('serve', 'infer', 'load', 'demo')]\n"
        "for words in [*helps, ['completion', 'bash']]:\n"
        "    try: main(words)\n"
        "    except SystemExit: pass\n"
        "    print('LOADED', words, sorted({'torch', 'onnx', 'onnxscript'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    loaded = [line for line in run.stdout.splitlines() if line.startswith("LOADED")]
    assert len(loaded) == 5
    assert all(line.endswith(" []") for line in loaded), loaded


@pytest.mark.parametrize(
    ("output", "status", "said"), [("full", 1, "standard output cannot be written"), ("unread", 141, "")]
)
def test_output_that_cannot_be_written_ends_the_command(output, status, said):
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "wb") as unread, Path("/dev/full").open("wb") as full:
        stdout = {"full": full, "unread": unread}[output]
        for options in ([], ["-u"]):  # written at the end, and at once
            command = [sys.executable, *options, "-m", "rnnserve", "--help"]
            done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
            assert done.returncode == status
            assert said in done.stderr
            assert done.stderr.count("\n") == bool(said)


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("rnnserve.export", "torch", "export"),
        ("rnnserve.export", "onnx", "export"),
        ("rnnserve.export.recurrence", "onnxscript", "export"),
        ("rnnserve.models", "torch", "train"),
        ("rnnserve.models.commands.train", "safetensors", "train"),
    ],
)
def test_import_without_the_extra_names_it(module, package, extra):
    probe = "import importlib, sys; sys.modules[sys.argv[2]] = None; importlib.import_module(sys.argv[1])"
    run = subprocess.run([sys.executable, "-c", probe, module, package], capture_output=True, text=True, check=False)
    area = ".".join(module.split(".")[:2])
    line = run.stderr.splitlines()[-1]
    assert line.startswith(f"ModuleNotFoundError: {area} needs the package {package}")
    assert f"pip install '.[{extra}]'" in line
    assert "During handling" not in run.stderr


@pytest.mark.parametrize(("command", "extra"), [("export", "export"), ("verify", "export"), ("train", "train")])
def test_command_without_its_extra_names_it(command, extra):
    probe = "import sys; sys.modules['torch'] = None\nfrom rnnserve.cli import main; sys.exit(main(sys.argv[1:]))"
    run = subprocess.run([sys.executable, "-c", probe, command], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert line.startswith(f"rnnserve {command}: ")
    assert f"pip install '.[{extra}]'" in line
