"""`rnnserve check`: what it prints, and how it exits."""

import pytest

from kit.checked_files import exported, wrong_reset
from rnnserve.cli import main
from rnnserve.export.description.targets import load_publications

MINE = """
import torch
from torch import nn
from rnnserve.export import Floats, Publication
torch.manual_seed(0)
inputs = {'input': Floats('batch', 'sequence', ('features', 2))}
one = Publication(nn.GRU(2, 3, batch_first=True), 'one', inputs, ['output', 'h_n'],
                  sizes={'batch': (1, 4), 'sequence': (1, 8)})
both = [one, Publication(nn.RNN(2, 3, batch_first=True), 'other', inputs, ['output', 'h_n'])]
"""


@pytest.fixture
def target(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path / "mine.py"


def test_check_exits_with_0_when_the_file_is_right_and_with_1_when_it_is_not(target, tmp_path, capsys):
    path = tmp_path / "gru.onnx"
    model = exported(load_publications(f"{target}:one")[0])
    path.write_bytes(model.SerializeToString())
    assert main(["check", str(path), "--against", f"{target}:one"]) == 0
    assert capsys.readouterr().out == f"{path} computes what the module computes\n"
    wrong_reset(model)
    path.write_bytes(model.SerializeToString())
    assert main(["check", str(path), "--against", f"{target}:both", "--model", "one"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("FAULT    node ")
    assert "linear_before_reset=0" in said[0]
    assert said[-1].startswith(f"{path} does not compute what the module computes: ")


def test_check_asks_for_one_of_several_models_and_refuses_what_is_not_onnx(target, tmp_path, capsys):
    path = tmp_path / "gru.onnx"
    path.write_bytes(b"nothing")
    assert main(["check", str(path), "--against", f"{target}:both"]) == 1
    assert "has several models; choose one with --model: one, other" in capsys.readouterr().err
    assert main(["check", str(path), "--against", f"{target}:one"]) == 1
    assert "is no ONNX model" in capsys.readouterr().err
