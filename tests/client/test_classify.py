"""`classify` of both clients against a server whose logits are sums of points."""

import asyncio
import threading
import types
from concurrent import futures

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kit.clients import sums
from kit.waiting import until
from rnnserve.client import (
    AsyncClient,
    Cancelled,
    Client,
    DeadlineExceeded,
    InvalidRequest,
    Unavailable,
)

WALK = np.array([(1, 0), (0, 3), (1, 1)], np.float32)
SHORT = np.array([(2, 5)], np.float32)

# Whole numbers, so that sums are exact in any order.
walks = st.lists(
    st.integers(1, 9).flatmap(lambda n: hnp.arrays(np.float32, (n, 2), elements=st.integers(-9, 9).map(float))),
    max_size=12,
)


def test_classification_holds_label_probabilities_and_states(client):
    first, second = client.classify("sums", [WALK, SHORT])
    assert (first.label, first.index, first.model_version) == ("right", 1, "3")
    assert first.logits.tolist() == [2, 4, 3]
    assert first.probabilities.tolist() == pytest.approx(np.exp([2, 4, 3]) / np.exp([2, 4, 3]).sum())
    assert first.h_n.tolist() == [[2, 4]]
    assert second.logits.tolist() == [2, 5, 1], "padding is no part of the sequence"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sequences=walks, max_rows=st.integers(1, 5), max_request_bytes=st.integers(1, 500))
def test_ragged_sequences_keep_their_order_when_split_into_requests(url, sequences, max_rows, max_request_bytes):
    with Client(url, max_rows=max_rows, max_request_bytes=max_request_bytes) as client:
        results = client.predict("sums", sequences)
    assert len(results) == len(sequences)
    for sequence, result in zip(sequences, results, strict=True):
        assert result["logits"].tolist() == [*sequence.sum(axis=0), len(sequence)]
        assert result["output"].tolist() == sequence.cumsum(axis=0).tolist()
        assert result["h_n"].tolist() == [sequence.sum(axis=0).tolist()]


def test_only_classes_and_states_are_requested(client, service):
    for model, requested in (("sums", ["logits", "h_n"]), ("sums_lstm", ["logits", "h_n", "c_n"])):
        client.classify(model, [WALK])
        assert [output.name for output in service.requests[-1].outputs] == requested


@pytest.mark.parametrize("max_rows", [1, 256])
def test_sequence_continues_from_carried_states(connect, max_rows):
    client = connect(max_rows=max_rows)
    whole = client.classify("sums_lstm", [WALK, np.concatenate([SHORT, SHORT])])
    first = client.classify("sums_lstm", [WALK[:1], SHORT])
    second = client.classify("sums_lstm", [WALK[1:], SHORT], continue_from=[result.outputs for result in first])
    for result, expected in zip(second, whole, strict=True):
        assert result.h_n.tolist() == expected.h_n.tolist()
        assert result.outputs["c_n"].tolist() == expected.outputs["c_n"].tolist()


def test_foreign_server_gets_every_required_input(client, service):
    """It has no labels, nothing optional and no `lengths`, and answers in typed contents."""
    results = client.classify("stranger", [WALK, WALK + 1, SHORT])
    assert [(result.label, result.logits.tolist()) for result in results] == [
        ("1", [2, 4, 3]),
        ("1", [5, 7, 3]),
        ("1", [2, 5, 1]),
    ]
    sent = [[(tensor.name, list(tensor.shape)) for tensor in request.inputs] for request in service.requests]
    assert sent == [
        [("input", [2, 3, 2]), ("h_0", [1, 2, 2])],
        [("input", [1, 1, 2]), ("h_0", [1, 1, 2])],
    ], "without `lengths`, only sequences of one length share a request"


def test_metadata_are_read_once_and_again_after_a_failure(client, service):
    for _ in range(3):
        client.classify("sums", [WALK])
    assert service.calls.count("ModelMetadata") == 1
    service.failure = (grpc.StatusCode.UNAVAILABLE, "reloading")
    with pytest.raises(Unavailable, match="reloading"):
        client.classify("sums", [WALK])
    service.failure = None
    client.classify("sums", [WALK])
    assert service.calls.count("ModelMetadata") == 2


