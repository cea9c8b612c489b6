"""A signature is read from the graph, and the manifest must describe that graph."""

import dataclasses
from collections.abc import Sequence

import pytest

from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.datatypes import DTYPES
from rnnserve.server.validation.signature import TensorSpec
from rnnserve.server.validation.signature_reading import read_signature

JOINED = manifest_pb2.Batching(mode=manifest_pb2.BATCHING_JOINED)
GRAPH_TYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float", "double",
)  # fmt: skip
REQUIRED, ZEROS = manifest_pb2.DEFAULT_REQUIRED, manifest_pb2.DEFAULT_ZEROS


@dataclasses.dataclass
class GraphTensor:
    name: str
    type: str
    shape: Sequence[int | str | None]


def tensor(
    name: str, datatype: str, axes: dict[str, int], default: manifest_pb2.Default.ValueType = REQUIRED
) -> manifest_pb2.Tensor:
    described = [manifest_pb2.Axis(name=axis, size=size) for axis, size in axes.items()]
    return manifest_pb2.Tensor(name=name, datatype=datatype, axes=described, default=default)


def described() -> manifest_pb2.Manifest:
    return manifest_pb2.Manifest(
        inputs=[
            tensor("input", "FP32", {"batch": -1, "sequence": -1, "features": 2}),
            tensor("h_0", "FP32", {"layers * directions": 1, "batch": -1, "hidden": 3}, ZEROS),
        ],
        outputs=[tensor("logits", "FP32", {"batch": -1, "classes": 2})],
        batching=JOINED,
    )


INPUTS = [
    GraphTensor("input", "tensor(float)", ["batch", "sequence", 2]),
    GraphTensor("h_0", "tensor(float)", [1, "batch", 3]),
]
OUTPUTS = [GraphTensor("logits", "tensor(float)", ["batch", 2])]


def refusal(inputs, outputs, manifest) -> str:
    with pytest.raises(ArtifactError) as refused:
        read_signature(inputs, outputs, manifest)
    return str(refused.value)


def test_state_that_continues_as_no_input_is_refused():
    manifest = described()
    manifest.outputs[0].continues_as = "h_1"
    assert refusal(INPUTS, OUTPUTS, manifest) == 'manifest.json: "logits" continues as "h_1", which is not an input'


def test_graph_that_differs_from_its_manifest_is_refused():
    for change in (
        {"type": "tensor(int64)"},
        {"type": "tensor(double)"},
        {"shape": ["batch", "sequence", 3]},
        {"shape": ["batch", 4, 2]},
        {"shape": ["sequence", "batch", 2]},
        {"shape": ["batch", None, 2]},
        {"shape": ["batch", "sequence"]},
    ):
        graph = dataclasses.replace(INPUTS[0], **change)
        said = refusal([graph, INPUTS[1]], OUTPUTS, described())
        assert said.startswith('manifest.json: describes "input" ')
        assert f"but model.onnx has {graph.type} {graph.shape}" in said
    output = dataclasses.replace(OUTPUTS[0], shape=["batch", 3])
    assert 'describes "logits"' in refusal(INPUTS, [output], described())


def test_tensor_missing_from_graph_or_manifest_is_refused():
    more = [*INPUTS, GraphTensor("c_0", "tensor(float)", [1, "batch", 3])]
    assert 'does not describe the tensor "c_0" of model.onnx' in refusal(more, OUTPUTS, described())
    assert 'model.onnx: lacks the tensor "h_0"' in refusal(INPUTS[:1], OUTPUTS, described())


def test_tensor_without_a_batch_axis_is_refused():
    manifest = described()
    manifest.outputs[0].axes[0].name = "rows"
    said = refusal(INPUTS, [dataclasses.replace(OUTPUTS[0], shape=["rows", 2])], manifest)
    assert said.startswith('model.onnx: "logits" has no axis named "batch"')


def with_lengths() -> tuple[list[GraphTensor], manifest_pb2.Manifest]:
    manifest = described()
    ends = tensor("ends", "INT64", {"batch": -1}, manifest_pb2.DEFAULT_FULL_LENGTH)
    ends.lengths_of = "sequence"
    manifest.inputs.append(ends)
    manifest.batching.mode = manifest_pb2.BATCHING_PADDED
    return [*INPUTS, GraphTensor("ends", "tensor(int64)", ["batch"])], manifest


def test_lengths_with_another_datatype_or_shape_or_twice_are_refused():
    inputs, manifest = with_lengths()
    manifest.inputs[2].datatype, inputs[2].type = "INT16", "tensor(int16)"
    said = "contains lengths; expected the axes (batch), and INT64 or INT32"
    assert said in refusal(inputs, OUTPUTS, manifest)
    inputs, manifest = with_lengths()
    manifest.inputs[2].axes.add(name="sequence", size=-1)
    inputs[2].shape = ["batch", "sequence"]
    assert said in refusal(inputs, OUTPUTS, manifest)
    inputs, manifest = with_lengths()
    manifest.inputs.add().CopyFrom(manifest.inputs[2])
    manifest.inputs[3].name = "more ends"
    inputs.append(dataclasses.replace(inputs[2], name="more ends"))
    assert 'several inputs contain the lengths of the axis "sequence"' in refusal(inputs, OUTPUTS, manifest)


