"""The clients that people have, on a real server: Triton's for HTTP, KServe's requests, curl's."""

import asyncio
import json
import os
import signal
import urllib.error
import urllib.request

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from kit.waiting import until
from rnnserve.cli import main
from rnnserve.client import Client

SIMPLE = "direction_simple"
WALKS = np.random.default_rng(0).normal(size=(5, 7, 2)).astype("f4")


@pytest.fixture(scope="module")
def expected(served):
    """What gRPC answers."""
    process, _ = served
    with Client(process.address) as client:
        rows = client.predict(SIMPLE, WALKS, outputs=["logits", "h_n"])
    # (batch, classes) and (layers * directions, batch, hidden)
    return {name: np.stack([row[name] for row in rows], axis) for name, axis in (("logits", 0), ("h_n", 1))}


@pytest.fixture(scope="module")
def client(served):
    with triton.InferenceServerClient(served[1], concurrency=4) as client:
        yield client


def tensor(array, name="input", binary=True):
    made = triton.InferInput(name, array.shape, "FP32" if array.dtype == np.float32 else "INT64")
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def asked(names, binary=True):
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def post(url, body, **headers):
    request = urllib.request.Request(f"http://{url}", body, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
def test_every_form_gives_grpcs_bits(client, expected, binary_in, binary_out, coding):
    """JSON, too: numbers are written such that they are read as the same floats."""
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


def test_outputs_that_are_not_named_are_all_binary(client):
    said = client.infer(SIMPLE, [tensor(WALKS)])
    names = [output["name"] for output in said.get_response()["outputs"]]
    assert names == ["logits", "output", "h_n"]
    assert all("binary_data_size" in output["parameters"] for output in said.get_response()["outputs"])


def test_aio(served, expected):
    async def go():
        async with triton_aio.InferenceServerClient(served[1]) as client:
            assert await client.is_server_ready()
            calls = [
                client.infer(
                    SIMPLE, [tensor(WALKS)], outputs=asked(("logits", "h_n")), response_compression_algorithm=coding
                )
                for coding in (None, "gzip", "deflate") * 5
            ]
            return await asyncio.gather(*calls)

    for said in asyncio.run(go()):
        np.testing.assert_array_equal(said.as_numpy("logits"), expected["logits"])


def test_large_answers_in_json(served, client):
    """They come in pieces, in chunks, to either client, and compressed where it asks for that."""
    walk = np.random.default_rng(0).normal(size=(8, 4000, 2)).astype("f4")
    outputs = [triton.InferRequestedOutput("output", binary_data=False)]
    expected = client.infer(SIMPLE, [tensor(walk)], outputs=asked(["output"])).as_numpy("output")

    async def go(coding):
        async with triton_aio.InferenceServerClient(served[1]) as aio:
            made = triton_aio.InferRequestedOutput("output", binary_data=False)
            return await aio.infer(SIMPLE, [tensor(walk)], outputs=[made], response_compression_algorithm=coding)

    for coding in (None, "gzip", "deflate"):
        for said in (
            client.infer(SIMPLE, [tensor(walk)], outputs=outputs, response_compression_algorithm=coding),
            asyncio.run(go(coding)),
        ):
            np.testing.assert_array_equal(said.as_numpy("output"), expected)


def test_what_there_is(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(SIMPLE)
    assert client.is_model_ready(SIMPLE, "1")
    assert not client.is_model_ready("nope")
    assert client.get_server_metadata()["name"] == "rnnserve"
    assert [tensor["name"] for tensor in client.get_model_metadata(SIMPLE)["inputs"]] == ["input", "lengths", "h_0"]
    assert client.get_model_config(SIMPLE)["max_batch_size"] == 0
    assert client.get_log_settings()["log_info"] is True
    assert client.get_trace_settings()["trace_level"] == ["OFF"]
    assert client.get_system_shared_memory_status() == []
    assert {entry["name"] for entry in client.get_model_repository_index()} >= {SIMPLE}


def test_the_command_for_probes_asks_either_way(served, capsys):
    process, address = served
    for asked in (process.address, f"http://{address}"):
        assert main(["health", asked]) == 0
        assert main(["health", asked, "--live"]) == 0
        assert main(["health", asked, "--model", SIMPLE]) == 0
        assert main(["health", asked, "--model", "no_such_model"]) == 1
        assert "no_such_model" in capsys.readouterr().err


def test_statistics_count_what_came_by_http(client):
    before = client.get_inference_statistics(SIMPLE)["model_stats"][0]["inference_count"]
    client.infer(SIMPLE, [tensor(WALKS)])
    after = client.get_inference_statistics(SIMPLE, "1")["model_stats"][0]["inference_count"]
    assert after - before == len(WALKS)


def test_models_are_loaded_and_unloaded(client):
    name = "direction_stacked"
    client.unload_model(name)
    assert not client.is_model_ready(name)
    with pytest.raises(InferenceServerException, match=r"\[503\]|\[404\]"):
        client.infer(name, [tensor(WALKS)])
    client.load_model(name)
    assert client.is_model_ready(name)
    with pytest.raises(InferenceServerException, match=r"\[501\].*publish the files there"):
        client.load_model(name, config="{}")


@pytest.mark.parametrize(
    ("array", "name", "said"),
    [
        (np.zeros((7, 2), "f4"), "input", "batch"),
        (np.zeros((1, 7, 3), "f4"), "input", "features"),
        (np.zeros((1, 7, 2), "f4"), "inptu", 'did you mean "input"'),
        (np.zeros((1, 7, 2), "i8"), "input", "FP32"),
    ],
)
def test_the_servers_own_words_teach_shapes(client, array, name, said):
    for binary in (True, False):
        with pytest.raises(InferenceServerException, match=said) as refused:
            client.infer(SIMPLE, [tensor(array, name, binary)])
        assert refused.value.status() == "400"


def test_elements_of_json_are_counted_in_elements(served):
    body = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 4, 2], "data": [1, 2, 3, 4, 5, 6]}]}
    status, said = post(f"{served[1]}/v2/models/{SIMPLE}/infer", json.dumps(body).encode())
    assert (status, said["error"]) == (
        400,
        'input "input" of shape [1, 4, 2] (batch, sequence, features) takes 8 elements; fp32_contents has 6',
    )


