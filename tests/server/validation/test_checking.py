"""Valid requests, and the message for each mistake: the field, what came, and what is expected."""

from typing import Any

import numpy as np
import pytest

from kit.inference_requests import request
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.datatypes import DTYPES
from rnnserve.server import Settings
from rnnserve.server.errors import InvalidRequest, Unsupported
from rnnserve.server.validation.checking import check_request
from rnnserve.server.validation.parsing import parse_request
from rnnserve.server.validation.signature import Batching, CheckedRequest, Signature, TensorSpec

LOGITS = {"logits": TensorSpec("logits", "FP32", ("batch", "classes"), (-1, 3))}


def classifier(*, zeros_after_lengths: bool = True) -> Signature:
    state, output = ("layers * directions", "batch", "hidden"), ("batch", "sequence", "directions * hidden")
    return Signature(
        {
            "input": TensorSpec("input", "FP32", ("batch", "sequence", "features"), (-1, -1, 2)),
            "lengths": TensorSpec("lengths", "INT64", ("batch",), (-1,), optional=True, lengths_of="sequence"),
            "h_0": TensorSpec("h_0", "FP32", state, (2, -1, 16), optional=True),
        },
        {
            "logits": TensorSpec("logits", "FP32", ("batch", "classes"), (-1, 2)),
            "output": TensorSpec("output", "FP32", output, (-1, -1, 16), zeros_after_lengths=zeros_after_lengths),
            "h_n": TensorSpec("h_n", "FP32", state, (2, -1, 16)),
        },
    )


DEFAULTS, CLASSIFIER = Settings(), classifier()
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


def walks(batch=3, sequence=4):
    return np.arange(batch * sequence * 2, dtype=np.float32).reshape(batch, sequence, 2)


def checked(message, of: Signature = CLASSIFIER, settings: Settings = DEFAULTS) -> CheckedRequest:
    """Check a message, or the request with these arrays."""
    message = request("m", message) if isinstance(message, dict) else message
    return check_request(parse_request(message.SerializeToString(), settings), of, settings)


def refusal(message, of: Signature = CLASSIFIER, settings: Settings = DEFAULTS) -> str:
    with pytest.raises(InvalidRequest) as refused:
        checked(message, of, settings)
    return str(refused.value)


@pytest.mark.parametrize("raw", [True, False])
def test_arrays_are_decoded_unchanged(raw):
    sent = {"input": walks(), "lengths": np.array([4, 1, 3]), "h_0": np.ones((2, 3, 16), np.float32)}
    found = checked(request("m", sent, ["h_n", "logits"], raw=raw))
    assert (found.batch, found.sizes, found.longest, found.steps) == (3, {"sequence": 4}, {"sequence": 4}, 4)
    assert found.outputs == ("h_n", "logits")
    assert found.inputs.keys() == sent.keys()
    for name, array in sent.items():
        np.testing.assert_array_equal(found.inputs[name], array)
        assert found.inputs[name].dtype == array.dtype
    assert checked({"input": walks()}).outputs == ("logits", "output", "h_n")


@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype_is_decoded_unchanged(datatype):
    signature = Signature({"x": TensorSpec("x", datatype, ("batch", "two"), (-1, 2))}, LOGITS, Batching.JOINED)
    dtype = DTYPES[datatype]
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype) if dtype.kind in "iu" else None
    sent = np.array([[False, True]] if limits is None else [[limits.min, limits.max], [1, 0]], dtype)
    for raw in (True, False) if datatype != "FP16" else (True,):
        found = checked(request("m", {"x": sent}, raw=raw), signature)
        assert (found.batch, found.sizes, found.longest, found.steps) == (len(sent), {}, {}, 1)
        assert found.inputs["x"].dtype == dtype
        np.testing.assert_array_equal(found.inputs["x"], sent)


