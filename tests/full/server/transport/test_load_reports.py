"""Load reports: what they say, how often they come, when they end, and that clients balance by them."""

import struct
import threading
from typing import Any

import numpy as np
from google.protobuf.duration_pb2 import Duration

from kit.inference_requests import request
from kit.served import served
from kit.waiting import PATIENCE, until

METHOD = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"


def interval(seconds, nanos=0):
    duration = Duration(seconds=seconds, nanos=nanos).SerializeToString()
    return bytes((0x0A, len(duration))) + duration


def read(report):
    """The numbers of a report by the numbers of their fields."""
    assert len(report) == 27
    return {report[at] >> 3: struct.unpack_from("<d", report, at + 1)[0] for at in range(0, 27, 9)}


WALK = request("direction_simple", {"input": np.zeros((1, 3, 2), np.float32)})


def test_a_server_reports_what_it_has_answered_and_stops_at_once(repository):
    with served(repository, grace=PATIENCE) as running, running.channel() as channel:
        stream: Any = channel.unary_stream(METHOD)(interval(1), timeout=PATIENCE)
        stopping = threading.Event()

        def ask():
            while not stopping.is_set():
                running.stub.ModelInfer(WALK)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            said: list[dict[int, float]] = []
            until(lambda: said.append(read(next(stream))) or said[-1][6] > 10)
        finally:
            stopping.set()
            asking.join(PATIENCE)
        assert 0 < said[-1][1] <= 1
        assert said[-1][9] == said[-1][1]
        running.server.stop()
        assert len(list(stream)) <= 1