def test_repeated_dynamic_axis_is_refused():
    twice: list[tuple[tuple[str, ...], list[int | str | None]]] = [
        (("batch", "steps", "steps"), ["batch", "steps", "steps"]),
        (("batch", "batch", "n"), ["batch", "batch", 2]),
    ]
    for axes, shape in twice:
        manifest = described()
        del manifest.inputs[0].axes[:]
        for name, size in zip(axes, shape, strict=True):
            manifest.inputs[0].axes.add(name=name, size=size if isinstance(size, int) else -1)
        said = refusal([dataclasses.replace(INPUTS[0], shape=shape), INPUTS[1]], OUTPUTS, manifest)
        assert said.endswith("has the same dynamic axis twice")
    manifest = described()
    manifest.inputs[0].axes[2].name = "batch"  # of a fixed size
    assert "(batch, sequence, batch=2) has the same dynamic axis twice" in refusal(INPUTS, OUTPUTS, manifest)


def test_limits_of_an_axis_apply_to_its_lengths():
    for smallest, largest, limits, least in ((5, 64, {"sequence": (5, 64)}, 5), (0, 64, {"sequence": (1, 64)}, 1),
                                             (5, 5, {"sequence": (5, 5)}, 5), (0, 0, {}, 1)):  # fmt: skip
        inputs, manifest = with_lengths()
        manifest.inputs[0].axes[1].smallest, manifest.inputs[0].axes[1].largest = smallest, largest
        signature = read_signature(inputs, OUTPUTS, manifest)
        assert (signature.main.limits, signature.inputs["ends"].least_length) == (limits, least)
        assert signature.main.low is None
    manifest.inputs[0].axes[1].smallest, manifest.inputs[0].axes[1].largest = 6, 5
    assert 'the axis "sequence" of "input" has an invalid range of 6 to 5 steps' in refusal(inputs, OUTPUTS, manifest)


def test_row_limit_requires_unbatched_requests():
    manifest = described()
    manifest.inputs[0].axes[0].largest = 8
    assert "requests share a batch, but limits the number of rows" in refusal(INPUTS, OUTPUTS, manifest)
    manifest.batching.mode = manifest_pb2.BATCHING_ALONE
    assert read_signature(INPUTS, OUTPUTS, manifest).main.limits == {"batch": (1, 8)}


def make_all_optional(manifest):
    for described in manifest.inputs:
        described.default = ZEROS


def take_no_integer(manifest):
    manifest.inputs[2].integers.CopyFrom(manifest_pb2.IntegerRange(low=3, high=3))


REFUSED = {
    "lengths of no axis": (lambda m: setattr(m.inputs[2], "lengths_of", "steps"), 'lengths of "steps", which is no'),
    "padded without lengths": (lambda m: m.inputs[2].ClearField("lengths_of"), "no input contains their lengths along"),
    "no mode": (lambda m: m.ClearField("batching"), "does not record which requests can share a batch"),
    "nothing required": (make_all_optional, "no input is required"),
    "text": (lambda m: setattr(m.inputs[2], "datatype", "BYTES"), '"ends" has the datatype "BYTES"'),
    "no integers": (take_no_integer, "has an empty range of integers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_manifest_that_cannot_be_served_is_refused(name):
    change, said = REFUSED[name]
    inputs, manifest = with_lengths()
    change(manifest)
    refused = refusal(inputs, OUTPUTS, manifest)
    assert refused.startswith("manifest.json: ")
    assert said in refused


def test_axis_that_is_in_no_required_input_is_refused():
    manifest = described()
    manifest.outputs[0].axes[1].CopyFrom(manifest_pb2.Axis(name="steps", size=-1))
    said = refusal(INPUTS, [dataclasses.replace(OUTPUTS[0], shape=["batch", "steps"])], manifest)
    assert said.startswith('manifest.json: the axis "steps" of "logits" is not in any required input')


def test_every_datatype_has_its_type_in_graphs():
    types = [GraphTensor(f"x{n}", f"tensor({kind})", ["batch"]) for n, kind in enumerate(GRAPH_TYPES)]
    tensors = [tensor(f"x{n}", datatype, {"batch": -1}) for n, datatype in enumerate(DTYPES)]
    manifest = manifest_pb2.Manifest(inputs=tensors, outputs=tensors, batching=JOINED)
    assert [each.datatype for each in read_signature(types, types, manifest).inputs.values()] == list(DTYPES)


@pytest.mark.parametrize(
    ("more", "bounds", "filler"),
    [
        ({}, None, 0),
        ({"low": 3}, None, 0),
        ({"high": 3}, None, 0),
        ({"low": 0, "high": 9}, (0, 9), 0),
        ({"low": 3, "high": 9}, (3, 9), 3),
        ({"low": -9, "high": -3}, (-9, -3), -4),
        ({"low": 3, "high": 9, "optional": True}, (3, 9), 0),
        ({"lengths_of": "sequence"}, None, 1),
        ({"lengths_of": "sequence", "shortest": 5, "optional": True}, None, 5),
    ],
)
def test_integers_are_bounded_on_both_sides_and_padding_is_within(more, bounds, filler):
    spec = TensorSpec("x", "INT64", ("batch",), (-1,), **more)
    assert (spec.bounds, spec.filler) == (bounds, filler)
