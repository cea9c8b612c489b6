"""The plain transport answers the same requests, sequences and sessions as the fast path."""

import numpy as np
import pytest

from kit.inference_requests import arrays, request
from kit.sequence_requests import SIMPLE, answers_of, in_parts, raw, walk
from kit.served import served

OUTPUTS = ["logits", "h_n"]


@pytest.fixture(scope="module")
def stubs(repository, session_key):
    """A server on the plain transport, and one on the fast path."""
    key = {"session_key": session_key}
    with served(repository, plain=True, **key) as plain, served(repository, **key) as fast:
        yield plain.stub, fast.stub


@pytest.mark.parametrize("cut", [[1] * 12, [2, 3, 1, 6]])
def test_sequences_and_sessions_have_the_bits_of_the_whole(stubs, cut):
    plain_stub, fast = stubs
    inputs = walk(12)
    whole = raw(fast.ModelInfer(request(SIMPLE, {"input": inputs}, OUTPUTS)))
    assert raw(answers_of(plain_stub, in_parts(inputs, cut, 7))[-1].infer_response) == whole
    assert raw([plain_stub.ModelInfer(part) for part in in_parts(inputs, cut, "seven")][-1]) == whole
    token, at = "sealed", 0
    for number, steps in enumerate(cut):
        asked = request(SIMPLE, {"input": np.ascontiguousarray(inputs[:, at : at + steps])}, ["logits"])
        asked.parameters["session"].string_param = token
        answer = stubs[number % 2].ModelInfer(asked)
        token, at = answer.parameters["session"].string_param, at + steps
    assert arrays(answer)["logits"].tobytes() == whole[0]
