"""A version serves only while its digests, its config and its golden results are right. Each refusal is one line."""

import shutil

import grpc
import numpy as np
import pytest

from kit.artifacts import build_model, publish_model
from kit.bad_versions import BAD_FILES, INPUTS, OUTPUTS, SAMPLE, TWICE, publish_good
from kit.inference_requests import arrays, request
from kit.loaded import load_model, load_repository, try_version
from kit.served import served
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.golden import Case
from rnnserve.server.errors import StartError
from rnnserve.server.repository import load_version as loading

NAME = "direction_simple"
FILES = ["model.onnx", "model.scan.onnx", "model.pt", "golden.npz", "manifest.json"]


@pytest.fixture
def own(repository, tmp_path):
    """A repository of one's own to break, with one model."""
    shutil.copytree(repository / NAME, tmp_path / "own" / NAME)
    return tmp_path / "own"


def flip(path, position: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(position * (len(data) - 1))] ^= 0x10
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("file", FILES)
def test_version_with_a_flipped_byte_or_a_missing_file_is_not_served(own, file):
    folder = own / NAME / "1"
    whole = (folder / file).read_bytes()
    for position in (0.0, 0.3, 0.5, 0.97, 1.0):
        flip(folder / file, position)
        with pytest.raises(ArtifactError, match=f"^{file}: "):
            load_model(folder, NAME)
        (folder / file).write_bytes(whole)
    (folder / file).unlink()
    with pytest.raises(ArtifactError, match=f"^{file}: "):
        load_model(folder, NAME)


def test_version_before_a_broken_one_serves_and_the_index_has_the_reason(own):
    shutil.copytree(own / NAME / "1", own / NAME / "2")
    flip(own / NAME / "2" / "golden.npz", 0.5)
    sent = {"input": np.zeros((1, 2, 2), np.float32)}
    with served(own) as server:
        assert server.stub.ModelInfer(request(NAME, sent)).model_version == "1"
        index = {
            m.version: (m.state, m.reason) for m in server.stub.RepositoryIndex(pb.RepositoryIndexRequest()).models
        }
        assert index["1"] == ("READY", "")
        assert index["2"][0] == "UNAVAILABLE"
        assert index["2"][1].startswith("golden.npz: ")
        with pytest.raises(grpc.RpcError) as refused:
            server.stub.ModelInfer(request(NAME, sent, version="2"))
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "version 2: golden.npz: " in refused.value.details()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "config.pbtxt: is missing"),
        ("name: 3", "config.pbtxt: is not a valid Triton ModelConfig: line 1"),
        ('name: "other"', 'config.pbtxt: names the model "other"'),
        ('name: "direction_simple"', "config.pbtxt: the inputs do not match the model"),
    ],
)
def test_config_that_does_not_fit_is_named(own, config, said):
    path = own / NAME / "config.pbtxt"
    path.unlink()
    if config is not None:
        path.write_text(config)
    with pytest.raises(StartError) as refused:
        load_repository(own)
    assert said in str(refused.value)


def test_version_of_another_model_is_refused(own, repository):
    shutil.rmtree(own / NAME / "1")
    shutil.copytree(repository / "direction_stacked" / "1", own / NAME / "1")
    with pytest.raises(StartError, match=r'manifest\.json: belongs to the model "direction_stacked"'):
        load_repository(own)


def case(inputs, output) -> Case:
    return Case("step", inputs, {"output": output}, {"output": output.astype(np.float64)})


def raising(root, name):
    """A kernel that raises: the table has one row, and the case asks for the second."""
    nodes = "row = Cast <to = 7> (input)  output = Gather (table, row)"
    model = build_model(nodes, INPUTS, OUTPUTS, {"table": np.zeros(1, np.float32)})
    publish_model(root, name, model, INPUTS, OUTPUTS, [], cases=[case(SAMPLE, SAMPLE["input"])])


# One of each file; the full suite has all of them.
BAD = {"raising": (raising, "golden.npz: model.onnx does not run these cases on cpu: InvalidRequest: ")} | {
    name: BAD_FILES[name] for name in ("garbage", "folder", "other_dtype", "pipe_manifest", "binary_config")
}


def test_bad_versions_are_unavailable_and_the_others_serve(tmp_path):
    publish_model(tmp_path, "good", TWICE, INPUTS, OUTPUTS, [SAMPLE])
    for name, (plant, _) in BAD.items():
        plant(tmp_path, name)
    with served(tmp_path) as server:
        until(lambda: not server.server._repository.is_loading())
        stub = server.stub
        index = {m.name: (m.state, m.reason) for m in stub.RepositoryIndex(pb.RepositoryIndexRequest()).models}
        assert index.pop("good") == ("READY", "")
        assert index.keys() == BAD.keys()
        for name, (_, said) in BAD.items():
            state, reason = index[name]
            assert state == "UNAVAILABLE"
            assert reason.startswith(said)
            assert "\n" not in reason
            assert str(tmp_path) not in reason
            with pytest.raises(grpc.RpcError) as refused:
                stub.ModelInfer(request(name, SAMPLE))
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
            assert said in refused.value.details()
        answer = stub.ModelInfer(request("good", SAMPLE))
        np.testing.assert_array_equal(arrays(answer)["output"], 2 * SAMPLE["input"])


def threads_of(model) -> int:
    return model.session.get_session_options().intra_op_num_threads


@pytest.mark.parametrize("threads", [1, 3])
def test_version_is_checked_and_loaded_with_as_many_threads(tmp_path, monkeypatch, threads):
    folder = publish_good(tmp_path)
    made = []

    def note(model, signature, trials):
        made.append(threads_of(model.__self__))
        return True

    monkeypatch.setattr(loading, "is_batch_invariant", note)
    findings = try_version(folder, "good", threads=threads)
    assert made == [threads]
    assert threads_of(load_model(folder, "good", threads=threads, known=findings)) == threads
    assert threads_of(load_model(folder, "good", threads=threads)) == threads
