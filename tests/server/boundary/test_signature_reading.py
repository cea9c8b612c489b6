"""A signature is read from the graph, and the manifest must describe that graph."""

import dataclasses
from collections.abc import Sequence

import pytest

from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.datatypes import DTYPES
from rnnserve.server.boundary.signature import Batching, TensorSpec
from rnnserve.server.boundary.signature_reading import read_signature

JOINED = manifest_pb2.Batching(mode=manifest_pb2.BATCHING_JOINED)
GRAPH_TYPES = {
    "tensor(bool)": "BOOL",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
}
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


def test_names_axes_sizes_and_datatypes_are_the_graphs():
    signature = read_signature(INPUTS, OUTPUTS, described())
    assert list(signature.inputs) == ["input", "h_0"]
    assert list(signature.outputs) == ["logits"]
    main, state = signature.main, signature.inputs["h_0"]
    assert (main.name, main.batch_axis, dict(main.sequence_axes), main.optional) == ("input", 0, {"sequence": 1}, False)
    assert (state.batch_axis, dict(state.sequence_axes), state.optional) == (1, {}, True)
    assert main.shape(5, {"sequence": 7}) == (5, 7, 2)
    assert state.shape(5, {"sequence": 7}) == (1, 5, 3)
    assert str(signature) == (
        '"input" FP32 (batch, sequence, features=2), optionally "h_0" FP32 (layers * directions=1, batch, hidden=3)'
    )


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (dataclasses.replace(INPUTS[0], type="tensor(int64)"), r"tensor\(int64\) \['batch', 'sequence', 2\]"),
        (dataclasses.replace(INPUTS[0], type="tensor(double)"), r"tensor\(double\)"),
        (dataclasses.replace(INPUTS[0], shape=["batch", "sequence", 3]), r"\['batch', 'sequence', 3\]"),
        (dataclasses.replace(INPUTS[0], shape=["batch", 4, 2]), r"\['batch', 4, 2\]"),
        (dataclasses.replace(INPUTS[0], shape=["sequence", "batch", 2]), r"\['sequence', 'batch', 2\]"),
        (dataclasses.replace(INPUTS[0], shape=["batch", None, 2]), r"\['batch', None, 2\]"),
        (dataclasses.replace(INPUTS[0], shape=["batch", "sequence"]), r"\['batch', 'sequence'\]"),
    ],
    ids=["type", "unknown type", "size", "frozen axis", "order", "axis without a name", "rank"],
)
def test_a_graph_that_differs_from_its_manifest_is_refused(graph, said):
    with pytest.raises(
        ArtifactError, match=rf'^manifest\.json: describes "input" .*, but in model\.onnx it is .*{said}'
    ):
        read_signature([graph, INPUTS[1]], OUTPUTS, described())


def test_an_output_that_differs_is_refused():
    graph = [dataclasses.replace(OUTPUTS[0], shape=["batch", 3])]
    with pytest.raises(ArtifactError, match=r'describes "logits"'):
        read_signature(INPUTS, graph, described())


def test_a_tensor_that_only_one_of_them_has_is_refused():
    with pytest.raises(ArtifactError, match=r'^manifest\.json: does not describe the tensor "c_0" of model\.onnx'):
        read_signature([*INPUTS, GraphTensor("c_0", "tensor(float)", [1, "batch", 3])], OUTPUTS, described())
    with pytest.raises(ArtifactError, match=r'^model\.onnx: lacks the tensor "h_0" that manifest\.json describes'):
        read_signature(INPUTS[:1], OUTPUTS, described())


def test_a_tensor_without_a_batch_axis_is_refused():
    manifest = described()
    manifest.outputs[0].axes[0].name = "rows"
    with pytest.raises(ArtifactError, match=r'^model\.onnx: "logits" has no axis named "batch"'):
        read_signature(INPUTS, [dataclasses.replace(OUTPUTS[0], shape=["rows", 2])], manifest)


def test_a_model_may_have_any_sequence_axes_or_none():
    manifest = described()
    manifest.inputs[0].axes[1].name = "steps"
    graph = dataclasses.replace(INPUTS[0], shape=["batch", "steps", 2])
    signature = read_signature([graph, INPUTS[1]], OUTPUTS, manifest)
    assert dict(signature.sequence_axes) == {"steps": signature.main}
    del manifest.inputs[0].axes[1]
    signature = read_signature([dataclasses.replace(INPUTS[0], shape=["batch", 2]), INPUTS[1]], OUTPUTS, manifest)
    assert dict(signature.sequence_axes) == {}
    assert signature.main.shape(3, {}) == (3, 2)


