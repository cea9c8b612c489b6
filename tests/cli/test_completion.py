"""Shells complete commands, options, values and files with the script of `rnnserve completion`."""

import importlib
import shutil
import subprocess

import pytest

from rnnserve.cli import main
from rnnserve.cli.command_table import COMMANDS
from rnnserve.cli.every_parser import every_parser


def script_for(shell, capsys):
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def offered(script, folder, *words):
    """Return the words that bash offers for the last word."""
    program = f"""
        source {script}
        complete -p rnnserve > complete.txt
        COMP_WORDS=({" ".join(repr(word) for word in ("rnnserve", *words))})
        COMP_CWORD={len(words)}
        COMPREPLY=()
        function=$(sed -E 's/.*-F ([^ ]+).*/\\1/' complete.txt)
        $function rnnserve "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "--norc", "-c", program], capture_output=True, text=True, check=True, cwd=folder)
    return {line.strip() for line in done.stdout.splitlines() if line.strip()}


def test_bash_completes_commands_options_values_and_files(tmp_path, capsys):
    script = tmp_path / "rnnserve.bash"
    script.write_text(script_for("bash", capsys))
    (tmp_path / "repository").mkdir()
    (tmp_path / "server.pem").touch()
    assert {"serve", "infer", "token", "completion", "health"} <= offered(script, tmp_path, "")
    assert "--report-fd" not in offered(script, tmp_path, "serve", "--")
    for *words, expected in (
        ("hea", {"health"}),
        ("serve", "--max-seq", {"--max-sequence", "--max-sequences"}),
        ("serve", "--che", {"--check"}),
        ("serve", "--provider", "", {"auto", "cpu", "cuda"}),
        ("serve", "repo", {"repository"}),
        ("serve", "--tls-certificate", "ser", {"server.pem"}),
    ):
        assert offered(script, tmp_path, *words) == expected, words


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_shell_accepts_its_script(shell, tmp_path, capsys):
    text = script_for(shell, capsys)
    assert "max-queue" in text
    if shutil.which(shell):
        (tmp_path / "script").write_text(text)
        done = subprocess.run([shell, "-n", tmp_path / "script"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_completion_omits_commands_whose_package_is_missing(monkeypatch):
    import_module = importlib.import_module

    def lacking(name):
        if name.startswith("rnnserve.export"):
            raise ModuleNotFoundError("No module named 'onnx'", name="onnx")
        return import_module(name)

    monkeypatch.setattr(importlib, "import_module", lacking)
    text = every_parser().format_help()
    assert COMMANDS["serve"].help in text
    assert COMMANDS["verify"].help not in text
