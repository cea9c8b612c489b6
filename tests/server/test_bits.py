"""The bits of an answer do not depend on the other requests in its batch."""

from concurrent import futures

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rnnserve.server.boundary import Inference
from rnnserve.server.invariance import is_batch_invariant
from support.asking import request

NAMES = ["direction_simple", "direction_stacked", "direction_bidirectional"]


@pytest.mark.parametrize("name", NAMES)
def test_alone_and_among_63_others(stub, name):
    numbers = np.random.default_rng(11)
    lengths = numbers.permutation(np.arange(1, 65))
    sent = [request(name, {"input": numbers.normal(size=(1, n, 2)).astype(np.float32)}) for n in lengths]
    alone = [stub.ModelInfer(message).SerializeToString() for message in sent]
    with futures.ThreadPoolExecutor(64) as pool:
        for _ in range(5):
            together = [answer.SerializeToString() for answer in pool.map(stub.ModelInfer, sent)]
            assert together == alone


def test_each_of_them_says_so_of_itself(models):
    assert {model.name: model.batch_invariant for model in models} == {model.name: True for model in models}


def test_a_model_that_is_not_is_found_out(models):
    """Planted: a result that depends, by one unit in the last place, on how many requests there are."""

    def run(requests):
        answers = models[0].run(requests)
        if len(requests) > 1:
            answers[0]["h_n"] = np.nextafter(answers[0]["h_n"], 2)
        return answers

    assert not is_batch_invariant(run, models[0].signature)


@st.composite
def companies(draw) -> list[Inference]:
    """Requests of 1 to 9 rows and 1 to 64 points, some with lengths and states."""
    numbers = np.random.default_rng(draw(st.integers(0, 2**32)))
    requests = []
    for _ in range(draw(st.integers(1, 12))):
        batch, sequence = int(numbers.integers(1, 10)), int(numbers.integers(1, 65))
        inputs = {"input": numbers.normal(size=(batch, sequence, 2)).astype(np.float32)}
        longest = sequence
        if numbers.random() < 0.5:
            inputs["lengths"] = numbers.integers(1, sequence + 1, batch)
            longest = int(inputs["lengths"].max())
        requests.append(Inference(batch, sequence, longest, inputs, ("logits", "output")))
    return requests


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(companies())
def test_every_cell_in_any_company(models, requests):
    for model in models:
        together = model.run(requests)
        for request_alone, answer in zip(requests, together, strict=True):
            (alone,) = model.run([request_alone])
            for output, array in alone.items():
                assert array.tobytes() == answer[output].tobytes(), (model.name, output)
