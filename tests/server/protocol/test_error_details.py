"""Which errors have details, and that these are never too large to be delivered with the message."""

from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from kit.inference_requests import request
from rnnserve.client.retry_delay import retry_delay
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.errors import InvalidRequest, NotFound, Unsupported
from rnnserve.server.protocol.error_details import details_metadata


def violation(status):
    (packed,) = status.details
    bad = error_details_pb2.BadRequest()
    assert packed.Unpack(bad)
    (found,) = bad.field_violations
    return found.field, found.description


def status_of(call, asked):
    """What gRPC's own library reads of a refusal: it takes no details whose message differs from the status's."""
    with pytest.raises(grpc.RpcError) as refused:
        call(asked)
    refusal: Any = refused.value  # it is also a call
    return rpc_status.from_call(refusal), refusal


def test_error_that_names_a_field_has_details_and_others_have_none():
    ((key, details),) = details_metadata(InvalidRequest("too long: 5000 of 4096 Zeichen für ü", field="id"))
    status = status_pb2.Status.FromString(details)
    assert key == "grpc-status-details-bin"
    assert (status.code, status.message) == (3, "too long: 5000 of 4096 Zeichen für ü")
    assert violation(status) == ("id", status.message)
    assert details_metadata(InvalidRequest("no")) == details_metadata(NotFound("no")) == ()
    ((_, details),) = details_metadata(Unsupported("no", field="parameters"))
    assert status_pb2.Status.FromString(details).code == grpc.StatusCode.UNIMPLEMENTED.value[0]


def test_long_messages_have_shorter_details_or_none():
    for length, has_description in ((900, True), (1500, False), (2500, None), (100_000, None)):
        error = InvalidRequest("x" * length, field="inputs[0].shape")
        metadata = details_metadata(error)
        assert bool(metadata) == (has_description is not None)
        size = len(str(error))
        for key, details in metadata:
            status = status_pb2.Status.FromString(details)
            assert status.message == str(error)
            assert violation(status) == ("inputs[0].shape", str(error) if has_description else "")
            size += len(key) + len(details) * 4 // 3
        assert size < 7500


def test_clients_read_which_field_is_wrong(stub):
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


def test_retry_delay_is_read_within_bounds():
    ((key, named),) = details_metadata(InvalidRequest("no", field="id"))
    assert key == "grpc-status-details-bin"
    assert retry_delay(named) is None
    assert retry_delay(detail_of(Duration(seconds=2, nanos=500_000_000))) == 2.5
    timed = detail_of(Duration(nanos=31_000_000))
    for damaged in (b"", b"\xff", timed[:-1], timed + b"\xff", timed + bytes(20_000)):
        assert retry_delay(damaged) in (None, 0.031)
    assert retry_delay(detail_of(Duration(seconds=-5))) == 0.0


def detail_of(delay):
    """What other servers send that name a time, such as proxies."""
    status = status_pb2.Status()
    status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status.SerializeToString()
