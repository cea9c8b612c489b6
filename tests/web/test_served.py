"""The clients that people have, on a real server: Triton's for HTTP, KServe's requests, probes."""

import json
import urllib.error
import urllib.request

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from kit.waiting import PATIENCE
from rnnserve.client import Client

SIMPLE = "direction_simple"
WALKS = np.random.default_rng(0).normal(size=(5, 7, 2)).astype("f4")


@pytest.fixture(scope="module")
def expected(web_server):
    """The outputs of gRPC."""
    with Client(web_server.address, timeout=PATIENCE) as client:
        rows = client.predict(SIMPLE, WALKS, outputs=["logits", "h_n"])
    # (batch, classes) and (layers * directions, batch, hidden)
    return {name: np.stack([row[name] for row in rows], axis) for name, axis in (("logits", 0), ("h_n", 1))}


@pytest.fixture(scope="module")
def client(web_server):
    with triton.InferenceServerClient(web_server.http_address, concurrency=4) as client:
        yield client


def tensor(array, name="input", binary=True):
    made = triton.InferInput(name, array.shape, "FP32" if array.dtype == np.float32 else "INT64")
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def asked(names, binary=True):
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def post(url, body):
    request = urllib.request.Request(f"http://{url}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_every_form_of_tensors_has_the_bits_of_grpc(client, expected):
    """Even JSON, because it writes numbers that are read as the same floats."""
    for binary_in, binary_out, coding in (
        (True, True, None),
        (True, False, "gzip"),
        (False, True, "deflate"),
        (False, False, None),
        (False, False, "gzip"),
    ):
        said = client.infer(
            SIMPLE,
            [tensor(WALKS, binary=binary_in)],
            outputs=asked(("logits", "h_n"), binary_out),
            request_id="mine",
            request_compression_algorithm=coding,
            response_compression_algorithm=coding,
        )
        assert said.get_response()["id"] == "mine"
        for name, array in expected.items():
            np.testing.assert_array_equal(said.as_numpy(name).astype("f4"), array)


def test_health_and_metadata_equal_those_of_the_server(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(SIMPLE, "1")
    assert not client.is_model_ready("nope")
    assert client.get_server_metadata()["name"] == "rnnserve"
    assert [tensor["name"] for tensor in client.get_model_metadata(SIMPLE)["inputs"]] == ["input", "lengths", "h_0"]
    assert client.get_model_config(SIMPLE)["max_batch_size"] == 0
    assert {entry["name"] for entry in client.get_model_repository_index()} >= {SIMPLE}


@pytest.mark.parametrize(
    ("array", "name", "said"),
    [
        (np.zeros((7, 2), "f4"), "input", "batch"),
        (np.zeros((1, 7, 3), "f4"), "input", "features"),
        (np.zeros((1, 7, 2), "f4"), "inptu", 'did you mean "input"'),
        (np.zeros((1, 7, 2), "i8"), "input", "FP32"),
    ],
)
def test_shape_errors_are_explained_over_http(client, array, name, said):
    for binary in (True, False):
        with pytest.raises(InferenceServerException, match=said) as refused:
            client.infer(SIMPLE, [tensor(array, name, binary)])
        assert refused.value.status() == "400"


def test_body_of_the_kserve_client_is_answered(web_server):
    """It has no id and nested data. KServe's client reads the answer with its own model class."""
    url = f"{web_server.http_address}/v2/models/{SIMPLE}/infer"
    asked = {"name": "input", "shape": [5, 7, 2], "datatype": "FP32", "data": WALKS.tolist()}
    status, said = post(url, {"inputs": [asked]})
    assert (status, set(said)) == (200, {"model_name", "model_version", "id", "outputs"})
    assert said["id"]
    status, said = post(url, {"inputs": [asked | {"shape": [1, 4, 2], "data": [1, 2, 3, 4, 5, 6]}]})
    assert status == 400
    assert "data has 6 elements, but shape [1, 4, 2] needs 8" in said["error"]


def test_states_are_kept_per_connection_or_by_the_client(web_server, client, expected):
    first = client.infer(SIMPLE, [tensor(WALKS[:, :3])], outputs=asked(["h_n"])).as_numpy("h_n")
    rest = client.infer(SIMPLE, [tensor(WALKS[:, 3:]), tensor(first, "h_0")], outputs=asked(["logits"]))
    np.testing.assert_allclose(rest.as_numpy("logits"), expected["logits"], rtol=1e-5, atol=1e-5)
    address = web_server.http_address
    with triton.InferenceServerClient(address) as owner, triton.InferenceServerClient(address) as other:

        def ask(of, step, **control):
            return of.infer(SIMPLE, [tensor(WALKS[:1, step : step + 1])], outputs=asked(["logits"]), **control)

        for step in range(7):
            said = ask(owner, step, sequence_id=77, sequence_start=step == 0)
            if step == 3:
                with pytest.raises(InferenceServerException):
                    ask(other, step, sequence_id=77)
    np.testing.assert_allclose(said.as_numpy("logits"), expected["logits"][:1], rtol=1e-5, atol=1e-5)
