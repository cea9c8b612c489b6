"""The config.pbtxt that export writes, as Triton's own client and our own code read it."""

import pytest
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from kit.descriptions import describe_architecture
from rnnserve.export.triton_config_writing import render_config, write_config
from rnnserve.models import Architecture
from rnnserve.protos import manifest_pb2
from rnnserve.protos.triton_config import CONFIG, check_tensors, read_config, versions_to_serve

ARCHITECTURES = {
    "rnn": Architecture(),
    "wide": Architecture(num_layers=2, bidirectional=True, features=3, hidden=5, classes=4),
    "lstm": Architecture(cell="lstm", hidden=7),
}


@pytest.fixture(params=ARCHITECTURES)
def model(request, tmp_path):
    """A model's folder with its config, and its architecture."""
    architecture = ARCHITECTURES[request.param]
    folder = tmp_path / request.param
    folder.mkdir()
    described = describe_architecture(architecture)
    (folder / CONFIG).write_text(render_config(folder.name, described.inputs, described.outputs))
    return folder, architecture


def test_our_own_code_reads_it(model):
    folder, architecture = model
    config = read_config(folder)
    described = describe_architecture(architecture)
    check_tensors(config, described.inputs, described.outputs)
    assert config.name == folder.name
    assert versions_to_serve(config, [1, 2, 10]) == ([10, 2, 1], 1)


def test_triton_reads_it(model):
    folder, architecture = model
    parsed = text_format.Parse((folder / CONFIG).read_text(), model_config_pb2.ModelConfig())
    config = json_format.MessageToDict(parsed, preserving_proto_field_name=True)
    assert config["name"] == folder.name
    assert config["platform"] == "onnxruntime_onnx"
    assert config.get("max_batch_size", 0) == 0
    assert config["version_policy"] == {"latest": {"num_versions": 1}}
    states = ["h_0", "c_0"] if architecture.cell == "lstm" else ["h_0"]
    assert [tensor["name"] for tensor in config["input"]] == ["input", "lengths", *states]
    assert [tensor["name"] for tensor in config["input"] if tensor.get("optional")] == ["lengths", *states]
    assert [int(size) for size in config["input"][0]["dims"]] == [-1, -1, architecture.features]
    assert config["input"][1]["data_type"] == "TYPE_INT64"
    assert [int(size) for size in config["output"][2]["dims"]] == [architecture.states, -1, architecture.hidden]


def test_it_says_why_there_is_no_max_batch_size(model):
    lines = (model[0] / CONFIG).read_text().splitlines()
    assert "the dims below are whole shapes" in lines[lines.index("max_batch_size: 0") - 1]


def test_writing_replaces_the_file_and_leaves_nothing_beside_it(tmp_path):
    assert write_config(tmp_path, "old\n") == tmp_path / CONFIG
    write_config(tmp_path, "new ä\n")
    assert (tmp_path / CONFIG).read_bytes() == "new ä\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == [CONFIG]


@pytest.mark.parametrize("architecture", [ARCHITECTURES["lstm"], Architecture(num_layers=3)])
def test_states_that_triton_keeps_are_no_inputs(architecture, tmp_path):
    described = describe_architecture(architecture)
    text = render_config("kept", described.inputs, described.outputs, keeps_states=True)
    parsed = text_format.Parse(text, model_config_pb2.ModelConfig())
    names = ["h_0", "c_0"] if architecture.cell == "lstm" else ["h_0"]
    assert [tensor.name for tensor in parsed.input] == ["input", "lengths"]
    assert [state.input_name for state in parsed.sequence_batching.state] == names
    assert [state.output_name for state in parsed.sequence_batching.state] == [name[0] + "_n" for name in names]
    for state in parsed.sequence_batching.state:
        assert list(state.dims) == [architecture.states, -1, architecture.hidden]
        assert list(state.initial_state[0].dims) == [architecture.states, 1, architecture.hidden]
        assert state.initial_state[0].zero_data
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / CONFIG).write_text(text)
    check_tensors(read_config(folder), described.inputs, described.outputs)


@pytest.mark.parametrize("name", ['{"1": "a"}', "a\\b", "a\nb", "längs"])
def test_tensors_and_axes_may_have_any_name(name, tmp_path):
    axes = [manifest_pb2.Axis(name="batch", size=-1), manifest_pb2.Axis(name=name, size=2)]
    inputs = [manifest_pb2.Tensor(name=name, datatype="FP32", axes=axes, default=manifest_pb2.DEFAULT_ZEROS)]
    outputs = [manifest_pb2.Tensor(name=f"{name}_n", datatype="FP32", axes=axes, continues_as=name)]
    folder = tmp_path / "named"
    folder.mkdir()
    write_config(folder, render_config("named", inputs, outputs))
    check_tensors(read_config(folder), inputs, outputs)
    write_config(folder, render_config("named", inputs, outputs, keeps_states=True))
    check_tensors(read_config(folder), inputs, outputs)
