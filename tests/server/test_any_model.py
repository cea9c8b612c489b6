"""Models with any tensors: in any batch, each request gets the answer that numpy computes for it alone."""

import random

import numpy as np
import pytest

from kit.examples import EXAMPLES, Arrays
from kit.inference_requests import arrays, request
from kit.served import served
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.datatypes import DTYPES


@pytest.fixture(scope="module")
def infer(zoo):
    with served(zoo) as server:
        index = server.stub.RepositoryIndex(pb.RepositoryIndexRequest()).models
        assert {model.name: model.reason for model in index} == dict.fromkeys(sorted(EXAMPLES), "")
        yield server.stub.ModelInfer


def check(infer, name, sent):
    """Ask for all of them at once, and compare each answer with that of the example alone."""
    example, calls = EXAMPLES[name], [infer.future(request(name, each)) for each in sent]
    dtypes = {output.name: DTYPES[output.datatype] for output in example.outputs}
    for each, call in zip(sent, calls, strict=True):
        expected, found = example.answer(each), arrays(call.result())
        assert {output: array.dtype for output, array in found.items()} == {key: dtypes[key] for key in expected}
        for output, array in expected.items():
            assert np.allclose(found[output], array, rtol=1e-5, atol=1e-5), f"{output} of {each}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_batched_request_has_the_answer_of_an_unbatched_one(infer, name):
    example, numbers, chance = EXAMPLES[name], np.random.default_rng(3), random.Random(3)
    kept: list[Arrays] = []
    for _ in range(10):
        # Some are asked for again with other values: those have one prefix.
        sent = [chance.choice(kept) if kept and chance.random() < 0.4 else example.draw(numbers) for _ in range(16)]
        kept += sent
        check(infer, name, sent)
