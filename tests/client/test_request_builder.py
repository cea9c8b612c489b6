import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rnnserve.client import ModelMetadata, TensorMetadata
from rnnserve.client.request_builder import build_request, group_rows
from rnnserve.client.row_inputs import check_rows

INPUT = TensorMetadata("input", "FP32", (-1, -1, 2), ("batch", "sequence", "features"))
LENGTHS = TensorMetadata("lengths", "INT64", (-1,), ("batch",), optional=True, lengths_of="sequence")
LOGITS = TensorMetadata("logits", "FP32", (-1, 3), ("batch", "classes"))


def model(*inputs, batching="padded"):
    named = {tensor.name: tensor for tensor in inputs or (INPUT, LENGTHS)}
    return ModelMetadata("m", ("1",), "", named, {"logits": LOGITS}, properties={"batching": batching})


@given(
    st.lists(st.integers(1, 40), min_size=1),
    st.integers(1, 7),
    st.integers(1, 400),
    st.sampled_from(["padded", "joined", "alone"]),
)
def test_requests_hold_every_row_once_and_are_as_large_as_allowed(lengths, max_rows, max_bytes, batching):
    def fits(part):
        return (
            len(part) <= (1 if batching == "alone" else max_rows)
            and len(part) * max(max(part) * 8, 12) <= max_bytes
            and (batching == "padded" or len(set(part)) == 1)
        )

    metadata = model(batching=batching)
    rows = check_rows(metadata, [np.zeros((length, 2)) for length in lengths])
    requests = list(group_rows(metadata, rows, ["logits"], max_rows=max_rows, max_bytes=max_bytes))
    assert sorted(index for request in requests for index in request) == list(range(len(lengths)))
    assert all(request == sorted(request) for request in requests)
    parts = [[lengths[index] for index in request] for request in requests]
    assert all(fits(part) or len(part) == 1 for part in parts)
    if batching == "padded":
        assert requests == sorted(requests)
    if batching != "alone":
        assert not any(fits([*part, following[0]]) for part, following in itertools.pairwise(parts))


def build(inputs, *tensors, batching="padded"):
    metadata = model(*tensors, batching=batching)
    rows = check_rows(metadata, inputs)
    return build_request("m", "", metadata, rows, range(len(rows)), ["logits"])


def raw(request, dtype, index):
    return np.frombuffer(request.raw_input_contents[index], dtype).reshape(request.inputs[index].shape)


def test_equal_lengths_are_left_out_unless_the_model_requires_them():
    equal = [[[1, 2]], [[3, 4]]]
    assert [tensor.name for tensor in build(equal).inputs] == ["input"]
    insisting = TensorMetadata("lengths", "INT32", (-1,), ("batch",), lengths_of="sequence")
    request = build(equal, INPUT, insisting)
    assert [(tensor.name, tensor.datatype) for tensor in request.inputs] == [("input", "FP32"), ("lengths", "INT32")]
    assert raw(request, "<i4", 1).tolist() == [1, 1]
