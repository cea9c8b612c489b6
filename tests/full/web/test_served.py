"""Large answers to Triton's clients for HTTP, from a real server."""

import asyncio

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio

SIMPLE = "direction_simple"


@pytest.fixture(scope="module")
def client(web_server):
    with triton.InferenceServerClient(web_server.http_address, concurrency=4) as client:
        yield client


def tensor(array):
    made = triton.InferInput("input", array.shape, "FP32")
    made.set_data_from_numpy(array)
    return made


def test_large_json_answers_equal_the_binary_ones(web_server, client):
    """They come in pieces, in chunks, to either client, and compressed where it asks for that."""
    walk = np.random.default_rng(0).normal(size=(8, 4000, 2)).astype("f4")
    outputs = [triton.InferRequestedOutput("output", binary_data=False)]
    binary = [triton.InferRequestedOutput("output", binary_data=True)]
    expected = client.infer(SIMPLE, [tensor(walk)], outputs=binary).as_numpy("output")

    async def go(coding):
        async with triton_aio.InferenceServerClient(web_server.http_address) as aio:
            made = triton_aio.InferRequestedOutput("output", binary_data=False)
            return await aio.infer(SIMPLE, [tensor(walk)], outputs=[made], response_compression_algorithm=coding)

    for coding in (None, "gzip", "deflate"):
        for said in (
            client.infer(SIMPLE, [tensor(walk)], outputs=outputs, response_compression_algorithm=coding),
            asyncio.run(go(coding)),
        ):
            np.testing.assert_array_equal(said.as_numpy("output"), expected)
