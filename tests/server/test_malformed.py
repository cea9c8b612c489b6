"""Malformed requests by the thousand: the right status, a message that names tensor and axis, a server that lives.

`pytest tests/server/test_malformed.py --malformed 100000` sends as many as one likes.
"""

import itertools
from collections import Counter
from concurrent import futures

import grpc
import numpy as np

from kit.inference_requests import arrays, request
from kit.malformed import Malformed, malformed

METHOD = "/inference.GRPCInferenceService/ModelInfer"


def test_every_malformed_request_is_refused_as_it_should_be(channel, pytestconfig):
    infer = channel.unary_unary(METHOD)

    def wrong(sent: Malformed) -> str:
        try:
            infer(sent.payload, timeout=30)
            status, said = grpc.StatusCode.OK, ""
        except grpc.RpcError as error:
            status, said = error.code(), error.details() or ""
        met[status] += 1
        if status in sent.statuses and all(part in said for part in sent.says):
            return ""
        return f"{status} {said!r}, where {sent.statuses} and {sent.says} were expected"

    met: Counter[grpc.StatusCode] = Counter()
    many = itertools.islice(malformed("direction_stacked", 2, 16, seed=7), pytestconfig.getoption("malformed"))
    with futures.ThreadPoolExecutor(8) as pool:
        failures = [failure for failure in pool.map(wrong, many) if failure]
    assert failures == []
    assert met[grpc.StatusCode.INVALID_ARGUMENT] > 0.8 * met.total()


def test_it_serves_on(stub):
    answer = stub.ModelInfer(request("direction_stacked", {"input": np.zeros((1, 3, 2), np.float32)}))
    assert np.isfinite(arrays(answer)["logits"]).all()
