"""The config.pbtxt of a publication, as Triton's own client and the server read it."""

import pytest
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from kit.descriptions import describe_architecture
from rnnserve.export.publishing import render_config, write_config
from rnnserve.models import Architecture
from rnnserve.protos import manifest_pb2
from rnnserve.protos.triton_config import CONFIG, check_tensors, read_config, versions_to_serve

WIDE = Architecture(cell="lstm", num_layers=2, bidirectional=True, features=3, hidden=5, classes=4)


@pytest.mark.parametrize("architecture", [Architecture(), WIDE], ids=["simple", "wide"])
def test_config_is_read_by_triton_and_the_server(architecture, tmp_path):
    described = describe_architecture(architecture)
    text = render_config(tmp_path.name, described.inputs, described.outputs)
    write_config(tmp_path, "old\n")
    assert write_config(tmp_path, text) == tmp_path / CONFIG
    assert [path.name for path in tmp_path.iterdir()] == [CONFIG]
    config = read_config(tmp_path)
    check_tensors(config, described.inputs, described.outputs)
    assert versions_to_serve(config, [1, 2, 10]) == ([10, 2, 1], 1)
    lines = text.splitlines()
    assert "the dims below are whole shapes" in lines[lines.index("max_batch_size: 0") - 1]

    parsed = text_format.Parse(text, model_config_pb2.ModelConfig())
    theirs = json_format.MessageToDict(parsed, preserving_proto_field_name=True)
    assert (theirs["name"], theirs["platform"]) == (tmp_path.name, "onnxruntime_onnx")
    assert theirs.get("max_batch_size", 0) == 0
    assert theirs["version_policy"] == {"latest": {"num_versions": 1}}
    states = ["h_0", "c_0"] if architecture.cell == "lstm" else ["h_0"]
    assert [tensor["name"] for tensor in theirs["input"]] == ["input", "lengths", *states]
    assert [tensor["name"] for tensor in theirs["input"] if tensor.get("optional")] == ["lengths", *states]
    assert [int(size) for size in theirs["input"][0]["dims"]] == [-1, -1, architecture.features]
    assert theirs["input"][1]["data_type"] == "TYPE_INT64"
    assert [int(size) for size in theirs["output"][2]["dims"]] == [architecture.states, -1, architecture.hidden]


def test_states_that_triton_keeps_are_no_inputs(tmp_path):
    described = describe_architecture(WIDE)
    text = render_config(tmp_path.name, described.inputs, described.outputs, keeps_states=True)
    parsed = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert [tensor.name for tensor in parsed.input] == ["input", "lengths"]
    states = parsed.sequence_batching.state
    assert [(state.input_name, state.output_name) for state in states] == [("h_0", "h_n"), ("c_0", "c_n")]
    for state in states:
        assert list(state.dims) == [WIDE.states, -1, WIDE.hidden]
        assert list(state.initial_state[0].dims) == [WIDE.states, 1, WIDE.hidden]
        assert state.initial_state[0].zero_data
    (tmp_path / CONFIG).write_text(text)
    check_tensors(read_config(tmp_path), described.inputs, described.outputs)


@pytest.mark.parametrize("name", ['{"1": "a"}', "a\\b", "a\nb", "längs"])
def test_tensors_and_axes_may_have_any_name(name, tmp_path):
    axes = [manifest_pb2.Axis(name="batch", size=-1), manifest_pb2.Axis(name=name, size=2)]
    inputs = [manifest_pb2.Tensor(name=name, datatype="FP32", axes=axes, default=manifest_pb2.DEFAULT_ZEROS)]
    outputs = [manifest_pb2.Tensor(name=f"{name}_n", datatype="FP32", axes=axes, continues_as=name)]
    for keeps_states in (False, True):
        write_config(tmp_path, render_config(tmp_path.name, inputs, outputs, keeps_states=keeps_states))
        check_tensors(read_config(tmp_path), inputs, outputs)
