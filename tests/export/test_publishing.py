"""A version appears whole, by one rename, under a number of its own, or not at all. Triton reads its config."""

import errno
from pathlib import Path

import pytest
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from kit.descriptions import describe_architecture
from kit.failing_writes import FailingWrites, everything
from rnnserve.export import ExportError
from rnnserve.export.errors import PublishingFailed
from rnnserve.export.publishing import publish_tried, publish_version, render_config, write_config
from rnnserve.models import Architecture
from rnnserve.protos import manifest_pb2
from rnnserve.protos.names import version_number
from rnnserve.protos.triton_config import CONFIG, check_tensors, read_config, versions_to_serve

CONFIG_TEXT = 'name: "model"\n'


def files(mark=b"1"):
    return {"model.onnx": b"graph " + mark, "manifest.json": b"{" + mark + b"}"}


@pytest.fixture
def model(tmp_path):
    return tmp_path / "repository" / "model"


def test_versions_count_up_and_nothing_published_changes(model):
    for number in range(1, 4):
        before = everything(model)
        assert publish_version(model, files(b"%d" % number), CONFIG_TEXT).version == number
        assert before.items() <= everything(model).items()
    assert publish_version(model, files(b"1"), CONFIG_TEXT).version == 4  # only the newest version stands for its bytes


def test_same_bytes_are_not_published_again_and_an_edited_config_is_kept(model):
    publish_version(model, files(), CONFIG_TEXT)
    (model / CONFIG).write_text("edited\n")
    before = everything(model)
    published = publish_version(model, files(), CONFIG_TEXT)
    assert (published.version, published.folder, published.new) == (1, model / "1", False)
    assert everything(model) == before


def test_version_is_not_visible_before_it_is_complete(model, monkeypatch):
    """A server sees only folders whose names are numbers. At every step of writing, these are complete."""
    seen = []
    original = Path.open

    def watched(self, *args, **kwargs):
        seen.append([path.name for path in model.iterdir() if version_number(path.name)])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", watched)
    publish_version(model, files(), CONFIG_TEXT)
    assert len(seen) > len(files())
    assert not any(seen)


def test_concurrent_export_uses_the_next_version_number(model, monkeypatch):
    """Another export publishes between the choice of a number and the rename."""
    original = Path.rename

    def rename(self, target):
        monkeypatch.setattr(Path, "rename", original)
        publish_version(model, files(b"theirs"), CONFIG_TEXT)
        return original(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    published = publish_version(model, files(b"ours"), CONFIG_TEXT)
    assert (published.version, published.new) == (2, True)
    assert everything(model / "1") == files(b"theirs")
    assert everything(model / "2") == files(b"ours")
    assert sorted(path.name for path in model.iterdir()) == ["1", "2", CONFIG]


def test_config_that_no_server_can_read_is_not_published(model):
    with pytest.raises(ExportError, match=r"nothing was published: config\.pbtxt"):
        publish_tried(model, files(), 'name: "model" output { name: "{"1": "a"}" }\n')
    assert everything(model.parent) == {}


def prepare(root, state):
    """Make the repository in a state; return the model's folder."""
    model = root / "repository" / "model"
    if state == "repository":
        model.parent.mkdir()
    elif state == "model":
        model.mkdir(parents=True)
    elif state == "version":
        publish_version(model, files(b"older"), CONFIG_TEXT)
    return model


@pytest.mark.parametrize(
    "error",
    [None, OSError(errno.EIO, "Input/output error"), OSError(errno.EROFS, "Read-only", "path"), KeyboardInterrupt()],
    ids=["full from then on", "once", "read-only", "interrupted"],
)
@pytest.mark.parametrize("state", ["nothing", "repository", "model", "version"])
def test_failing_system_call_leaves_the_repository_unchanged(tmp_path, state, error):
    (tmp_path / "whole").mkdir()
    model = prepare(tmp_path / "whole", state)
    with pytest.MonkeyPatch.context() as patch:
        writes = FailingWrites(patch)
        publish_version(model, files(), CONFIG_TEXT)
    assert len(writes.calls) > 8
    for at in range(len(writes.calls)):
        root = tmp_path / str(at)
        root.mkdir()
        model = prepare(root, state)
        before = everything(root)
        with pytest.MonkeyPatch.context() as patch:
            FailingWrites(patch, at, error)
            with pytest.raises(BaseException) as failed:
                publish_version(model, files(), CONFIG_TEXT)
        assert everything(root) == before, writes.calls[at]
        if isinstance(error, KeyboardInterrupt):
            assert failed.type is KeyboardInterrupt
        else:
            assert failed.type is PublishingFailed
            assert str(failed.value).startswith(f"{model}: ")
            assert str(failed.value).endswith(". Nothing was published, and nothing was left behind")
        assert publish_version(model, files(), CONFIG_TEXT).version == (2 if state == "version" else 1)


def test_files_that_cannot_be_removed_are_named(tmp_path, monkeypatch):
    model = prepare(tmp_path, "version")
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    FailingWrites(monkeypatch, 2)
    with pytest.raises(PublishingFailed) as failed:
        publish_version(model, files(), CONFIG_TEXT)
    (left,) = [path for path in model.iterdir() if path.name.startswith(".publishing-")]
    assert str(failed.value).endswith(f"these files were left behind, and you can remove them: {left}")


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


def test_states_that_triton_keeps_are_not_inputs_of_its_config(tmp_path):
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
