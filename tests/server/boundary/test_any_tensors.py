"""Requests of models of any tensors: every datatype, integers within bounds, any axes; messages in its words."""

import numpy as np
import pytest

from kit.inference_requests import request
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.datatypes import DTYPES
from rnnserve.server import Settings
from rnnserve.server.boundary.checked_request import CheckedRequest
from rnnserve.server.boundary.checking import check_request
from rnnserve.server.boundary.signature import Batching, Signature, TensorSpec
from rnnserve.server.boundary.values import validator
from rnnserve.server.errors import InvalidRequest

SETTINGS = Settings()
LOGITS = {"logits": TensorSpec("logits", "FP32", ("batch", "classes"), (-1, 3))}
TOKENS = Signature(
    {
        "tokens": TensorSpec("tokens", "INT64", ("batch", "sequence"), (-1, -1), low=3, high=5000),
        "ends": TensorSpec("ends", "INT32", ("batch",), (-1,), optional=True, lengths_of="sequence"),
        "mask": TensorSpec("mask", "BOOL", ("batch", "sequence"), (-1, -1), optional=True),
    },
    LOGITS,
)
IMAGES = Signature(
    {
        "source": TensorSpec("source", "FP16", ("source", "batch", "features"), (-1, -1, 4)),
        "target": TensorSpec("target", "UINT8", ("batch", "target"), (-1, -1)),
        "memory": TensorSpec("memory", "FP64", ("batch", "source", "cells"), (-1, -1, 2), optional=True),
    },
    LOGITS,
    Batching.JOINED,
)


def checked(signature: Signature, sent: dict[str, np.ndarray], settings=SETTINGS, **more) -> CheckedRequest:
    return check_request(request("m", sent, **more), signature, settings)


def refusal(signature: Signature, sent: dict[str, np.ndarray], **more) -> str:
    with pytest.raises(InvalidRequest) as refused:
        checked(signature, sent, **more)
    return str(refused.value)


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype_comes_out_as_it_went_in(datatype, raw):
    signature = Signature({"x": TensorSpec("x", datatype, ("batch", "two"), (-1, 2))}, LOGITS, Batching.JOINED)
    dtype = DTYPES[datatype]
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype) if dtype.kind in "iu" else None
    sent = np.array([[False, True]] if limits is None else [[limits.min, limits.max], [1, 0]], dtype)
    if datatype == "FP16" and not raw:
        message = request("m", {"x": sent})
        message.inputs[0].contents.fp32_contents.extend([0.0])
        del message.raw_input_contents[:]
        with pytest.raises(InvalidRequest, match="datatype FP16, which contents cannot hold; send its bytes"):
            check_request(message, signature, SETTINGS)
        return
    found = checked(signature, {"x": sent}, raw=raw)
    assert (found.batch, found.sizes, found.longest, found.steps) == (len(sent), {}, {}, 1)
    assert found.inputs["x"].dtype == dtype
    np.testing.assert_array_equal(found.inputs["x"], sent)


def test_elements_too_large_for_their_datatype_are_named():
    signature = Signature({"x": TensorSpec("x", "INT8", ("batch", "two"), (-1, 2))}, LOGITS, Batching.JOINED)
    message = pb.ModelInferRequest()
    message.inputs.add(name="x", datatype="INT8", shape=[1, 2]).contents.int_contents.extend([7, 300])
    with pytest.raises(InvalidRequest, match=r'"x" is 300 at \[0, 1\] \(batch 0, two 1\): INT8 is -128\.\.127'):
        check_request(message, signature, SETTINGS)


def test_outputs_that_typed_contents_cannot_hold_are_answered_raw():
    outputs = {"half": TensorSpec("half", "FP16", ("batch",), (-1,)), **LOGITS}
    signature = Signature({"x": TensorSpec("x", "INT8", ("batch",), (-1,))}, outputs, Batching.JOINED)
    sent = {"x": np.zeros(1, np.int8)}
    assert checked(signature, sent, outputs=["logits"], raw=False).outputs == ("logits",)
    assert checked(signature, sent).outputs == ("half", "logits")
    assert checked(signature, sent, outputs=["half"], raw=False).outputs == ("half",)


def tokens(value: int = 3) -> np.ndarray:
    array = np.full((2, 6), 4999)
    array[0, 3] = value
    return array


