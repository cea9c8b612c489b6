"""A repository changes under load: no request fails, only serving versions respond, and all memory is freed."""

import functools
import gc
import shutil
import weakref

import grpc
import pytest

from kit.asking import Load
from kit.served import served
from kit.tiny import ask_factor, call_for_factor, factor_of, publish_tiny
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server import app
from rnnserve.server.repository.live import LiveRepository


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(app, "LiveRepository", functools.partial(LiveRepository, settled_seconds=0.05))
    root = tmp_path / "repository"
    publish_tiny(root, "scale", 1, 1.5)
    return root


def index(stub):
    return {(model.name, model.version): (model.state, model.reason) for model in listed(stub)}


def listed(stub):
    return stub.RepositoryIndex(pb.RepositoryIndexRequest()).models


def test_versions_come_and_go_under_load_without_a_failed_request(root):
    with served(root, model_control="poll", poll=0.1) as running:
        server, stub = running.server, running.stub
        with Load(server.port, 4, reconnect=False, call=call_for_factor).running() as asking:
            until(lambda: asking.said["1", 1.5] > 20)
            first = weakref.ref(server._repository.find("scale").model)
            publish_tiny(root, "scale", 2, 2.5)
            until(lambda: asking.said["2", 2.5] > 20)
            assert index(stub)["scale", "1"] == ("UNAVAILABLE", "a newer version serves")
            publish_tiny(root, "scale", 2, 3.5)  # in place
            until(lambda: asking.said["2", 3.5] > 20)
            shutil.rmtree(root / "scale" / "2")
            at = asking.said["1", 1.5]
            until(lambda: asking.said["1", 1.5] > at + 20)
            assert ("scale", "2") not in index(stub)
        assert set(asking.said) == {("1", 1.5), ("2", 2.5), ("2", 3.5)}

        def is_freed():
            gc.collect()
            return first() is None

        until(is_freed)  # though no request comes any more
        until(lambda: len(server._schedulers._by_model) <= 1)


def test_models_are_loaded_and_unloaded_by_request(root):
    publish_tiny(root, "other", 1, 7.0)
    with served(root, model_control="explicit", load_model="scale") as server:
        stub = server.stub
        not_loaded = "is not loaded; RepositoryModelLoad loads it"
        assert index(stub) == {("other", "1"): ("UNAVAILABLE", not_loaded), ("scale", "1"): ("READY", "")}
        assert stub.ServerReady(pb.ServerReadyRequest()).ready
        assert code_of(stub.ModelInfer, ask_factor("other")) == (
            "UNAVAILABLE",
            f'model "other" is not served: {not_loaded}',
        )
        load(stub, "other")
        assert factor_of(stub.ModelInfer(ask_factor("other"))) == ("1", 7.0)
        publish_tiny(root, "other", 2, 8.0)
        load(stub, "other")
        assert factor_of(stub.ModelInfer(ask_factor("other"))) == ("2", 8.0)
        (publish_tiny(root, "other", 3, 9.0) / "model.onnx").write_bytes(b"nonsense")
        code, said = code_of(load, stub, "other")
        assert code == "FAILED_PRECONDITION"
        assert said.startswith('failed to load "other": other version 3: model.onnx: has changed since publication')
        assert factor_of(stub.ModelInfer(ask_factor("other"))) == ("2", 8.0)
        unload(stub, "other")
        assert not stub.ModelReady(pb.ModelReadyRequest(name="other")).ready
        assert stub.ServerReady(pb.ServerReadyRequest()).ready
        unload(stub, "other")
        publish_tiny(root, "later", 1, 3.0)
        assert index(stub)["later", "1"] == ("UNAVAILABLE", not_loaded)
        load(stub, "later")
        assert factor_of(stub.ModelInfer(ask_factor("later"))) == ("1", 3.0)
        assert {name for name, _ in index(stub)} == {"later", "other", "scale"}


