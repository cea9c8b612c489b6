"""Modules of float16 are computed in float32 and rounded once."""

import copy

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.utils import _pytree

from kit.corpus.numbers import HALVES
from rnnserve.export import export_onnx

AXES = {0: "batch", 1: "sequence"}


def session_of(module, args, shapes):
    leaves = _pytree.tree_leaves(module(*args))
    program = export_onnx(
        module,
        args,
        input_names=[f"input_{at}" for at, _ in enumerate(args)],
        output_names=[f"output_{at}" for at, _ in enumerate(leaves)],
        dynamic_shapes=shapes,
    )
    return onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])


def run(session, *args):
    wanted = [value.name for value in session.get_inputs()]
    return session.run(None, {name: args[int(name.removeprefix("input_"))].numpy() for name in wanted})


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("row", [row for row in HALVES if "cast" not in row.name][1::2], ids=str)
def test_results_are_those_of_float32_rounded_once(row):
    module = row.module()
    session = session_of(module, row.draw({"batch": 3, "sequence": 4}, 0), (AXES, {0: "batch"}))
    wide = copy.deepcopy(module).float()
    for number, (batch, sequence) in enumerate(((1, 1), (1, 6), (5, 9), (2, 30)), 1):
        input, lengths = row.draw({"batch": batch, "sequence": sequence}, number)
        with torch.no_grad():
            expected = [leaf.numpy() for leaf in _pytree.tree_leaves(wide(input.float(), lengths))]
        for found, exact in zip(run(session, input, lengths), expected, strict=True):
            # Half a unit in the last place of float16, and what float32 rounds in another order.
            half_unit = 0.5 * np.spacing(np.abs(exact).astype(np.float16)).astype(np.float32)
            np.testing.assert_array_less(np.abs(found - exact), half_unit + 1e-5)


def test_what_the_module_rounds_stays_rounded():
    class Rounds(nn.Module):
        def forward(self, input, narrow):
            rounded = (input * 70000).half()
            return rounded.float() / 2, rounded, narrow, narrow * narrow, torch.full_like(narrow, 0.1) + narrow[:, :1]

    arguments = (torch.tensor([[1.0, 0.1234567]]), torch.tensor([[2.5, 300.0]]).half())
    session = session_of(Rounds(), arguments, (AXES, AXES))
    for expected, found in zip(Rounds()(*arguments), run(session, *arguments), strict=True):
        assert found.dtype == expected.numpy().dtype
        np.testing.assert_array_equal(found, expected.numpy())
