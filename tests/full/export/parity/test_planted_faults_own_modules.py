"""Faults planted in the ONNX models of modules that are no classifiers: parity catches each and names the tensor."""

import dataclasses
import functools

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from kit.own_modules import publication_of
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity import ParityError, verify_parity
from rnnserve.export.parity.verification import reference_of


@functools.cache
def exported(name):
    """The described module, its ONNX model, and a reference that computes each batch once."""
    model = dataclasses.replace(describe_model(publication_of(name)), longest=300)
    return model, to_onnx(model), reference_of(model)


def operators(model, op_type):
    found = [node for node in model.graph.node if node.op_type == op_type]
    assert found
    return found


def add_constants(model, **values):
    for name, value in values.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array([value]), name))


def freeze_length(model):
    """A slice as long as the sample: right for that length and shorter ones."""
    (node,) = operators(model, "LSTM")
    add_constants(model, start=0, end=5, axis=0)
    cut = helper.make_node("Slice", [node.input[0], "start", "end", "axis"], ["cut"])
    node.input[0] = "cut"
    model.graph.node.insert(list(model.graph.node).index(node), cut)


def replace_and_by_or(model):
    (node,) = operators(model, "And")
    node.op_type = "Or"


def reverse_batch(model):
    """Every value is right, in another row."""
    (maker,) = (node for node in model.graph.node if "logits" in node.output)
    maker.output[list(maker.output).index("logits")] = "in_order"
    add_constants(model, start=-1, end=np.iinfo(np.int64).min, axis=0, by=-1)
    model.graph.node.append(helper.make_node("Slice", ["in_order", "start", "end", "axis", "by"], ["logits"]))


@pytest.mark.parametrize(
    ("name", "plant", "said", "unsaid"),
    [
        ("dict_forecaster", freeze_length, ['onnx, shapes: "y" of random of batch'], "onnx, step"),
        ("alarm", replace_and_by_or, ['onnx, random, integers: "high" at ['], "shapes"),
        ("policy", reverse_batch, ['onnx, step: "logits"'], "shapes"),
    ],
    ids=lambda part: part if isinstance(part, str) and part.isidentifier() else "",
)
def test_planted_fault_is_caught_and_named(name, plant, said, unsaid):
    model, data, reference = exported(name)
    changed = onnx.load_model_from_string(data)
    plant(changed)
    with pytest.raises(ParityError) as raised:
        verify_parity(model, None, changed.SerializeToString(), progress=False, reference=reference)
    assert [part for part in said if part not in str(raised.value)] == []
    assert unsaid not in str(raised.value)
