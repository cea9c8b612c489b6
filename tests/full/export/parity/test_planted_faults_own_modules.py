"""Faults planted in the ONNX models of other people's modules, one by one: the proof fails and names the tensor."""

import dataclasses
import functools

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from kit.own_modules import PUBLICATIONS, own_module
from rnnserve.export.description.described_model import DescribedModel, describe_model
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity import ParityError, Reference, prove
from rnnserve.export.parity.proof import reference_of


@dataclasses.dataclass(frozen=True)
class Exported:
    """A described module and its ONNX model."""

    model: DescribedModel
    onnx_model: bytes
    reference: Reference

    def caught(self, plant) -> str:
        """Prove the ONNX model after `plant` changed it."""
        changed = onnx.load_model_from_string(self.onnx_model)
        plant(changed)
        with pytest.raises(ParityError) as raised:
            prove(self.model, None, changed.SerializeToString(), progress=False, reference=self.reference)
        return str(raised.value)


@pytest.fixture(scope="module")
def exported():
    @functools.cache
    def make(name) -> Exported:
        kind, describe = PUBLICATIONS[name]
        model = describe_model(describe(own_module(kind).eval()))
        return Exported(model, to_onnx(model), reference_of(model, keeps=True))

    return make


def layers(model, op_type) -> list[onnx.NodeProto]:
    found = [node for node in model.graph.node if node.op_type == op_type]
    assert found
    return found


def change(model, name, how) -> None:
    """Replace an initializer by what `how` makes of it."""
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    before = numpy_helper.to_array(tensor)
    after = how(before.copy())
    assert not np.array_equal(after, before)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(after), name))


def test_what_is_right_passes(exported):
    found = prove(exported("sentiment").model, None, exported("sentiment").onnx_model, progress=False)
    assert found.parity.samples > 1000


def test_swapped_gates(exported):
    def plant(model):
        for node in layers(model, "GRU"):
            for name in node.input[1:3]:
                change(model, name, lambda w: np.concatenate([w[:, 5:10], w[:, :5], w[:, 10:]], axis=1))

    message = exported("sentiment").caught(plant)
    assert 'onnx, step: "h_n"' in message
    assert 'onnx, random: "logits" at sequence 128' in message


def test_a_gru_that_resets_before_the_product(exported):
    def plant(model):
        for node in layers(model, "GRU"):
            (attribute,) = (attribute for attribute in node.attribute if attribute.name == "linear_before_reset")
            attribute.i = 0

    assert 'onnx, step: "h_n"' in exported("sentiment").caught(plant)


def test_a_reversed_direction(exported):
    def plant(model):
        (node,) = layers(model, "LSTM")
        (direction,) = (attribute for attribute in node.attribute if attribute.name == "direction")
        direction.s = b"reverse"

    message = exported("forecaster").caught(plant)
    assert 'onnx, random: "y" at sequence 128' in message
    assert 'onnx, step: "y"' not in message  # one step is the same either way


@pytest.mark.parametrize(("name", "op_type", "tensor"), [("sentiment", "GRU", "h_n"), ("tagger", "LSTM", "scores")])
def test_ignored_lengths(exported, name, op_type, tensor):
    def plant(model):
        for node in layers(model, op_type):
            node.input[4] = ""

    message = exported(name).caught(plant)
    assert f'onnx, random: "{tensor}" at sequence 128' in message
    assert "onnx, step" not in message


def test_zeros_after_lengths_that_are_none(exported):
    def plant(model):
        for node in layers(model, "GRU"):
            node.input[4] = ""

    assert 'onnx, zeros after lengths: "output" at [' in exported("alarm").caught(plant)


def test_a_frozen_length(exported):
    """A Slice of the sample's length: right for that one and shorter ones."""

    def plant(model):
        (node,) = layers(model, "LSTM")
        for name, value in (("from", 0), ("to", 5), ("axis", 0)):
            model.graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
        cut = helper.make_node("Slice", [node.input[0], "from", "to", "axis"], ["cut"])
        node.input[0] = "cut"
        model.graph.node.insert(list(model.graph.node).index(node), cut)

    message = exported("forecaster").caught(plant)
    assert 'onnx, shapes: "y" of random of batch' in message
    assert "onnx, step" not in message


def test_one_weight_that_is_off_by_a_thousandth(exported):
    def plant(model):
        def perturbed(array):
            array.flat[1] += 1e-3
            return array

        change(model, layers(model, "LSTM")[0].input[1], perturbed)

    assert 'onnx, random: "y" at sequence 128' in exported("forecaster").caught(plant)


def test_one_weight_of_a_model_that_does_not_run_in_float64(exported):
    def plant(model):
        def perturbed(array):
            array.flat[1] += 1e-3
            return array

        change(model, layers(model, "GRU")[0].input[1], perturbed)

    message = exported("single_inside").caught(plant)
    assert 'onnx, step: "output"' in message
    assert 'onnx, random: "output" at sequence 128' in message


def test_integers_that_are_others(exported):
    """The index of the smallest score instead of the largest."""

    def plant(model):
        (node,) = layers(model, "ArgMax")
        node.op_type = "ArgMin"

    message = exported("tagger").caught(plant)
    assert 'onnx, step, integers: "tags" at [' in message
    assert 'onnx, random, integers: "tags" at [' in message
    assert '"scores"' not in message


def test_booleans_that_are_others(exported):
    def plant(model):
        (node,) = layers(model, "And")
        node.op_type = "Or"

    assert 'onnx, random, integers: "high" at [' in exported("alarm").caught(plant)


def test_a_batch_axis_that_is_reversed(exported):
    """Every value is right, in another row."""

    def plant(model):
        (maker,) = (node for node in model.graph.node if "action" in node.output)
        at = list(maker.output).index("action")
        maker.output[at] = "in_order"
        for name, value in (("from", -1), ("to", np.iinfo(np.int64).min), ("axis", 0), ("by", -1)):
            model.graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
        model.graph.node.append(helper.make_node("Slice", ["in_order", "from", "to", "axis", "by"], ["action"]))

    assert 'onnx, step: "action"' in exported("step").caught(plant)


def test_ignored_lengths_of_one_of_two_sequence_axes(exported):
    def plant(model):
        encoder = layers(model, "GRU")[0]
        encoder.input[4] = ""

    assert 'onnx, random: "y" at sequence' in exported("seq2seq").caught(plant)


def test_another_modules_model(exported):
    other = exported("mean")
    module = own_module(PUBLICATIONS["mean"][0])
    with torch.no_grad():
        module.head.bias += 1e-3
    model = to_onnx(describe_model(PUBLICATIONS["mean"][1](module)))
    with pytest.raises(ParityError, match='onnx, step: "y"'):
        prove(other.model, None, model, progress=False)
