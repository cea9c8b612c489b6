"""Models of any tensors are served as each request is answered alone: by numpy, in any company, on both transports."""

import random

import numpy as np
import pytest

from kit.example_models import Arrays
from kit.examples import EXAMPLES
from kit.inference_requests import arrays, request
from kit.served_here import asking
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.datatypes import DTYPES


@pytest.fixture(scope="module", params=["lane", "public"])
def infer(zoo, request):
    with asking(zoo, transport=request.param) as stub:
        index = stub.RepositoryIndex(pb.RepositoryIndexRequest()).models
        assert {model.name: model.reason for model in index} == dict.fromkeys(sorted(EXAMPLES), "")
        yield stub.ModelInfer


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_request_is_answered_as_it_is_alone(infer, name):
    example, numbers, chance = EXAMPLES[name], np.random.default_rng(3), random.Random(3)
    kept: list[Arrays] = []
    for _ in range(30):
        # Some are asked for again with other values: those have one prefix.
        sent = [chance.choice(kept) if kept and chance.random() < 0.4 else example.draw(numbers) for _ in range(16)]
        kept += sent
        calls = [infer.future(request(name, arrays_)) for arrays_ in sent]
        for arrays_, call in zip(sent, calls, strict=True):
            expected, found = example.answer(arrays_), arrays(call.result())
            assert found.keys() == expected.keys()
            for output, array in expected.items():
                assert found[output].dtype == DTYPES[next(t.datatype for t in example.outputs if t.name == output)]
                try:
                    np.testing.assert_allclose(found[output], array, rtol=1e-5, atol=1e-5)
                except (
                    AssertionError
                ) as error:  # to write the request for each comparison takes longer than all the rest
                    raise AssertionError(f"{output} of {arrays_}") from error


@pytest.mark.parametrize("name", EXAMPLES)
def test_many_of_one_prefix_are_answered_as_each_is_alone(infer, name):
    example, numbers = EXAMPLES[name], np.random.default_rng(5)
    one = example.draw(numbers)
    shapes = {key: array.shape for key, array in one.items()}
    sent = [one]
    while len(sent) < 48:
        other = example.draw(numbers)
        if {key: array.shape for key, array in other.items()} == shapes:
            sent.append(other)
    for _ in range(4):
        calls = [infer.future(request(name, arrays_)) for arrays_ in sent]
        for arrays_, call in zip(sent, calls, strict=True):
            for output, array in example.answer(arrays_).items():
                np.testing.assert_allclose(arrays(call.result())[output], array, rtol=1e-5, atol=1e-5)
