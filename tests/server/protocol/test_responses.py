"""Responses are written as protobuf writes them, byte for byte, classes as Triton writes them, errors with details."""

import dataclasses
import itertools
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.internal import encoder
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import deserialize_bytes_tensor

from kit.checked_requests import checked_request
from kit.inference_requests import DATATYPES, request
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.datatypes import DTYPES
from rnnserve.server.errors import InvalidRequest
from rnnserve.server.protocol.responses import (
    encode_response,
    encode_varint,
    rank_classes,
    trailing_metadata,
)

NAME = "direction_stacked"


def built(outputs, id_):
    """The response as protobuf builds it from its fields."""
    response = pb.ModelInferResponse(model_name=NAME, model_version="1", id=id_)
    for name, array in outputs.items():
        response.outputs.add(name=name, datatype=DATATYPES[array.dtype], shape=array.shape)
        response.raw_output_contents.append(array.tobytes())
    return response.SerializeToString()


@pytest.mark.parametrize("names", [("logits",), ("h_n", "logits"), ("logits", "output", "h_n")])
def test_response_has_the_bytes_of_protobuf(service, names):
    model, numbers = service.repository.find(NAME).model, np.random.default_rng(3)
    for batch, sequence in ((1, 1), (3, 70)):
        shapes = {name: model.signature.outputs[name].shape(batch, {"sequence": sequence}) for name in names}
        outputs = {name: numbers.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
        for id_, raw in itertools.product(("", "x", "ü", "7" * 500), (True, False)):
            checked = checked_request(batch, sequence, {}, names, id=id_, is_raw=raw)
            assert encode_response(model, checked, outputs) == built(outputs, id_)  # raw, whatever was sent


def test_non_contiguous_output_is_written_in_order(service):
    model, names = service.repository.find(NAME).model, ("h_n",)
    whole = np.arange(2 * 6 * 16, dtype=np.float32).reshape(2, 6, 16)
    view = whole[:, 2:5]  # (layers * directions, batch, hidden)
    checked = checked_request(3, 4, {}, names)
    assert encode_response(model, checked, {"h_n": view}) == built({"h_n": view.copy()}, "")


def test_states_have_no_labels(service):
    model = service.repository.find(NAME).model
    checked = dataclasses.replace(checked_request(1, 4, {}, ("h_n",)), classes={"h_n": 1})
    states = np.zeros((2, 1, 16), np.float32)
    states[0, 0, 7] = states[1, 0, 15] = 1
    response = pb.ModelInferResponse.FromString(encode_response(model, checked, {"h_n": states}))
    assert list(response.outputs[0].shape) == [2, 1, 1]
    assert deserialize_bytes_tensor(response.raw_output_contents[0]).tolist() == [b"1.000000:7", b"1.000000:15"]


@given(st.integers(0, 2**64 - 1) | st.sampled_from([0, 127, 128, 16383, 16384, 2**32]))
def test_varint_has_the_bytes_of_protobuf(number):
    assert encode_varint(number) == encoder._VarintBytes(number)  # type: ignore[attr-defined]


def ranked(values, count, labels=()):
    shape, elements = rank_classes(values, count, labels)
    return np.reshape([element.decode() for element in deserialize_bytes_tensor(elements)], shape).tolist()


def test_highest_classes_come_first_and_equal_ones_in_order():
    for datatype in DTYPES.keys() - {"BOOL"}:
        values = np.array([[3, 7, 7, 0], [1, 1, 1, 1]], DTYPES[datatype])
        decimals = ".000000" if datatype.startswith("FP") else ""
        assert ranked(values, 3) == [
            [f"7{decimals}:1", f"7{decimals}:2", f"3{decimals}:0"],
            [f"1{decimals}:0", f"1{decimals}:1", f"1{decimals}:2"],
        ]


def test_integers_at_their_limits_are_ranked_as_they_are():
    assert ranked(np.array([[0, 2**64 - 1, 2**63]], np.uint64), 2) == [[f"{2**64 - 1}:1", f"{2**63}:2"]]
    assert ranked(np.array([[-(2**63), 2**63 - 1]], np.int64), 2) == [[f"{2**63 - 1}:1", f"{-(2**63)}:0"]]


def test_classes_match_the_example_of_tritons_documentation():
    values = np.array([[1, 5, 10, 4]], np.int32)
    assert ranked(values, 2) == [["10:2", "5:1"]]
    assert ranked(values, 2, ["a", "pickle", "apple", "b"]) == [["10:2:apple", "5:1:pickle"]]


def test_each_step_has_its_own_classes():
    values = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)[..., ::-1]  # (batch, sequence, classes)
    shape, _ = rank_classes(values, 1, ())
    assert shape == (2, 3, 1)
    assert ranked(values, 1)[1] == [["15.000000:0"], ["19.000000:0"], ["23.000000:0"]]


def violation(status):
    (packed,) = status.details
    bad = error_details_pb2.BadRequest()
    assert packed.Unpack(bad)
    (found,) = bad.field_violations
    return found.field, found.description


def status_of(call, asked):
    """Return the status that gRPC's own library reads from a refusal. It ignores details whose message differs."""
    with pytest.raises(grpc.RpcError) as refused:
        call(asked)
    refusal: Any = refused.value  # it is also a call
    return rpc_status.from_call(refusal), refusal


def test_long_error_messages_have_shorter_details_or_none():
    for length, has_description in ((900, True), (1500, False), (2500, None), (100_000, None)):
        error = InvalidRequest("x" * length, field="inputs[0].shape")
        metadata = trailing_metadata(error)
        assert bool(metadata) == (has_description is not None)
        size = len(str(error))
        for key, details in metadata:
            status = status_pb2.Status.FromString(details)
            assert status.message == str(error)
            assert violation(status) == ("inputs[0].shape", str(error) if has_description else "")
            size += len(key) + len(details) * 4 // 3
        assert size < 7500


def test_error_details_name_the_wrong_field(stub):
    region = 'inputs[0].parameters["shared_memory_region"]'
    for change, field in (
        (lambda m: m.inputs[0].shape.append(1), "inputs[0].shape"),
        (lambda m: m.inputs[0].__setattr__("name", "x" * 5000), "inputs[0].name"),
        (lambda m: m.outputs.add(name="h_m"), "outputs[0].name"),
        (lambda m: m.inputs[0].parameters["shared_memory_region"].__setattr__("string_param", "r"), region),
    ):
        asked = request("direction_simple", {"input": np.zeros((1, 3, 2), np.float32)})
        for _ in range(3):  # the fast path parses one, and might recognize the others
            assert stub.ModelInfer(asked).outputs
        change(asked)
        status, error = status_of(stub.ModelInfer, asked)
        assert (status.code, status.message) == (error.code().value[0], error.details())
        assert violation(status)[0] == field
    settings = pb.LogSettingsRequest()
    settings.settings["log_file"].string_param = "/tmp/x"
    assert violation(status_of(stub.LogSettings, settings)[0])[0] == 'settings["log_file"]'
    assert status_of(stub.ModelMetadata, pb.ModelMetadataRequest(name="x"))[0] is None
