"""Metadata as any server may write them."""

import pytest

from rnnserve.client.metadata import read_metadata
from rnnserve.protos import inference_pb2 as pb


@pytest.mark.parametrize("text", ["none", "[1]", '{"sequence": 3}', '{"sequence": ["a", 2]}'])
def test_malformed_limits_and_derived_sizes_are_ignored(text):
    tensor = pb.ModelMetadataResponse.TensorMetadata(name="x")
    for name in ("limits", "derived"):
        tensor.parameters[name].string_param = text
    found = read_metadata(pb.ModelMetadataResponse(inputs=[tensor])).inputs["x"]
    assert (found.limits, found.derived) == ({}, {})
