"""An example is published by the command that it names."""

from kit.paths import ROOT
from rnnserve.cli import main


def test_export_command_publishes_the_example(tmp_path, capsys):
    example = ROOT / "examples" / "sentiment.py"
    assert main(["export", f"{example}:publication", "--repository", str(tmp_path)]) == 0, capsys.readouterr().err
    assert (tmp_path / "sentiment" / "1" / "manifest.json").is_file()
