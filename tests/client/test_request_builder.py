import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnserve.client import ModelMetadata, TensorMetadata
from rnnserve.client.request_builder import build_classify_request, split_into_requests

OPTIONAL = {
    "input": TensorMetadata("input", "FP32", (-1, -1, 2)),
    "lengths": TensorMetadata("lengths", "INT64", (-1,), optional=True),
}


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 40)),
    st.integers(1, 8),
    st.integers(0, 9),
    st.integers(1, 7),
    st.integers(1, 400),
    st.booleans(),
)
def test_requests_hold_every_sequence_once_in_order_and_as_many_as_the_bounds_allow(
    lengths, bytes_per_point, bytes_per_row, max_rows, max_bytes, ragged
):
    def fits(part):
        return (
            len(part) <= max_rows
            and len(part) * (max(part) * bytes_per_point + bytes_per_row) <= max_bytes
            and (ragged or len(set(part)) == 1)
        )

    runs = list(
        split_into_requests(
            lengths,
            bytes_per_point=bytes_per_point,
            bytes_per_row=bytes_per_row,
            max_rows=max_rows,
            max_bytes=max_bytes,
            ragged=ragged,
        )
    )
    assert [index for run in runs for index in run] == list(range(len(lengths)))
    parts = [lengths[run.start : run.stop] for run in runs]
    assert all(fits(part) or len(part) == 1 for part in parts)
    assert not any(fits([*part, following[0]]) for part, following in itertools.pairwise(parts))


def build(arrays, inputs=OPTIONAL, states=None):
    metadata = ModelMetadata("m", ("1",), "", inputs, {})
    return build_classify_request("m", "", metadata, [np.asarray(array) for array in arrays], states or {}, ["logits"])


def raw(request, dtype, index):
    return np.frombuffer(request.raw_input_contents[index], dtype).reshape(request.inputs[index].shape)


def test_shorter_sequences_are_padded_with_zeros_and_their_lengths_sent():
    request = build([[[1, 2]], [[3, 4], [5, 6]]])
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in request.inputs] == [
        ("input", "FP32", [2, 2, 2]),
        ("lengths", "INT64", [2]),
    ]
    assert raw(request, "<f4", 0).tolist() == [[[1, 2], [0, 0]], [[3, 4], [5, 6]]]
    assert raw(request, "<i8", 1).tolist() == [1, 2]
    assert [output.name for output in request.outputs] == ["logits"]


def test_lengths_are_left_out_where_they_say_nothing_unless_the_model_insists():
    equal = [[[1, 2]], [[3, 4]]]
    assert [tensor.name for tensor in build(equal).inputs] == ["input"]
    insisting = {**OPTIONAL, "lengths": TensorMetadata("lengths", "INT32", (-1,))}
    request = build(equal, insisting)
    assert [(tensor.name, tensor.datatype) for tensor in request.inputs] == [("input", "FP32"), ("lengths", "INT32")]
    assert raw(request, "<i4", 1).tolist() == [1, 1]


@pytest.mark.parametrize(("datatype", "dtype"), [("FP32", "<f4"), ("FP64", "<f8"), ("FP16", "<f2")])
def test_points_are_sent_in_the_models_datatype(datatype, dtype):
    request = build([[[0.1, 1e300]]], {"input": TensorMetadata("input", datatype, (-1, -1, 2))})
    with np.errstate(over="ignore"):
        assert raw(request, dtype, 0).tolist() == np.array([[[0.1, 1e300]]]).astype(dtype).tolist()


def test_not_a_number_is_left_for_the_server_to_point_at():
    assert np.isnan(raw(build([[[np.nan, 0]]]), "<f4", 0)).tolist() == [[[True, False]]]
