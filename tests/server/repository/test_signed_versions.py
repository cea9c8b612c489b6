"""With --require-signature, unsigned and tampered versions stay out, and the previous version keeps serving."""

import json
import re
import shutil
import types
from typing import Any

import grpc
import pytest
from google.protobuf import text_format
from onnx import TensorProto, helper

from kit.bad_versions import publish_bytes, publish_good
from kit.served import served
from kit.signature_tamperings import TAMPERINGS
from kit.signed_versions import make_key, publish_signed, serving_versions, sign, signed_by
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.signing.signed_version import BUNDLE, RELEASE
from rnnserve.server import Server, Settings
from rnnserve.server.errors import LoadFailed, StartError
from rnnserve.server.repository import load_version, loader
from rnnserve.server.repository.signed_versions import SignatureGate


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A trusted key and a stranger's key."""
    folder = tmp_path_factory.mktemp("keys")
    return make_key(folder, "ours"), make_key(folder, "stranger")


@pytest.fixture
def key(keys):
    return keys[0]


@pytest.fixture
def repository(tmp_path):
    return tmp_path / "repository"


def statuses(server):
    return {
        name: {number: (status.state, status.reason) for number, status in versions.items()}
        for name, versions in server._repository.statuses()
    }


@pytest.fixture(scope="module")
def attacked(keys, tmp_path_factory):
    """A server that serves version 1 of the model "good", its repository, and a copy of it as it was."""
    root = tmp_path_factory.mktemp("attacked")
    publish_signed(root / "repository", keys[0])
    shutil.copytree(root / "repository", root / "copy")
    with served(root / "repository", **signed_by(keys[0])) as running:
        folder = root / "repository" / "good" / "1"
        yield types.SimpleNamespace(server=running.server, stub=running.stub, root=root, folder=folder)


# One of each kind: of the signature, of the key, of the files, of the release, of the folder. protos has all.
SOME = ("unsigned", "signed by a stranger", "a file emptied", "release of another model", "config changed")


@pytest.mark.parametrize("name", SOME)
def test_tampered_version_is_not_served_and_the_previous_one_is(attacked, keys, name, caplog):
    TAMPERINGS[name].apply(attacked.folder, *keys)
    try:
        with pytest.raises(LoadFailed) as refused:
            attacked.server.live.load("good")
        assert TAMPERINGS[name].said in str(refused.value)
        assert [record.levelname for record in caplog.records if TAMPERINGS[name].said in record.message] == ["ERROR"]
        assert serving_versions(attacked.server) == [1]
        ((state, reason),) = statuses(attacked.server)["good"].values()
        assert state == "READY"
        assert "was loaded before; what its folder holds now: " in reason
        assert attacked.server._repository.is_ready()
    finally:
        shutil.rmtree(attacked.folder.parent)
        shutil.copytree(attacked.root / "copy" / "good", attacked.folder.parent)
    attacked.server.live.load("good")


def test_server_does_not_start_with_a_tampered_version(repository, keys):
    folder = publish_signed(repository, keys[0])
    TAMPERINGS["signed by a stranger"].apply(folder, *keys)
    said = TAMPERINGS["signed by a stranger"].said
    with pytest.raises(StartError, match=re.escape(said)), served(repository, require_signature=(keys[0].public,)):
        pass


def test_signed_version_serves_with_any_trusted_key(repository, tmp_path, keys):
    publish_signed(repository, keys[0])
    publish_signed(repository, keys[1], "other")
    both = tuple(each.public for each in keys)
    with served(repository, require_signature=both) as running:
        assert (serving_versions(running.server), serving_versions(running.server, "other")) == ([1], [1])
        for each, name in zip(keys, ("good", "other"), strict=True):
            said = running.stub.ModelMetadata(pb.ModelMetadataRequest(name=name)).properties["signed"]
            assert json.loads(said)["key_id"] == each.key.id


def test_unsigned_model_is_not_ready_beside_a_signed_one(repository, key):
    publish_signed(repository, key)
    publish_good(repository, "unsigned")
    with served(repository, require_signature=(key.public,), ready="all") as running:
        assert not running.stub.ServerReady(pb.ServerReadyRequest()).ready
        assert not running.stub.ModelReady(pb.ModelReadyRequest(name="unsigned")).ready
        with pytest.raises(grpc.RpcError, match="the version is not signed"):
            running.stub.ModelMetadata(pb.ModelMetadataRequest(name="unsigned"))