def test_requested_version_is_described_and_run(client, service):
    client.classify("sums", [WALK], version="2")
    assert [request.version for request in service.described] == ["2"]
    assert [request.model_version for request in service.requests] == ["2"]


def test_labels_are_those_of_the_version_that_answered(client, service):
    assert client.classify("sums", [WALK])[0].label == "right"
    service.version, service.models["sums"].labels = "4", ["links", "rechts", "eben"]
    for _ in range(2):
        (result,) = client.classify("sums", [WALK])
        assert (result.label, result.model_version) == ("rechts", "4")
    assert service.calls.count("ModelMetadata") == 2


def test_stale_metadata_do_not_refuse_valid_requests(client, service):
    client.classify("sums", [WALK])
    service.models["sums"] = sums(3, labels=None)
    assert len(client.classify("sums", [np.zeros((4, 3))])) == 1
    with pytest.raises(InvalidRequest, match="features=3"):
        client.classify("sums", [WALK])


def test_wait_ends_at_the_timeout_of_client_or_call(connect, service):
    service.blocked = threading.Event()
    for client, call in ((0.05, None), (60, 0.05)):
        with pytest.raises(DeadlineExceeded):
            connect(timeout=client).classify("sums", [WALK], timeout=call)
    service.blocked.set()
    assert connect().classify("sums", [WALK], timeout=float("inf"))[0].label == "right"


def test_timeout_covers_all_requests_of_a_call(connect, service, monkeypatch):
    seconds = iter(range(1, 1000))
    clock = types.SimpleNamespace(monotonic=lambda: float(next(seconds)))
    monkeypatch.setattr("rnnserve.client.base_client.time", clock)
    with pytest.raises(DeadlineExceeded):
        connect(max_rows=1).classify("sums", [WALK] * 50, timeout=20)
    assert 0 < len(service.requests) <= 20


def test_metadata_describe_tensors_and_labels(client):
    metadata = client.metadata("sums_lstm")
    assert (metadata.name, metadata.versions, metadata.labels) == ("sums_lstm", ("3",), ("left", "right", "level"))
    assert list(metadata.inputs) == ["input", "lengths", "h_0", "c_0"]
    h_0 = metadata.inputs["h_0"]
    assert (h_0.datatype, h_0.shape, h_0.optional) == ("FP32", (1, -1, 2), True)
    assert h_0.axes == ("layers * directions", "batch", "hidden")


def test_infer_sends_tensors_unchanged(client, service):
    inputs = {"a": np.arange(6, dtype=np.int64).reshape(2, 3), "b": [[0.5]], "c": np.float32(2)}
    outputs = client.infer("echo", inputs, ["c", "a"], version="7")
    assert list(outputs) == ["c", "a"]
    assert outputs["c"].shape == ()
    assert outputs["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert list(client.infer("echo", inputs)) == ["a", "b", "c"]
    assert (service.requests[0].model_name, service.requests[0].model_version) == ("echo", "7")
    assert service.calls == ["ModelInfer"] * 2


def test_threads_share_a_client(url):
    walks = [np.full((length, 2), length, np.float32) for length in range(1, 9)]
    with Client(url) as client, futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda walk: client.classify("sums", [walk])[0].logits.tolist(), walks * 5))
    assert answers == [[len(walk) ** 2, len(walk) ** 2, len(walk)] for walk in walks * 5]


def test_closing_a_client_ends_the_calls_of_other_threads(url, service):
    service.blocked = threading.Event()
    with Client(url, timeout=60) as client, futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.infer, "echo", {"a": [1.0]})
        until(lambda: service.requests)
        client.close()
        with pytest.raises(Cancelled):
            waiting.result()


def test_cancelling_a_task_cancels_its_call(url, service):
    service.blocked = threading.Event()

    async def cancel():
        async with AsyncClient(url, timeout=60) as client:
            waiting = asyncio.create_task(client.infer("echo", {"a": [1.0]}))
            while not service.requests:
                await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asyncio.run(cancel())
