"""Modules whose forward has no states, published and served: which are sent in parts, and why not the others."""

import secrets

import numpy as np
import pytest
import torch

from full.end_to_end.stateless_modules import FEATURES, STREAM, WHOLE
from rnnserve.client import Client, InvalidRequest
from rnnserve.export import Floats, publish
from rnnserve.server import Settings
from rnnserve.server.testing import serve


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The manifest of each, and the folder where all of them are."""
    folder, manifests = tmp_path_factory.mktemp("stateless"), {}
    with torch.random.fork_rng(devices=[]):
        for name, (make, _) in {**STREAM, **WHOLE}.items():
            torch.manual_seed(0)
            inputs = {"x": Floats("batch", "sequence", FEATURES)}
            module = make().eval()
            done = publish(module, name, repository=folder, inputs=inputs, outputs=["y"], progress=False)
            manifests[name] = done.manifest
    return folder, manifests


@pytest.fixture(scope="module", params=["server", "sealed"])
def client(published, tmp_path_factory, request):
    """A client of a server that keeps states, and of one with a key, whose clients carry them."""
    key = tmp_path_factory.mktemp("key") / "key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(32))
    settings = Settings(provider="cpu", session_key=key if request.param == "sealed" else None)
    with serve(published[0], settings) as server, Client(server.address) as client:
        yield client


def test_what_is_found(published):
    found = {name: [tensor.name for tensor in manifest.parts.inputs] for name, manifest in published[1].items()}
    assert {name: found[name] for name in STREAM} == {name: states for name, (_, states) in STREAM.items()}
    assert not any(published[1][name].parts.reason for name in STREAM)


def test_the_reason_names_what_stands_in_the_way(published):
    reasons = {name: published[1][name].parts.reason for name in WHOLE}
    wanted = {name: reason for name, (_, reason) in WHOLE.items()}
    assert {name: reason[: len(wanted[name])] for name, reason in reasons.items()} == wanted


@pytest.mark.parametrize("name", STREAM)
def test_a_session_gives_the_bits_of_the_whole(client, name):
    sequence = np.random.default_rng(1).normal(size=(6, FEATURES)).astype(np.float32)
    (whole,) = client.predict(name, [sequence])
    with client.session(name) as session:
        parts = [session.step(sequence[at : at + 1])["y"] for at in range(3)] + [session.step(sequence[3:])["y"]]
    assert np.concatenate(parts).tobytes() == whole["y"].tobytes()


@pytest.mark.parametrize("name", WHOLE)
def test_a_sequence_that_has_to_be_whole_is_refused_in_parts_with_the_reason(client, name):
    assert client.predict(name, [np.ones((4, FEATURES), np.float32)])[0]["y"].size
    with pytest.raises(InvalidRequest) as refused, client.session(name):
        pass
    assert WHOLE[name][1] in str(refused.value)
