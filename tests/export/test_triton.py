"""config.pbtxt: what export writes, our server, Triton's own client and export itself read alike."""

import json
import subprocess
import sys

import pytest

from rnnserve.export.manifest import inputs_of, outputs_of
from rnnserve.export.triton import CONFIG, check_config, render_config
from rnnserve.models import Architecture
from rnnserve.protos.artifact import ArtifactError
from rnnserve.server.boundary.signature import Signature, TensorSpec
from rnnserve.server.repository.config import check_config as check_as_server
from rnnserve.server.repository.config import read_config, versions_to_serve

ARCHITECTURES = {
    "rnn": Architecture(),
    "wide": Architecture(num_layers=2, bidirectional=True, features=3, hidden=5, classes=4),
    "lstm": Architecture(cell="lstm", hidden=7),
}

# Triton's generated modules and ours cannot share a process.
READ_AS_TRITON = """
import json, sys
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2
config = text_format.Parse(open(sys.argv[1]).read(), model_config_pb2.ModelConfig())
print(json.dumps(json_format.MessageToDict(config, preserving_proto_field_name=True)))
"""


@pytest.fixture(params=ARCHITECTURES)
def model(request, tmp_path):
    """A model's folder with its config, and its architecture."""
    architecture = ARCHITECTURES[request.param]
    folder = tmp_path / request.param
    folder.mkdir()
    (folder / CONFIG).write_text(render_config(folder.name, inputs_of(architecture), outputs_of(architecture)))
    return folder, architecture


def edit(folder, old, new):
    text = (folder / CONFIG).read_text()
    assert old in text
    (folder / CONFIG).write_text(text.replace(old, new, 1))


def check(folder, architecture):
    return check_config(folder, inputs_of(architecture), outputs_of(architecture))


def specs(tensors):
    return {
        t.name: TensorSpec(t.name, t.datatype, tuple(a.name for a in t.axes), tuple(a.size for a in t.axes))
        for t in tensors
    }


def test_export_reads_it_back(model):
    assert check(*model)


def test_the_server_reads_it(model):
    folder, architecture = model
    config = read_config(folder)
    check_as_server(config, Signature(specs(inputs_of(architecture)), specs(outputs_of(architecture))))
    assert versions_to_serve(config, [1, 2, 10]) == ([10, 2, 1], 1)


def test_triton_reads_it(model):
    folder, architecture = model
    done = subprocess.run(
        [sys.executable, "-c", READ_AS_TRITON, str(folder / CONFIG)], check=True, capture_output=True, text=True
    )
    config = json.loads(done.stdout)
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
    assert "h_0 has its batch on axis 1" in lines[lines.index("max_batch_size: 0") - 1]


def test_without_one_there_is_nothing_to_check(tmp_path):
    assert not check(tmp_path, ARCHITECTURES["rnn"])


@pytest.fixture
def simple(tmp_path):
    folder = tmp_path / "simple"
    folder.mkdir()
    architecture = ARCHITECTURES["rnn"]
    (folder / CONFIG).write_text(render_config("simple", inputs_of(architecture), outputs_of(architecture)))
    return folder


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("num_versions: 1", "num_versions: 3"),
        ("# Written", "# Edited"),
        ('name: "simple"', ""),
        ("version_policy", "instance_group { count: 2 }\nversion_policy"),
    ],
)
def test_what_a_person_may_edit(simple, old, new):
    edit(simple, old, new)
    assert check(simple, ARCHITECTURES["rnn"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name: "lengths"', 'name: "length"', r'inputs do not fit .* "length" INT64 \[-1\]'),
        ("TYPE_INT64", "TYPE_INT32", r'"lengths" INT32 \[-1\].* expected, in this order, .*"lengths" INT64 \[-1\]'),
        ("[ -1, -1, 2 ]", "[ -1, 2 ]", r'"input" FP32 \[-1, 2\]'),
        ('name: "logits"', 'name: "scores"', "outputs do not fit"),
        ('name: "simple"', 'name: "other"', 'names the model "other", but lies in the folder of "simple"'),
        ("max_batch_size: 0", "max_batch_size: 64", "max_batch_size is 64, expected 0"),
        ("max_batch_size: 0", "max_batch_sizes: 0", 'is no ModelConfig of Triton: line .*"max_batch_sizes"'),
    ],
)
def test_what_does_not_fit_is_told(simple, old, new, message):
    edit(simple, old, new)
    with pytest.raises(ArtifactError, match=f"(?s)^{CONFIG}: .*{message}"):
        check(simple, ARCHITECTURES["rnn"])


def test_a_lost_or_added_tensor_is_told(simple):
    with pytest.raises(ArtifactError, match=r'expected, in this order, .*"c_0" FP32 \[1, -1, 7\]'):
        check(simple, ARCHITECTURES["lstm"])


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_what_cannot_be_read_is_told(simple, content):
    (simple / CONFIG).unlink()
    if content is None:
        (simple / CONFIG).mkdir()
    else:
        (simple / CONFIG).write_bytes(content)
    with pytest.raises(ArtifactError, match=f"^{CONFIG}: cannot be read"):
        check(simple, ARCHITECTURES["rnn"])
