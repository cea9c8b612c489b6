"""A server of one model, as platforms mount it: the folder that is served is the model's own, whatever its name is."""

import functools
from typing import Any

import grpc
import pytest

from kit.served import served
from kit.tiny import ask_factor, factor_of, publish_tiny
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server import app
from rnnserve.server.errors import StartError
from rnnserve.server.repository.live import LiveRepository
from rnnserve.server.repository.repository import Repository

NAME = "speed-by-hour"
"""What it is served under: no folder and no config.pbtxt has this name."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A model's folder, as it is mounted."""
    monkeypatch.setattr(app, "LiveRepository", functools.partial(LiveRepository, settled_seconds=0.05))
    publish_tiny(tmp_path / "repository", "scale", 1, 1.5)
    (tmp_path / "mnt").mkdir()
    return (tmp_path / "repository/scale").rename(tmp_path / "mnt/models")


def code_of(refused):
    return refused.value.code().name


@pytest.mark.parametrize("control", ["none", "poll", "explicit"])
def test_single_model_is_served_only_under_its_name(folder, control):
    more: dict[str, Any] = {"load_model": NAME} if control == "explicit" else {}
    with served(folder, model_name=NAME, model_control=control, poll=0.1, **more) as server:
        stub = server.stub
        assert factor_of(stub.ModelInfer(ask_factor(NAME))) == ("1", 1.5)
        (listed,) = stub.RepositoryIndex(pb.RepositoryIndexRequest()).models
        assert (listed.name, listed.version, listed.state) == (NAME, "1", "READY")
        assert stub.ModelMetadata(pb.ModelMetadataRequest(name=NAME)).name == NAME
        assert stub.ModelConfig(pb.ModelConfigRequest(name=NAME)).config.name == NAME
        for other in ("scale", "models", "1"):
            with pytest.raises(grpc.RpcError) as refused:
                stub.ModelInfer(ask_factor(other))
            assert code_of(refused) == "NOT_FOUND"
        if control == "poll":
            newer = publish_tiny(folder.parents[1] / "repository", "scale", 2, 2.5)
            newer.rename(folder / "2")
            until(lambda: factor_of(stub.ModelInfer(ask_factor(NAME))) == ("2", 2.5))


def test_links_can_lead_into_the_model_folder_but_not_out(folder, tmp_path):
    """An image of a model is mounted as a link (KServe's modelcars)."""
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    with served(tmp_path / "link", model_name=NAME, model_control="explicit", load_model=NAME) as server:
        stub = server.stub
        assert factor_of(stub.ModelInfer(ask_factor(NAME))) == ("1", 1.5)
        outside = publish_tiny(tmp_path / "repository", "scale", 2, 2.5)
        (folder / "2").symlink_to(outside, target_is_directory=True)
        with pytest.raises(grpc.RpcError) as refused:
            stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=NAME))
        assert "version 2: manifest.json: is a link to a place outside the repository" in refused.value.details()
        assert factor_of(stub.ModelInfer(ask_factor(NAME))) == ("1", 1.5)


def test_folder_of_the_wrong_kind_is_refused(folder, tmp_path):
    with pytest.raises(
        StartError, match=r"is the folder of a single model, because it contains config\.pbtxt; name the model"
    ):
        Repository(folder, control="poll")
    publish_tiny(tmp_path / "repository", "scale", 1, 1.5)
    with pytest.raises(
        StartError, match=rf"--model-name {NAME}: .* is not the folder of a single model; it contains the models scale"
    ):
        Repository(tmp_path / "repository", only=NAME, control="poll")
