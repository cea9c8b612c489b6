"""What a connection may do: metadata up to one size, and pings as often as its client likes."""

import grpc
import numpy as np
import pytest

from kit.inference_requests import request
from rnnserve.protos import inference_pb2 as pb

ASKED = request("direction_simple", {"input": np.zeros((1, 3, 2), np.float32)}, ["logits"])


@pytest.mark.parametrize("method", ["ModelInfer", "ServerLive"])
def test_metadata_are_limited_and_always_the_same(stub, method):
    """gRPC's own soft limit of 8 kB refuses some of the same calls, and takes others: of 15 kB, nine of ten."""
    call = getattr(stub, method)
    asked = ASKED if method == "ModelInfer" else pb.ServerLiveRequest()
    for _ in range(30):
        call(asked, metadata=[(f"x-{key}", "y" * 3000) for key in range(5)])
    with pytest.raises(grpc.RpcError) as refused:
        call(asked, metadata=[(f"x-{key}", "y" * 3300) for key in range(5)])
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "received metadata size exceeds hard limit" in refused.value.details()
