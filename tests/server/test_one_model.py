"""A server of one model, as platforms mount it: the folder that is served is the model's own, whatever its name is."""

import functools
import os
import shutil
import signal

import grpc
import pytest

from kit.factors import AskingForFactor, answers, ask_factor, factor_of, publish_factor
from kit.served_here import asking, serving
from kit.waiting import PATIENCE, until
from kit.workers import serving as workers_of
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server import app
from rnnserve.server.errors import LoadFailed, StartError
from rnnserve.server.repository.live import LiveRepository
from rnnserve.server.repository.repository import Repository

NAME = "speed-by-hour"
"""What it is served under: no folder and no config.pbtxt has this name."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A model's folder, as it is mounted."""
    monkeypatch.setattr(app, "LiveRepository", functools.partial(LiveRepository, settled_seconds=0.05))
    publish_factor(tmp_path / "repository", "scale", 1, 1.5)
    (tmp_path / "mnt").mkdir()
    return (tmp_path / "repository/scale").rename(tmp_path / "mnt/models")


def publish(folder, version, factor):
    """Publish a version in a model's folder."""
    published = publish_factor(folder.parents[1] / "repository", "scale", version, factor)
    return published.rename(folder / str(version))


def code_of(refused):
    return refused.value.code().name


@pytest.mark.parametrize("control", ["none", "poll", "explicit"])
def test_it_is_served_under_its_name_alone(folder, control):
    more = {"load_model": NAME} if control == "explicit" else {}
    with asking(folder, model_name=NAME, model_control=control, **more) as stub:
        assert factor_of(stub.ModelInfer(ask_factor(NAME))) == ("1", 1.5)
        (listed,) = stub.RepositoryIndex(pb.RepositoryIndexRequest()).models
        assert (listed.name, listed.version, listed.state) == (NAME, "1", "READY")
        assert stub.ModelMetadata(pb.ModelMetadataRequest(name=NAME)).name == NAME
        assert stub.ModelConfig(pb.ModelConfigRequest(name=NAME)).config.name == NAME
        for other in ("scale", "models", "1"):
            with pytest.raises(grpc.RpcError) as refused:
                stub.ModelInfer(ask_factor(other))
            assert code_of(refused) == "NOT_FOUND"


def test_its_versions_come_and_go_under_load(folder):
    with (
        serving(folder, model_name=NAME, model_control="poll", poll=0.1) as (server, _),
        AskingForFactor(server.port, NAME).running() as clients,
    ):
        clients.until_answered_by("1", 1.5)
        publish(folder, 2, 2.5)
        clients.until_answered_by("2", 2.5)
        shutil.rmtree(folder / "2")
        before = clients.factors["1", 1.5]
        until(lambda: clients.factors["1", 1.5] > before + 20)
    assert clients.failures == []


def test_it_is_loaded_and_unloaded_by_its_name(folder):
    with asking(folder, model_name=NAME, model_control="explicit") as stub:
        with pytest.raises(grpc.RpcError) as refused:
            stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="scale"))
        assert code_of(refused) == "NOT_FOUND"
        stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=NAME))
        assert factor_of(stub.ModelInfer(ask_factor(NAME))) == ("1", 1.5)
        stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=NAME))
        assert not stub.ModelReady(pb.ModelReadyRequest(name=NAME)).ready


def test_links_may_lead_to_it_and_none_out_of_it(folder, tmp_path):
    """An image of a model is mounted as a link (KServe's modelcars)."""
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    with asking(tmp_path / "link", model_name=NAME, model_control="explicit", load_model=NAME) as stub:
        assert factor_of(stub.ModelInfer(ask_factor(NAME))) == ("1", 1.5)
        outside = publish_factor(tmp_path / "repository", "scale", 2, 2.5)
        (folder / "2").symlink_to(outside, target_is_directory=True)
        with pytest.raises(grpc.RpcError) as refused:
            stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=NAME))
        assert "2: is a link that leads out of the repository" in refused.value.details()
        assert factor_of(stub.ModelInfer(ask_factor(NAME))) == ("1", 1.5)


def test_a_worker_that_is_replaced_serves_it_again(folder, tmp_path):
    with workers_of(folder, tmp_path, "--model-name", NAME, "--workers", "2", "--model-control", "poll") as server:
        assert answers(server.port, NAME) == {("1", 1.5)}
        os.kill(server.workers()[0], signal.SIGKILL)
        until(lambda: "is ready again" in server.log)
        assert answers(server.port, NAME) == {("1", 1.5)}
        publish(folder, 2, 2.5)
        server.send(signal.SIGHUP)
        until(lambda: answers(server.port, NAME) == {("2", 2.5)})
    assert "Traceback" not in server.log


def test_what_a_worker_lacks_is_found_where_it_has_come_back(folder):
    """A worker that was replaced while the files were away is asked whether they are there again."""
    with serving(folder, model_name=NAME) as (server, _):
        pins = server.pins()
        server.live.mend([NAME], pins).result(PATIENCE)
        server.live.adopt().result(PATIENCE)
        (folder / "1").rename(folder / "away")
        with pytest.raises(LoadFailed, match=f"{NAME}: manifest.json"):
            server.live.mend([NAME], pins).result(PATIENCE)


@pytest.mark.parametrize("control", ["none", "poll", "explicit"])
def test_a_folder_of_the_other_kind_is_told(folder, tmp_path, control):
    with pytest.raises(StartError, match=r"is the folder of one model, for config\.pbtxt lies in it: name the model"):
        Repository(folder, control=control)
    publish_factor(tmp_path / "repository", "scale", 1, 1.5)
    with pytest.raises(StartError, match=rf"--model-name {NAME}: .* is the folder not of one model, but of scale"):
        Repository(tmp_path / "repository", only=NAME, control=control)


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(StartError, match="no model lies in"):
        Repository(tmp_path, only=NAME)