@pytest.mark.parametrize("value", [5000, 2, 0, -1, 2**62, -(2**63)])
@pytest.mark.parametrize("raw", [True, False])
def test_an_integer_out_of_bounds_is_named(value, raw):
    said = f'input "tokens" is {value} at [0, 3] (batch 0, sequence 3): 3..4999'
    assert refusal(TOKENS, {"tokens": tokens(value)}, raw=raw) == said
    assert checked(TOKENS, {"tokens": tokens(4999)}, raw=raw).batch == 2


def test_integers_in_the_padding_need_not_be_within_bounds_and_reach_no_model():
    sent = {"tokens": tokens(0), "ends": np.array([3, 6], np.int32)}
    found = checked(TOKENS, sent)
    np.testing.assert_array_equal(found.inputs["tokens"], tokens(3))  # the lowest
    sent["ends"][0] = 4
    assert "[0, 3]" in refusal(TOKENS, sent)


def test_padding_is_as_strict_as_the_rest_where_rows_may_not_be_padded():
    signature = Signature(TOKENS.inputs, TOKENS.outputs, Batching.JOINED)
    sent = {"tokens": tokens(0), "ends": np.array([3, 6], np.int32)}
    assert "[0, 3]" in refusal(signature, sent)
    sent["tokens"] = tokens()
    assert checked(signature, sent).longest == {"sequence": 6}


def test_a_byte_of_a_bool_is_0_or_1():
    message = request("m", {"tokens": tokens(), "mask": np.ones((2, 6), np.bool_)})
    message.raw_input_contents[1] = b"\1\0" * 5 + b"\1\2"
    with pytest.raises(InvalidRequest, match=r'"mask" is 2 at \[1, 5\] \(batch 1, sequence 5\): a byte of a BOOL'):
        check_request(message, TOKENS, SETTINGS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["source", "memory"])
def test_floats_of_every_size_are_finite(name, value):
    sent: dict[str, np.ndarray] = {
        "source": np.zeros((5, 2, 4), np.float16),
        "target": np.zeros((2, 3), np.uint8),
        "memory": np.full((2, 5, 2), 1e308),
    }
    assert checked(IMAGES, sent).sizes == {"source": 5, "target": 3}
    sent[name][0, 1, 1] = value
    assert f'input "{name}" is {value} at [0, 1, 1]' in refusal(IMAGES, sent)
    assert checked(IMAGES, sent, Settings(allow_non_finite=True)).batch == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"memory": np.zeros((2, 4, 2))},
            'axis 1 (source) is 4, but axis 0 (source) of "source" is 5; all inputs',
        ),
        ({"target": np.zeros((3, 3), np.uint8)}, 'axis 0 (batch) is 3, but axis 1 (batch) of "source" is 2'),
        (
            {"target": np.zeros((5, 3), np.uint8)},
            'Is "source" batch-first? Its shape [5, 2, 4] would fit as (batch, ',
        ),
        ({"target": np.zeros(3, np.uint8)}, "Is the batch axis missing? One sequence of 3 steps is [1, 3]"),
        ({"source": np.zeros((5, 4, 2), np.float16)}, "Swap the last two axes: [5, 2, 4]"),
        ({"source": np.zeros((5, 2, 3), np.float16)}, "axis 2 (features) is 3 where 4 is expected"),
        ({"target": np.zeros((2, 5000), np.uint8)}, "axis 1 (target) is 5000, more than the 4096"),
    ],
)
def test_wrong_sizes_are_explained_in_the_models_own_words(change, said):
    sent: dict[str, np.ndarray] = {"source": np.zeros((5, 2, 4), np.float16), "target": np.zeros((2, 3), np.uint8)}
    message = refusal(IMAGES, {**sent, **change})
    assert said in message
    for foreign in ("layers", "hidden", "lengths", "points"):
        assert foreign not in message


@pytest.mark.parametrize("end", [0, 7, -1])
def test_lengths_are_named_by_the_model(end):
    message = refusal(TOKENS, {"tokens": tokens(), "ends": np.array([2, end], np.int32)})
    assert message == (
        f'input "ends" is {end} for row 1 of axis 0 (batch): a length lies between 1 and axis 1 (sequence) of '
        '"tokens", which is 6'
    )


@pytest.mark.parametrize("count", [1, 63, 64, 65, 1000])
@pytest.mark.parametrize(("value", "valid"), [(3, True), (4999, True), (2, False), (5000, False)])
def test_one_integer_among_many(count, value, valid):
    numbers = np.full(count, 7)
    numbers[count // 2] = value
    assert validator(TOKENS.inputs["tokens"], allow_non_finite=False)(numbers.tobytes()) is valid