def with_lengths() -> tuple[list[GraphTensor], manifest_pb2.Manifest]:
    manifest = described()
    ends = tensor("ends", "INT64", {"batch": -1}, manifest_pb2.DEFAULT_FULL_LENGTH)
    ends.lengths_of = "sequence"
    manifest.inputs.append(ends)
    manifest.batching.mode = manifest_pb2.BATCHING_PADDED
    return [*INPUTS, GraphTensor("ends", "tensor(int64)", ["batch"])], manifest


def test_lengths_are_known_by_their_role():
    inputs, manifest = with_lengths()
    signature = read_signature(inputs, OUTPUTS, manifest)
    assert signature.batching is Batching.PADDED
    assert {axis: spec.name for axis, spec in signature.lengths.items()} == {"sequence": "ends"}


@pytest.mark.parametrize("datatype", ["INT32", "INT64"])
def test_lengths_are_integers_of_either_size(datatype):
    inputs, manifest = with_lengths()
    manifest.inputs[2].datatype, inputs[2].type = datatype, f"tensor({datatype.lower()})"
    assert read_signature(inputs, OUTPUTS, manifest).lengths["sequence"].datatype == datatype


def test_lengths_of_another_datatype_are_refused():
    inputs, manifest = with_lengths()
    manifest.inputs[2].datatype, inputs[2].type = "INT16", "tensor(int16)"
    said = r'^manifest\.json: "ends" INT16 \(batch\) holds lengths, which are \(batch\) and INT64 or INT32$'
    with pytest.raises(ArtifactError, match=said):
        read_signature(inputs, OUTPUTS, manifest)


def test_lengths_of_other_axes_are_refused():
    inputs, manifest = with_lengths()
    manifest.inputs[2].axes.add(name="sequence", size=-1)
    inputs[2].shape = ["batch", "sequence"]
    said = r'^manifest\.json: "ends" INT64 \(batch, sequence\) holds lengths, which are \(batch\) and INT64 or INT32$'
    with pytest.raises(ArtifactError, match=said):
        read_signature(inputs, OUTPUTS, manifest)


def test_an_axis_has_lengths_once():
    inputs, manifest = with_lengths()
    manifest.inputs.add().CopyFrom(manifest.inputs[2])
    manifest.inputs[3].name = "more ends"
    inputs.append(dataclasses.replace(inputs[2], name="more ends"))
    with pytest.raises(ArtifactError, match=r'more than one input holds the lengths of the axis "sequence"$'):
        read_signature(inputs, OUTPUTS, manifest)


@pytest.mark.parametrize("axes", [("batch", "steps", "steps"), ("batch", "batch", "features")])
def test_a_dynamic_axis_is_there_once(axes):
    manifest = described()
    del manifest.inputs[0].axes[:]
    sizes = [-1 if name != "features" else 2 for name in axes]
    manifest.inputs[0].axes.extend(manifest_pb2.Axis(name=n, size=s) for n, s in zip(axes, sizes, strict=True))
    shape: list[int | str | None] = [name if size < 0 else size for name, size in zip(axes, sizes, strict=True)]
    with pytest.raises(ArtifactError, match=r'^model\.onnx: "input" FP32 .* has one dynamic axis twice$'):
        read_signature([dataclasses.replace(INPUTS[0], shape=shape), INPUTS[1]], OUTPUTS, manifest)


def test_a_second_batch_axis_of_a_fixed_size_is_refused():
    manifest = described()
    manifest.inputs[0].axes[2].name = "batch"
    with pytest.raises(ArtifactError, match=r"\(batch, sequence, batch=2\) has one dynamic axis twice$"):
        read_signature(INPUTS, OUTPUTS, manifest)


def test_bounds_and_roles_are_the_manifests():
    manifest = described()
    manifest.inputs[0].floats.CopyFrom(manifest_pb2.FloatRange(low=-2.5, high=3.5))
    manifest.outputs[0].continues_as = "h_0"
    manifest.outputs[0].zeros_after_lengths = True
    signature = read_signature(INPUTS, OUTPUTS, manifest)
    assert (signature.main.low, signature.main.high, signature.main.bounds) == (-2.5, 3.5, None)
    assert (signature.inputs["h_0"].low, signature.inputs["h_0"].high) == (None, None)
    logits = signature.outputs["logits"]
    assert (logits.continues_as, logits.zeros_after_lengths) == ("h_0", True)
    inputs, manifest = with_lengths()
    manifest.inputs[2].integers.CopyFrom(manifest_pb2.IntegerRange(low=3, high=4))
    assert read_signature(inputs, OUTPUTS, manifest).inputs["ends"].bounds == (3, 4)


def limited(smallest: int, largest: int) -> tuple[list[GraphTensor], manifest_pb2.Manifest]:
    inputs, manifest = with_lengths()
    manifest.inputs[0].axes[1].smallest, manifest.inputs[0].axes[1].largest = smallest, largest
    return inputs, manifest


