"""A signature is read from the graph, and the manifest must describe that graph."""

import dataclasses
from collections.abc import Sequence

import pytest

from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import ArtifactError
from rnnserve.server.boundary.signature import read_signature

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
    assert (main.name, main.batch_axis, main.sequence_axis, main.optional) == ("input", 0, 1, False)
    assert (state.batch_axis, state.sequence_axis, state.optional) == (1, None, True)
    assert main.shape(5, 7) == (5, 7, 2)
    assert state.shape(5, 7) == (1, 5, 3)
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


def test_a_model_without_a_sequence_axis_is_refused():
    manifest = described()
    manifest.inputs[0].axes[1].name = "steps"
    graph = dataclasses.replace(INPUTS[0], shape=["batch", "steps", 2])
    with pytest.raises(ArtifactError, match=r'^model\.onnx: no input has an axis named "sequence"'):
        read_signature([graph, INPUTS[1]], OUTPUTS, manifest)