def test_classes(client):
    output = triton.InferRequestedOutput("logits", binary_data=True, class_count=2)
    said = client.infer(SIMPLE, [tensor(WALKS)], outputs=[output]).as_numpy("logits")
    assert said.shape == (5, 2)
    labels = {element.decode().split(":")[2] for element in said.reshape(-1)}
    assert len(labels) == 2
    assert labels.isdisjoint({"0", "1"})


def test_a_sequence_on_one_connection_is_continued(served, expected):
    """With the states that the server keeps; another connection does not reach them."""
    with triton.InferenceServerClient(served[1]) as client, triton.InferenceServerClient(served[1]) as other:

        def ask(of, step, **control):
            return of.infer(SIMPLE, [tensor(WALKS[:1, step : step + 1])], outputs=asked(["logits"]), **control)

        for step in range(7):
            said = ask(client, step, sequence_id=77, sequence_start=step == 0)
            if step == 3:
                with pytest.raises(InferenceServerException):
                    ask(other, step, sequence_id=77)
        ask(client, 6, sequence_id=77, sequence_end=True)
    np.testing.assert_allclose(said.as_numpy("logits"), expected["logits"][:1], rtol=1e-5, atol=1e-5)


def test_carried_states_work_on_any_connection(client, expected):
    first = client.infer(SIMPLE, [tensor(WALKS[:, :3])], outputs=asked(["h_n"])).as_numpy("h_n")
    rest = client.infer(SIMPLE, [tensor(WALKS[:, 3:]), tensor(first, "h_0")], outputs=asked(["logits"]))
    np.testing.assert_allclose(rest.as_numpy("logits"), expected["logits"], rtol=1e-5, atol=1e-5)


def test_kserves_requests(served):
    """As its client makes them: no id, nested data, and a body that is read with a model of its own."""
    body = {"inputs": [{"name": "input", "shape": [5, 7, 2], "datatype": "FP32", "data": WALKS.tolist()}]}
    status, said = post(f"{served[1]}/v2/models/{SIMPLE}/infer", json.dumps(body).encode())
    assert status == 200
    assert set(said) == {"model_name", "model_version", "id", "outputs"}
    assert said["id"]


def test_steps_are_events(served, expected):
    body = json.dumps({"input": WALKS[0].tolist()}).encode()
    with urllib.request.urlopen(f"http://{served[1]}/v2/models/{SIMPLE}/generate_stream", body, timeout=30) as reply:
        events = [json.loads(line[6:]) for line in reply.read().decode().splitlines() if line]
    assert len(events) == 7
    np.testing.assert_allclose(events[-1]["logits"], expected["logits"][0], rtol=1e-5, atol=1e-5)


def test_a_raw_request(served, expected):
    request = urllib.request.Request(
        f"http://{served[1]}/v2/models/{SIMPLE}/infer", WALKS[0].tobytes(), {"Content-Type": "application/octet-stream"}
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        said = json.loads(reply.read())
    np.testing.assert_allclose(said["outputs"][0]["data"], expected["logits"][0], rtol=1e-5, atol=1e-5)


def test_shared_memory_is_refused_with_words(client):
    with pytest.raises(InferenceServerException, match=r"\[501\] shared memory is not supported"):
        client.register_system_shared_memory("region", "/key", 64)
    client.unregister_system_shared_memory()


def test_a_front_that_dies_is_replaced_and_grpc_notices_nothing(served, client):
    process, _ = served
    (front,) = process.children(b"\0web\0")
    with Client(process.address) as grpc_client:
        os.kill(front, signal.SIGKILL)
        grpc_client.predict(SIMPLE, WALKS)
    with triton.InferenceServerClient(served[1], connection_timeout=60, network_timeout=60) as new:
        until(new.is_server_live)
        new.infer(SIMPLE, [tensor(WALKS)])