def test_model_names_cannot_leave_the_repository(root, tmp_path):
    outside = tmp_path / "outside"
    publish_tiny(outside, "link", 1, 2.0)
    (root / "link").symlink_to(outside / "link")
    publish_tiny(root, "linked", 1, 2.0)
    shutil.copytree(root / "scale" / "1", root / "scale" / "2")
    (root / "scale" / "2" / "model.onnx").unlink()
    (root / "scale" / "2" / "model.onnx").symlink_to(outside / "link" / "1" / "model.onnx")
    with served(root, model_control="explicit", load_model="scale") as server:
        stub = server.stub
        for name in ("nowhere", "..", "../repository/scale", str(root / "scale"), "scale/1", ".", "scale\0", "a\nb"):
            code, said = code_of(load, stub, name)
            assert (code, "failed to poll from model repository" in said) == ("NOT_FOUND", True)
            unload(stub, name)
        leads_out = "is a link to a place outside the repository"
        said = f'failed to load "link": link: config.pbtxt: {leads_out}'
        assert code_of(load, stub, "link") == ("FAILED_PRECONDITION", said)
        assert index(stub)["scale", "2"] == ("UNAVAILABLE", f"model.onnx: {leads_out}")
        assert index(stub)["scale", "1"] == ("READY", "")
        (root / "inside").symlink_to(root / "linked")
        code, said = code_of(load, stub, "inside")
        assert 'belongs to the model "linked", but is in the folder of "inside"' in said or "names the model" in said


def test_load_requests_with_invalid_parameters_are_refused(root):
    with served(root, model_control="explicit") as server:
        stub = server.stub
        for name, code, said in (
            ("config", "UNIMPLEMENTED", "publish the files there"),
            ("file:1/model.onnx", "UNIMPLEMENTED", "publish the files there"),
            ("other", "INVALID_ARGUMENT", 'unrecognized load parameter "other"'),
        ):
            sent = pb.RepositoryModelLoadRequest(model_name="scale")
            sent.parameters[name].string_param = "x"
            found = code_of(stub.RepositoryModelLoad, sent)
            assert (found[0], said in found[1]) == (code, True)
        sent = pb.RepositoryModelLoadRequest(model_name="scale", repository_name="x")
        assert code_of(stub.RepositoryModelLoad, sent)[0] == "UNIMPLEMENTED"
        assert code_of(load, stub, "") == ("INVALID_ARGUMENT", "model_name is empty")
        assert stub.ServerReady(pb.ServerReadyRequest()).ready
        assert index(stub)["scale", "1"][0] == "UNAVAILABLE"


def test_requests_of_the_proto_of_kserve_are_answered(root):
    """There the name is field 1, and fields 1 and 2 of the responses contain the result."""
    with served(root, model_control="explicit") as server:
        stub = server.stub
        kserves = b"\x0a\x05scale"
        with server.channel() as channel:

            def ask(method, sent):
                return channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(sent, timeout=30)

            assert ask("RepositoryModelLoad", kserves) == b"\x0a\x05scale\x10\x01"
            assert index(stub)["scale", "1"] == ("READY", "")
            assert ask("RepositoryModelUnload", kserves) == b"\x0a\x05scale\x10\x01"
            assert index(stub)["scale", "1"][0] == "UNAVAILABLE"
            assert code_of(ask, "RepositoryModelLoad", b"\x0a\x05other")[0] == "NOT_FOUND"
            tritons = pb.RepositoryModelLoadRequest(model_name="scale").SerializeToString()
            assert ask("RepositoryModelLoad", tritons) == b""


def test_load_requests_change_nothing_without_explicit_control(root):
    with served(root, model_control="poll") as server:
        stub = server.stub
        for call in (load, unload):
            assert code_of(call, stub, "scale") == (
                "UNAVAILABLE",
                "explicit model load / unload is not allowed with --model-control poll; start the server with "
                "--model-control explicit",
            )


def load(stub, name):
    stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=name), timeout=30)


def unload(stub, name):
    stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=name), timeout=30)


def code_of(call, *args):
    with pytest.raises(grpc.RpcError) as refused:
        call(*args)
    return refused.value.code().name, refused.value.details()