def test_half_floats_are_refused_in_typed_contents_but_can_be_requested():
    outputs = {"half": TensorSpec("half", "FP16", ("batch",), (-1,)), **LOGITS}
    halves = Signature({"x": TensorSpec("x", "FP16", ("batch",), (-1,))}, outputs, Batching.JOINED)
    message = request("m", {"x": np.zeros(1, np.float16)})
    message.inputs[0].contents.fp32_contents.extend([0.0])
    del message.raw_input_contents[:]
    assert "datatype FP16, which contents cannot hold; send its bytes" in refusal(message, halves)
    signature = Signature({"x": TensorSpec("x", "INT8", ("batch",), (-1,))}, outputs, Batching.JOINED)
    for asked, raw in (([], True), (["half"], False), (["logits"], False)):
        message = request("m", {"x": np.zeros(1, np.int8)}, asked, raw=raw)
        assert checked(message, signature).outputs == tuple(asked or outputs)


def test_longest_length_counts_when_outputs_are_zeros_after_it():
    sent = {"input": walks(), "lengths": np.array([2, 1, 2])}
    for outputs in ([], ["logits"], ["output"], ["h_n", "logits"]):
        found = checked(request("m", sent, outputs))
        assert (found.longest, found.steps) == ({"sequence": 2}, 2)
    whole = classifier(zeros_after_lengths=False)
    assert checked(request("m", sent, ["logits", "h_n"]), whole).longest == {"sequence": 2}
    assert checked(request("m", sent, ["logits", "output"]), whole).longest == {"sequence": 4}


def full_request():
    states = np.ones((2, 3, 16), np.float32)
    return request("m", {"input": walks(), "lengths": np.array([4, 1, 3]), "h_0": states})


def altered(change):
    message = full_request()
    change(message)
    return message


def typed(message, field="fp32_contents", count=24):
    del message.raw_input_contents[:]
    for array, tensor in zip((walks(), np.array([4, 1, 3]), np.ones((2, 3, 16))), message.inputs, strict=True):
        name = "int64_contents" if tensor.datatype == "INT64" else "fp32_contents"
        getattr(tensor.contents, name).extend(array.ravel().tolist())
    message.inputs[0].contents.Clear()
    getattr(message.inputs[0].contents, field).extend([0.0] * count)


def set_shape(message, index, *shape):
    message.inputs[index].shape[:] = shape


def set_raw(message, index, data):
    message.raw_input_contents[index] = data


