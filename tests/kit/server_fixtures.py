"""Fixtures of `tests/server` and `tests/full/server`: a server of the trained models, and models to run without one."""

import secrets
from typing import Any

import pytest

from kit.loaded import load_model, load_repository
from kit.served import new_channel, served
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import Settings
from rnnserve.server.protocol.service import Service

# torch and onnx are imported in the fixtures that need them, so that other tests do not wait for them.

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "rnn": {"hidden": 16},
    "rnn_stacked_bidirectional": {"hidden": 7, "num_layers": 2, "bidirectional": True},
    "rnn_relu": {"nonlinearity": "relu", "hidden": 33},
    "gru": {"cell": "gru", "hidden": 12, "num_layers": 2},
    "lstm": {"cell": "lstm", "hidden": 24, "bidirectional": True},
}


@pytest.fixture(scope="session")
def models(kept_artifacts, tmp_path_factory):
    """A model of every cell with random weights, loaded as the server loads them."""
    root = kept_artifacts.copy("cells", _export_cells, tmp_path_factory.mktemp("cells") / "repository")
    return [load_model(root / name / "1", name) for name in ARCHITECTURES]


def _export_cells(root):
    import torch

    from rnnserve.export.classifiers import classifier_publication
    from rnnserve.export.pipeline import publish
    from rnnserve.models import Architecture, Checkpoint, DirectionClassifier

    for name, sizes in ARCHITECTURES.items():
        torch.manual_seed(5)
        classifier = DirectionClassifier.of(Architecture(**sizes)).eval()
        publish(
            classifier_publication(Checkpoint(name, classifier, ("left", "right"), "0" * 64, None)),
            repository=root,
            progress=False,
        )


@pytest.fixture(scope="session")
def zoo(tmp_path_factory):
    """A repository with the examples of models of any tensors."""
    from kit.examples import publish_examples

    root = tmp_path_factory.mktemp("zoo")
    publish_examples(root)
    return root


@pytest.fixture(scope="module")
def service(repository):
    """The trained models, without a transport."""
    return Service(load_repository(repository), Settings(repository, provider="cpu"))


@pytest.fixture(scope="session")
def session_key(tmp_path_factory):
    """A file with a key for sealed sessions."""
    path = tmp_path_factory.mktemp("keys") / "session.key"
    path.write_bytes(secrets.token_bytes(32))
    path.chmod(0o600)
    return path


@pytest.fixture(scope="session")
def server(repository, session_key):
    """A `Server` of the trained models in this process, on the fast path."""
    with served(repository, session_key=session_key) as running:
        yield running.server


@pytest.fixture(scope="session")
def channel(server):
    options = {"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1}
    with new_channel(server.port, options) as channel:
        yield channel


@pytest.fixture(scope="session")
def stub(channel):
    return rpc.GRPCInferenceServiceStub(channel)
