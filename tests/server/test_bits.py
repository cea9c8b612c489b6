"""The bits of an answer don't depend on the other requests in its batch."""

from concurrent import futures

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.checked_requests import checked_request
from kit.inference_requests import request
from rnnserve.server.validation.signature import CheckedRequest

NAMES = ["direction_simple", "direction_stacked", "direction_bidirectional"]


@pytest.mark.parametrize("name", NAMES)
def test_answer_has_the_same_bits_with_and_without_63_others(stub, name):
    numbers = np.random.default_rng(11)
    lengths = numbers.permutation(np.arange(1, 65))
    sent = [request(name, {"input": numbers.normal(size=(1, n, 2)).astype(np.float32)}) for n in lengths]
    alone = [stub.ModelInfer(message).SerializeToString() for message in sent]
    with futures.ThreadPoolExecutor(64) as pool:
        for _ in range(2):
            together = [answer.SerializeToString() for answer in pool.map(stub.ModelInfer, sent)]
            assert together == alone


@st.composite
def companies(draw) -> list[CheckedRequest]:
    """Requests of 1 to 9 rows and 1 to 64 points, some with lengths and states."""
    numbers = np.random.default_rng(draw(st.integers(0, 2**32)))
    requests = []
    for _ in range(draw(st.integers(1, 12))):
        batch, sequence = int(numbers.integers(1, 10)), int(numbers.integers(1, 65))
        inputs: dict[str, np.ndarray] = {"input": numbers.normal(size=(batch, sequence, 2)).astype(np.float32)}
        longest = sequence
        if numbers.random() < 0.5:
            inputs["lengths"] = numbers.integers(1, sequence + 1, batch)
            longest = int(inputs["lengths"].max())
        requests.append(checked_request(batch, sequence, inputs, ("logits", "output"), longest=longest))
    return requests


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(companies())
def test_outputs_have_the_same_bits_in_any_batch(models, requests):
    for model in models:
        together = model.run(requests)
        for request_alone, answer in zip(requests, together, strict=True):
            (alone,) = model.run([request_alone])
            for output, array in alone.items():
                assert array.tobytes() == answer[output].tobytes(), (model.name, output)