DEFECTS = {
    "misspelt input": (
        lambda m: m.inputs[0].__setattr__("name", "inputs"), "inputs[0].name",
        ['unknown input "inputs" (did you mean "input"?)', '"input" FP32 (batch, sequence, features=2)'],
    ),
    "missing input": (lambda m: (m.inputs.pop(0), m.raw_input_contents.pop(0)), "inputs", ['"input" is missing']),
    "input twice": (lambda m: m.inputs.append(m.inputs[1]), "inputs[3].name", ['input "lengths" is sent twice']),
    "datatype": (lambda m: m.inputs[0].__setattr__("datatype", "FP64"), "inputs[0].datatype", ['expected FP32']),
    "no datatype": (lambda m: m.inputs[0].__setattr__("datatype", ""), "inputs[0].datatype", ['has datatype ""']),
    "int lengths": (lambda m: m.inputs[1].__setattr__("datatype", "INT32"), "inputs[1].datatype", ["expected INT64"]),
    "rank": (lambda m: m.inputs[0].shape.append(1), "inputs[0].shape", ["has 4 axes, expected 3 axes"]),
    "many axes": (lambda m: m.inputs[2].shape.extend([1] * 20), "inputs[2].shape", ["has 23 axes"]),
    "size": (lambda m: set_shape(m, 0, 3, 2, 4), "inputs[0].shape", ["is 4, expected 2", "Swap the last two"]),
    "batch 0": (lambda m: set_shape(m, 0, -1, 4, 2), "inputs[0].shape", ["axis 0 (batch) is -1, but must be 1"]),
    "other batch": (lambda m: set_shape(m, 2, 2, 2, 16), "inputs[2].shape", ["(batch) is 2", 'of "input" is 3']),
    "lengths as the steps": (lambda m: set_shape(m, 1, 4), "inputs[1].shape", ['Is "input" sequence-first?']),
    "too long": (lambda m: set_shape(m, 0, 3, 5000, 2), "inputs[0].shape", ["at most 4096", "--max-sequence"]),
    "too few bytes": (
        lambda m: set_raw(m, 0, b"123"), "raw_input_contents[0]",
        ['"input" of shape [3, 4, 2]', "takes 96 bytes, but raw_input_contents[0] has 3"],
    ),
    "too many bytes": (lambda m: set_raw(m, 1, b"0" * 25), "raw_input_contents[1]", ["takes 24 bytes", "has 25"]),
    "raw entry missing": (lambda m: m.raw_input_contents.pop(), "raw_input_contents", ["has 2 entries for 3 inputs"]),
    "raw entry too many": (lambda m: m.raw_input_contents.append(b""), "raw_input_contents", ["has 4 entries for 3"]),
    "typed and raw": (
        lambda m: m.inputs[1].contents.int64_contents.append(1), "inputs[1].contents",
        ["is in both contents and raw_input_contents"],
    ),
    "wrong field": (
        lambda m: typed(m, "fp64_contents"), "inputs[0].contents", ["is in fp64_contents", "belongs in fp32"],
    ),
    "too few elements": (lambda m: typed(m, count=23), "inputs[0].contents", ["fp32_contents has 23"]),
    "length 0": (
        lambda m: set_raw(m, 1, np.array([1, 0, 2]).tobytes()), "raw_input_contents[1]",
        ['"lengths" is 0 for row 1 of axis 0 (batch)', 'axis 1 (sequence) of "input", which is 4'],
    ),
    "not finite": (
        lambda m: set_raw(m, 2, np.full(96, np.inf, "f4").tobytes()), "raw_input_contents[2]",
        ['"h_0" is inf at [0, 0, 0] (layers * directions 0, batch 0, hidden 0)'],
    ),
    "unknown output": (lambda m: m.outputs.add(name="logit"), "outputs[0].name", ['(did you mean "logits"?)']),
    "output twice": (
        lambda m: m.outputs.extend([m.outputs.add(name="h_n")] * 2), "outputs[1].name", ['"h_n" is requested twice'],
    ),
    "id": (lambda m: m.__setattr__("id", "x" * 5000), "id", []),
}  # fmt: skip


@pytest.mark.parametrize("name", DEFECTS)
def test_defect_is_named_with_its_field(name):
    change, field, said = DEFECTS[name]
    with pytest.raises(InvalidRequest) as refused:
        checked(altered(change))
    assert refused.value.field == field
    for part in said:
        assert part in str(refused.value)


def test_floats_of_every_size_are_finite_unless_that_is_allowed():
    sent: dict[str, Any] = {
        "source": np.zeros((5, 2, 4), np.float16), "target": np.zeros((2, 3), np.uint8),
        "memory": np.full((2, 5, 2), 1e308),
    }  # fmt: skip
    assert checked(sent, IMAGES).sizes == {"source": 5, "target": 3}
    for name in ("source", "memory"):
        for value in (np.nan, np.inf, -np.inf):
            wrong = {**sent, name: sent[name].copy()}
            wrong[name][0, 1, 1] = value
            assert f'input "{name}" is {value} at [0, 1, 1]' in refusal(wrong, IMAGES)
            found = checked(wrong, IMAGES, Settings(allow_non_finite=True))
            np.testing.assert_array_equal(found.inputs[name], wrong[name])


def test_padding_can_hold_anything_and_reaches_no_model():
    sent = walks()
    sent[1, 1:] = np.nan
    found = checked({"input": sent, "lengths": np.array([4, 1, 4])})
    np.testing.assert_array_equal(found.inputs["input"], np.nan_to_num(sent))
    assert "[1, 1, 0]" in refusal({"input": sent, "lengths": np.array([4, 2, 4])})


def tokens(value: int = 3) -> np.ndarray:
    array = np.full((2, 6), 4999)
    array[0, 3] = value
    return array


@pytest.mark.parametrize("raw", [True, False])
def test_integer_out_of_bounds_is_named(raw):
    for value in (5000, 2, 0, -1, 2**62, -(2**63)):
        said = refusal(request("m", {"tokens": tokens(value)}, raw=raw), TOKENS)
        assert said == f'input "tokens" is {value} at [0, 3] (batch 0, sequence 3): 3..4999'
    assert checked(request("m", {"tokens": tokens(4999)}, raw=raw), TOKENS).batch == 2


