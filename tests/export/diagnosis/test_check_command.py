"""`rnnserve check`: what it prints, and how it exits."""

from kit.checked_files import (
    exported,
    wrong_reset,
)
from rnnserve.cli import main
from rnnserve.export.description.publication_targets import load_publications


def test_the_command(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch import nn\nfrom rnnserve.export import Floats, Publication\n"
        "torch.manual_seed(0)\n"
        "inputs = {'input': Floats('batch', 'sequence', ('features', 2))}\n"
        "one = Publication(nn.GRU(2, 3, batch_first=True), 'one', inputs, ['output', 'h_n'],\n"
        "                  sizes={'batch': (1, 4), 'sequence': (1, 8)})\n"
        "both = [one, Publication(nn.RNN(2, 3, batch_first=True), 'other', inputs, ['output', 'h_n'])]\n"
    )
    path = tmp_path / "gru.onnx"
    model = exported(load_publications(f"{tmp_path / 'mine.py'}:one")[0])
    path.write_bytes(model.SerializeToString())
    target = f"{tmp_path / 'mine.py'}"
    assert main(["check", str(path), "--against", f"{target}:one"]) == 0
    assert capsys.readouterr().out == f"{path} computes what the module computes\n"
    wrong_reset(model)
    path.write_bytes(model.SerializeToString())
    assert main(["check", str(path), "--against", f"{target}:both", "--model", "one"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("FAULT    node ")
    assert "linear_before_reset=0" in said[0]
    assert said[-1].startswith(f"{path} does not compute what the module computes: ")
    assert main(["check", str(path), "--against", f"{target}:both"]) == 1
    assert capsys.readouterr().err == (
        f"rnnserve check: {target}:both has several models; choose one with --model: one, other\n"
    )
    path.write_bytes(b"nothing")
    assert main(["check", str(path), "--against", f"{target}:one"]) == 1
    assert capsys.readouterr().err == f"rnnserve check: {path} is no ONNX model\n"