def test_nothing_is_parsed_before_its_signature_is_verified(repository, keys, monkeypatch):
    """The server parses neither config.pbtxt nor a manifest, and begins no load check."""
    folder = publish_signed(repository, keys[0])
    with served(repository, **signed_by(keys[0])) as running:
        parsed = []
        monkeypatch.setattr(text_format, "Parse", lambda *args: parsed.append(args))
        monkeypatch.setattr(loader, "LoadCheck", lambda *args, **_: parsed.append(args))
        sign(folder, keys[1])
        with pytest.raises(LoadFailed, match="not a trusted key"):
            running.server.live.load("good")
        (folder.parent / "config.pbtxt").write_text("nonsense")
        sign(folder, keys[1])
        with pytest.raises(LoadFailed, match="not a trusted key"):
            running.server.live.load("good")
        assert parsed == []


def test_file_swapped_after_the_signature_check_is_not_loaded(repository, key, monkeypatch):
    """In the process that tries the version, which reads the files first."""
    publish_signed(repository, key)
    with served(repository, **signed_by(key)) as running:
        second = publish_signed(repository, key, version=2)
        check = SignatureGate.check

        def swap(self, folder, *more):
            signed = check(self, folder, *more)
            if second.exists():
                shutil.copytree(second.parent / "1", second, dirs_exist_ok=True)
                (second / "golden.npz").write_bytes(b"")
            return signed

        monkeypatch.setattr(SignatureGate, "check", swap)
        with pytest.raises(LoadFailed, match=r"version 2: manifest.json: |golden.npz: has changed since it was signed"):
            running.server.live.load("good")
        assert serving_versions(running.server) == [1]


def test_file_swapped_after_the_load_check_is_not_loaded(repository, key, monkeypatch):
    """In the server, which reads the files for itself."""
    publish_signed(repository, key)
    with served(repository, **signed_by(key)) as running:
        for name in ("model.onnx", "golden.npz", "manifest.json", RELEASE):
            second = publish_signed(repository, key, version=2)

            def swap(check, second=second, name=name, **more):
                (second / name).write_bytes((second / name).read_bytes() + b" ")
                return load_version.load_model(check, **more)

            monkeypatch.setattr(loader, "load_model", swap)
            with pytest.raises(LoadFailed, match=f"version 2: {name}: has changed since it was signed"):
                running.server.live.load("good")
            assert serving_versions(running.server) == [1]
            shutil.rmtree(second)


def test_graph_that_refers_to_another_file_is_not_loaded(repository, key):
    """onnxruntime gets bytes, so it has no folder to search for the other file."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value="weights.bin")
    nodes = [helper.make_node("Add", ["input", "w"], ["output"])]
    shape: list[str | int | None] = ["batch", "sequence", 2]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    publish_bytes(repository, "good", {"model.onnx": model.SerializeToString()})
    folder = repository / "good" / "1"
    (folder / "weights.bin").write_bytes(bytes(8))
    sign(folder, key)
    with (
        pytest.raises(StartError, match=r"model\.onnx: onnxruntime cannot load it"),
        served(repository, **signed_by(key)),
    ):
        pass


def test_version_under_another_number_or_name_is_not_served(repository, key):
    folder = publish_signed(repository, key)
    with served(repository, **signed_by(key)) as running:
        shutil.copytree(folder, folder.parent / "2")
        said = r'release.json: belongs to "good" version 1, but is in the folder of "{}" version {}'
        with pytest.raises(LoadFailed, match=said.format("good", 2)):
            running.server.live.load("good")
        assert serving_versions(running.server) == [1]
        shutil.rmtree(folder.parent / "2")
        shutil.copytree(folder.parent, repository / "other")
        with pytest.raises(LoadFailed, match=said.format("other", 1)):
            running.server.live.load("other")
    only: dict[str, Any] = {"require_signature": (key.public,), "model_name": "other"}
    with pytest.raises(StartError, match=r'release.json: belongs to "good"'), served(repository / "good", **only):
        pass
    with served(repository / "good", **only | {"model_name": "good"}) as running:
        assert serving_versions(running.server) == [1]


def test_signature_option_needs_a_public_key(repository, key):
    publish_signed(repository, key)
    with pytest.raises(StartError, match=r"--require-signature .*: does not hold a public key in PEM"):
        Server(Settings(repository, grpc_port=0, require_signature=(key.private,)))


def test_signatures_change_nothing_unless_they_are_required(repository, keys):
    folder = publish_signed(repository, keys[1])
    (folder / BUNDLE).write_text("nonsense")
    with served(repository) as running:
        assert serving_versions(running.server) == [1]
        assert running.stub.ModelMetadata(pb.ModelMetadataRequest(name="good")).properties["signed"] == ""