def test_integers_in_the_padding_are_checked_only_where_rows_may_not_be_padded():
    sent = {"tokens": tokens(0), "ends": np.array([3, 6], np.int32)}
    np.testing.assert_array_equal(checked(sent, TOKENS).inputs["tokens"], tokens(3))  # the lowest
    assert "[0, 3]" in refusal({**sent, "ends": np.array([4, 6], np.int32)}, TOKENS)
    joined = Signature(TOKENS.inputs, TOKENS.outputs, Batching.JOINED)
    assert "[0, 3]" in refusal(sent, joined)
    assert checked({**sent, "tokens": tokens()}, joined).longest == {"sequence": 6}


def test_elements_outside_their_datatype_are_named():
    small = Signature({"x": TensorSpec("x", "INT8", ("batch", "two"), (-1, 2))}, LOGITS, Batching.JOINED)
    message = pb.ModelInferRequest()
    message.inputs.add(name="x", datatype="INT8", shape=[1, 2]).contents.int_contents.extend([7, 300])
    assert '"x" is 300 at [0, 1] (batch 0, two 1): the range of INT8 is -128..127' in refusal(message, small)
    message = request("m", {"tokens": tokens(), "mask": np.ones((2, 6), np.bool_)})
    message.raw_input_contents[1] = b"\1\0" * 5 + b"\1\2"
    assert '"mask" is 2 at [1, 5] (batch 1, sequence 5): a byte of a BOOL' in refusal(message, TOKENS)


def test_sizes_are_explained_in_the_terms_of_the_model():
    sent = {"source": np.zeros((5, 2, 4), np.float16), "target": np.zeros((2, 3), np.uint8)}
    for change, said in (
        ({"memory": np.zeros((2, 4, 2))}, 'axis 1 (source) is 4, but axis 0 (source) of "source" is 5; all inputs'),
        ({"target": np.zeros((5, 3), np.uint8)}, 'Is "source" batch-first? Its shape [5, 2, 4] would fit as (batch, '),
        ({"target": np.zeros(3, np.uint8)}, "Is the batch axis missing? One sequence of 3 steps is [1, 3]"),
        ({"source": np.zeros((5, 4, 2), np.float16)}, "Swap the last two axes: [5, 2, 4]"),
        ({"target": np.zeros((2, 5000), np.uint8)}, "axis 1 (target) is 5000, but this server accepts at most 4096"),
    ):
        message = refusal({**sent, **change}, IMAGES)
        assert said in message
        for foreign in ("layers", "hidden", "lengths", "points"):
            assert foreign not in message


def test_too_large_requests_and_responses_are_refused():
    for settings, said in (
        (Settings(max_batch=2), "axis 0 (batch) is 3, but this server accepts at most 2 (send several requests)"),
        (Settings(max_sequence=3), "axis 1 (sequence) is 4, but this server accepts at most 3 (--max-sequence)"),
        (Settings(max_message_bytes=100), "but this server accepts at most 100 (--max-message-bytes)"),
    ):
        assert said in refusal({"input": walks()}, settings=settings)
    allocates_nothing = request("m", {"input": walks()})
    set_shape(allocates_nothing, 0, 16384, 4096, 2)
    assert "takes 536870912 bytes" in refusal(allocates_nothing)


def test_shared_memory_is_unsupported():
    for change in (
        lambda m: m.inputs[0].parameters["shared_memory_region"].__setattr__("string_param", "r"),
        lambda m: m.outputs.add(name="logits").parameters["shared_memory_region"].__setattr__("string_param", "r"),
    ):
        with pytest.raises(Unsupported):
            checked(altered(change))


def test_parameters_are_in_the_checked_request():
    def change(message):
        message.parameters["timeout"].int64_param = 1500
        message.outputs.add(name="logits").parameters["classification"].int64_param = 9

    found = checked(altered(change))
    assert (found.classes, found.timeout, found.is_plain) == ({"logits": 2}, 0.0015, False)
    assert checked({"input": walks()}).is_plain