def test_limits_of_an_axis_are_those_of_its_lengths():
    inputs, manifest = limited(5, 64)
    signature = read_signature(inputs, OUTPUTS, manifest)
    assert signature.main.limits == {"sequence": (5, 64)}
    assert signature.main.described_axes == "(batch, sequence=5..64, features=2)"
    assert signature.inputs["ends"].least_length == 5
    assert signature.main.low is None
    inputs, manifest = limited(0, 64)
    assert read_signature(inputs, OUTPUTS, manifest).main.limits == {"sequence": (1, 64)}
    inputs, manifest = with_lengths()
    signature = read_signature(inputs, OUTPUTS, manifest)
    assert (signature.main.limits, signature.inputs["ends"].least_length) == ({}, 1)


def test_one_size_is_a_limit_and_none_is_refused():
    inputs, manifest = limited(5, 5)
    assert read_signature(inputs, OUTPUTS, manifest).main.limits == {"sequence": (5, 5)}
    inputs, manifest = limited(6, 5)
    with pytest.raises(ArtifactError, match=r'^manifest\.json: the axis "sequence" of "input" has 6 to 5 steps$'):
        read_signature(inputs, OUTPUTS, manifest)


def test_a_limited_number_of_rows_is_for_requests_that_run_alone():
    manifest = described()
    manifest.inputs[0].axes[0].largest = 8
    with pytest.raises(ArtifactError, match=r"says that requests may share a run, but limits the number of rows$"):
        read_signature(INPUTS, OUTPUTS, manifest)
    manifest.batching.mode = manifest_pb2.BATCHING_ALONE
    assert read_signature(INPUTS, OUTPUTS, manifest).main.limits == {"batch": (1, 8)}


def make_all_optional(manifest):
    for described in manifest.inputs:
        described.default = ZEROS


def take_no_integer(manifest):
    manifest.inputs[2].integers.CopyFrom(manifest_pb2.IntegerRange(low=3, high=3))


REFUSED = {
    "lengths of no axis": (lambda m: setattr(m.inputs[2], "lengths_of", "steps"), 'lengths of "steps", which is no'),
    "padded without lengths": (lambda m: m.inputs[2].ClearField("lengths_of"), "no input holds their lengths along"),
    "no mode": (lambda m: m.ClearField("batching"), "does not say which requests may share a run"),
    "nothing required": (make_all_optional, "no input is required"),
    "text": (lambda m: setattr(m.inputs[2], "datatype", "BYTES"), '"ends" has the datatype "BYTES"'),
    "no integers": (take_no_integer, ": none"),
}


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_served_is_said(change, said):
    inputs, manifest = with_lengths()
    change(manifest)
    with pytest.raises(ArtifactError, match=rf"^manifest\.json: .*{said}"):
        read_signature(inputs, OUTPUTS, manifest)


def test_an_axis_whose_size_nothing_required_sets_is_refused():
    manifest = described()
    manifest.outputs[0].axes[1].CopyFrom(manifest_pb2.Axis(name="steps", size=-1))
    with pytest.raises(ArtifactError, match=r'^manifest\.json: the axis "steps" of "logits" is in no input'):
        read_signature(INPUTS, [dataclasses.replace(OUTPUTS[0], shape=["batch", "steps"])], manifest)


def test_every_datatype_has_its_type_in_graphs():
    types = [GraphTensor(f"x{n}", kind, ["batch"]) for n, kind in enumerate(GRAPH_TYPES)]
    tensors = [tensor(f"x{n}", datatype, {"batch": -1}) for n, datatype in enumerate(GRAPH_TYPES.values())]
    manifest = manifest_pb2.Manifest(inputs=tensors, outputs=tensors, batching=JOINED)
    assert [spec.datatype for spec in read_signature(types, types, manifest).inputs.values()] == list(DTYPES)


@pytest.mark.parametrize(
    ("more", "filler"),
    [
        ({}, 0),
        ({"low": 0, "high": 9}, 0),
        ({"low": 3, "high": 9}, 3),
        ({"low": -9, "high": -3}, -4),
        ({"low": 3, "high": 9, "optional": True}, 0),
        ({"lengths_of": "sequence"}, 1),
        ({"lengths_of": "sequence", "shortest": 5, "optional": True}, 5),
    ],
)
def test_padding_is_a_value_that_the_input_takes(more, filler):
    assert TensorSpec("x", "INT64", ("batch",), (-1,), **more).filler == filler


@pytest.mark.parametrize(("more", "bounds"), [({"low": 3}, None), ({"high": 3}, None), ({"low": 0, "high": 3}, (0, 3))])
def test_integers_are_bounded_on_both_sides_or_not(more, bounds):
    assert TensorSpec("x", "INT64", ("batch",), (-1,), **more).bounds == bounds
