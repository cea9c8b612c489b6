"""The console script: help, mistakes, and that a command imports only what it needs."""

import subprocess
import sys

import pytest

from rnnserve.cli import main

COMMANDS = ["train", "export", "verify", "serve", "infer", "load"]


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for command in COMMANDS:
        assert command in said


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: rnnserve {command}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["sevre"], ["serve"], ["serve", "x", "--no-such-option"]])
def test_a_wrong_command_line_is_one_line_and_exit_status_2(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("rnnserve")


def test_a_mistake_is_one_line_and_exit_status_1(tmp_path, capsys):
    assert main(["serve", str(tmp_path / "nowhere")]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("rnnserve serve: there is no folder")


@pytest.mark.parametrize("command", ["serve", "infer", "load"])
def test_serving_and_asking_never_import_torch_or_onnx(command):
    probe = (
        "import sys; from rnnserve.cli import main\n"
        "try: main([sys.argv[1], '--help'])\n"
        "except SystemExit: pass\n"
        "print('LOADED', sorted({'torch', 'onnx', 'onnxscript'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", probe, command], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "LOADED []"


def test_a_missing_extra_is_named():
    probe = (
        "import sys; sys.modules['onnxruntime'] = None\nfrom rnnserve.cli import main; sys.exit(main(['serve', '.']))"
    )
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr == "rnnserve serve: needs the package onnxruntime: pip install 'rnnserve[server]'\n"
