"""Each command ends with the statuses that its help names."""

import pytest

from rnnserve.cli import main
from rnnserve.cli.command_table import COMMANDS
from rnnserve.cli.commands import inspect
from rnnserve.cli.exit_statuses import exit_statuses, exit_text

NEEDS_RAY = "ray"

FAILURES = {
    "demo": None,  # has nothing that could be given wrong
    "train": ["none"],
    "export": ["--checkpoints", "none", "--repository", "none/at/all"],
    "verify": ["none"],
    "check": ["none.onnx", "--against", "none.py:model"],
    "import": ["none.onnx", "--name", "m", "--repository", "none"],
    "inspect": ["none"],
    "sign": ["none/model/1", "--key", "none.pem"],
    "serve": ["none", "--tls-key", "key.pem"],
    "web": ["--upstream", "nowhere"],
    "ray": None,
    "infer": ["model", "none.csv"],
    "health": ["127.0.0.1:1", "--timeout", "0.2"],
    "load": ["--sessions", "1", "--inputs", "none.npz"],
    "completion": None,
    "token": ["list", "--tokens", "none.toml"],
}
"""Of each command, a command line that is right and cannot be done."""


def test_help_ends_with_the_exit_statuses(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert set(FAILURES) == set(COMMANDS)
    for command in set(COMMANDS) - {NEEDS_RAY}:
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code in (0, None)
        shown = capsys.readouterr().out
        assert shown.endswith(exit_text(command))
        assert shown.count("exit status:") == 1
        for status, said in exit_statuses(command).items():
            assert f"  {status}" in shown
            assert " ".join(said.split()) in " ".join(shown.split())


def test_wrong_command_line_is_one_line_and_status_2(capsys):
    unknown = [[command, "--no-such-option"] for command in set(COMMANDS) - {NEEDS_RAY}]
    for words in ([], ["sevre"], ["serve"], *unknown):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("command", sorted(command for command, words in FAILURES.items() if words))
def test_failed_command_is_status_1_without_traceback(command, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([command, *FAILURES[command]]) == 1
    printed = capfd.readouterr()
    assert (printed.err + printed.out).strip()
    assert "Traceback" not in printed.err


def test_interrupted_command_is_status_130(monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(inspect, "run", interrupt)
    assert main(["inspect", "repository"]) == 130
