"""Shells complete commands, options, values and files, as `rnnserve completion` has told them."""

import importlib
import os
import shutil
import subprocess
import sys

import pytest

from rnnserve.cli import main
from rnnserve.cli.command_table import COMMANDS
from rnnserve.cli.every_parser import every_parser

PROGRAM = [sys.executable, "-m", "rnnserve.cli"]


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The script for bash."""
    path = tmp_path_factory.mktemp("completion") / "rnnserve.bash"
    done = subprocess.run([*PROGRAM, "completion", "bash"], capture_output=True, text=True, check=True)
    path.write_text(done.stdout)
    return path


def completed(script, *words, folder):
    """What bash offers for the last of the words."""
    told = f"""
        source {script}
        complete -p rnnserve > complete.txt
        COMP_WORDS=({" ".join(repr(word) for word in ("rnnserve", *words))})
        COMP_CWORD={len(words)}
        COMPREPLY=()
        function=$(sed -E 's/.*-F ([^ ]+).*/\\1/' complete.txt)
        $function rnnserve "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", told], capture_output=True, text=True, check=True, cwd=folder, env={**os.environ}
    )
    return {line.strip() for line in done.stdout.splitlines() if line.strip()}


def test_bash_completes_commands(script, tmp_path):
    offered = completed(script, "", folder=tmp_path)
    assert {"serve", "infer", "doctor", "completion", "health"} <= offered
    assert completed(script, "hea", folder=tmp_path) == {"health"}


def test_bash_completes_options(script, tmp_path):
    assert completed(script, "serve", "--max-seq", folder=tmp_path) == {
        "--max-sequence",
        "--max-sequences",
        "--max-sequence-bytes",
    }
    assert completed(script, "doctor", "--js", folder=tmp_path) == {"--json"}
    assert "--report-fd" not in completed(script, "serve", "--", folder=tmp_path)


def test_bash_completes_values(script, tmp_path):
    assert completed(script, "serve", "--transport", "", folder=tmp_path) == {"auto", "lane", "public"}


def test_bash_completes_files_and_folders(script, tmp_path):
    (tmp_path / "repository").mkdir()
    (tmp_path / "server.pem").touch()
    assert "repository" in completed(script, "serve", "repo", folder=tmp_path)
    assert completed(script, "serve", "--tls-certificate", "ser", folder=tmp_path) == {"server.pem"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_each_shell_takes_the_script(shell, tmp_path, capsys):
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert "max-queue" in text
    if shutil.which(shell):
        (tmp_path / "script").write_text(text)
        done = subprocess.run([shell, "-n", tmp_path / "script"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_commands_that_lack_a_package_are_left_out(monkeypatch, capsys):
    import_module = importlib.import_module

    def lacking(name):
        if name.startswith("rnnserve.export"):
            raise ModuleNotFoundError("No module named 'onnx'", name="onnx")
        return import_module(name)

    monkeypatch.setattr(importlib, "import_module", lacking)
    text = every_parser().format_help()
    assert "serve a repository over gRPC" in text
    assert COMMANDS["verify"].help not in text


def test_torch_is_not_imported():
    told = "import sys; from rnnserve.cli import main; main(['completion', 'bash']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("defect", [ImportError("cannot import name"), ModuleNotFoundError("x", name="rnnserve.x")])
def test_a_command_that_is_defective_is_not_left_out(monkeypatch, defect):
    def import_module(name):
        raise defect

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(type(defect)):
        every_parser()
