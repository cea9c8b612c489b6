import asyncio
import threading
import time
import types
from concurrent import futures

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rnnserve.client import (
    AsyncClient,
    Cancelled,
    Client,
    DeadlineExceeded,
    InvalidAnswer,
    InvalidRequest,
    ModelNotFound,
    Unavailable,
)

WALK = np.array([(1, 0), (0, 3), (1, 1)], np.float32)
SHORT = np.array([(2, 5)], np.float32)

# Whole numbers, so that sums are exact in any order.
walks = st.lists(
    st.integers(1, 9).flatmap(lambda n: hnp.arrays(np.float32, (n, 2), elements=st.integers(-9, 9).map(float))),
    max_size=12,
)


def test_a_classification_holds_label_probabilities_and_states(client):
    first, second = client.classify("sums", [WALK, SHORT])
    assert (first.label, first.index, first.model_version) == ("right", 1, "3")
    assert first.logits.tolist() == [2, 4, 3]
    assert first.probabilities.tolist() == pytest.approx(np.exp([2, 4, 3]) / np.exp([2, 4, 3]).sum())
    assert first.h_n.tolist() == [[2, 4]]
    assert second.logits.tolist() == [2, 5, 1], "padding is no part of the sequence"
    assert first.c_n is None
    assert first.output is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(sequences=walks, max_rows=st.integers(1, 5), max_request_bytes=st.integers(1, 500))
def test_ragged_lists_come_back_in_order_however_they_are_split(connect, sequences, max_rows, max_request_bytes):
    client = connect(max_rows=max_rows, max_request_bytes=max_request_bytes)
    results = client.classify("sums", sequences, output=True)
    client.close()
    assert len(results) == len(sequences)
    for sequence, result in zip(sequences, results, strict=True):
        assert result.logits.tolist() == [*sequence.sum(axis=0), len(sequence)]
        assert result.output.tolist() == sequence.cumsum(axis=0).tolist()
        assert result.h_n.tolist() == [sequence.sum(axis=0).tolist()]


def test_no_sequences_have_no_answers_and_ask_nothing(client, service):
    assert client.classify("sums", []) == []
    assert service.calls == []


def test_one_array_is_a_batch(client, service):
    results = client.classify("sums", np.stack([WALK, WALK + 1]))
    assert [result.logits.tolist() for result in results] == [[2, 4, 3], [5, 7, 3]]
    assert [tensor.name for tensor in service.requests[0].inputs] == ["input"]


@pytest.mark.parametrize(
    ("model", "asked", "requested"),
    [
        ("sums", {"states": False}, ["logits"]),
        ("sums", {}, ["logits", "h_n"]),
        ("sums", {"output": True}, ["logits", "h_n", "output"]),
        ("sums", {"states": False, "output": True}, ["logits", "output"]),
        ("sums_lstm", {}, ["logits", "h_n", "c_n"]),
    ],
)
def test_only_outputs_that_are_needed_are_requested(client, service, model, asked, requested):
    client.classify(model, [WALK], **asked)
    assert [output.name for output in service.requests[0].outputs] == requested


@pytest.mark.parametrize("model", ["sums", "sums_lstm"])
@pytest.mark.parametrize("max_rows", [1, 2, 256])
def test_a_sequence_goes_on_where_its_states_were_carried_on(connect, model, max_rows):
    client = connect(max_rows=max_rows)
    rest = [WALK[1:], SHORT, WALK]
    first = client.classify(model, [WALK[:1], SHORT, WALK])
    carried = {"h_0": [result.h_n for result in first]}
    if model == "sums_lstm":
        carried["c_0"] = [result.c_n for result in first]
    second = client.classify(model, rest, **carried)
    whole = client.classify(model, [WALK, np.concatenate([SHORT, SHORT]), np.concatenate([WALK, WALK])])
    assert [result.h_n.tolist() for result in second] == [result.h_n.tolist() for result in whole]
    if model == "sums_lstm":
        assert [result.c_n.tolist() for result in second] == [result.c_n.tolist() for result in whole]
    # The same states as one array, in PyTorch's order (layers * directions, batch, hidden).
    stacked = {name: np.stack(states, axis=1) for name, states in carried.items()}
    again = client.classify(model, rest, **stacked)
    assert [result.h_n.tolist() for result in again] == [result.h_n.tolist() for result in whole]


def test_a_new_sequence_joins_those_carried_on(client):
    (old,) = client.classify("sums", [WALK])
    results = client.classify("sums", [SHORT, WALK], h_0=[None, old.h_n])
    assert [result.h_n.tolist() for result in results] == [[[2, 5]], [[4, 8]]]


def test_an_lstm_carries_both_states_or_none(client, service):
    (result,) = client.classify("sums_lstm", [WALK])
    with pytest.raises(InvalidRequest, match="h_0 was passed without c_0"):
        client.classify("sums_lstm", [WALK], h_0=[result.h_n])
    with pytest.raises(InvalidRequest, match="takes no c_0"):
        client.classify("sums", [WALK], h_0=[result.h_n], c_0=[result.c_n])
    assert len(service.requests) == 1


def test_a_model_of_another_server_gets_all_that_it_insists_on(client, service):
    """No labels, nothing optional, no `lengths`, typed contents."""
    results = client.classify("stranger", [WALK, WALK + 1, SHORT], output=True)
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


def test_mistakes_are_noticed_before_anything_is_sent(client, service):
    with pytest.raises(InvalidRequest, match=r"sequence 1 has shape \(4,\)"):
        client.classify("sums", [WALK, np.zeros(4)])
    with pytest.raises(InvalidRequest, match="name is empty"):
        client.classify("", [WALK])
    with pytest.raises(InvalidRequest, match=r"model sums takes \(sequence, features=2\)"):
        client.classify("sums", [np.zeros((4, 3))])
    with pytest.raises(InvalidRequest, match="batch-first"):
        client.classify("sums", [WALK, WALK], h_0=np.zeros((2, 1, 2)))
    assert service.requests == []


def test_metadata_is_asked_for_once_and_again_once_a_call_has_failed(client, service):
    for _ in range(3):
        client.classify("sums", [WALK])
    assert service.calls.count("ModelMetadata") == 1
    service.failure = (grpc.StatusCode.UNAVAILABLE, "reloading")
    with pytest.raises(Unavailable, match="reloading"):
        client.classify("sums", [WALK])
    service.failure = None
    client.classify("sums", [WALK])
    assert service.calls.count("ModelMetadata") == 2


def test_labels_are_those_of_the_version_that_answered(client, service):
    assert client.classify("sums", [WALK])[0].label == "right"
    service.version, service.labels = "4", ["links", "rechts", "eben"]
    for _ in range(2):
        (result,) = client.classify("sums", [WALK])
        assert (result.label, result.model_version) == ("rechts", "4")
    assert service.calls.count("ModelMetadata") == 2


def test_nothing_is_refused_by_old_knowledge(client, service):
    client.classify("sums", [WALK])
    service.features, service.labels = 3, None
    assert len(client.classify("sums", [np.zeros((4, 3))])) == 1
    with pytest.raises(InvalidRequest, match="features=3"):
        client.classify("sums", [WALK])


def test_a_failure_in_one_of_several_requests_says_which_sequences_it_held(connect, service):
    service.failure, service.fail_from = (grpc.StatusCode.INVALID_ARGUMENT, "input[1, 0, 0] is nan"), 1
    with pytest.raises(InvalidRequest) as raised:
        connect(max_rows=2).classify("sums", [WALK] * 5)
    assert str(raised.value) == "input[1, 0, 0] is nan"
    assert raised.value.__notes__ == ["the failing request held sequences 2 to 3, as rows 0 to 1"]


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [(["a", "b"], "2 labels, but the answer has 3 classes"), ({"a": 1}, "not a JSON list"), ([1], "not a JSON list")],
)
def test_labels_that_cannot_be_right_are_refused(client, service, labels, complaint):
    service.labels = labels
    with pytest.raises(InvalidAnswer, match=complaint):
        client.classify("sums", [WALK])


def test_without_labels_the_index_is_the_label(client, service):
    service.labels = None
    assert client.classify("sums", [WALK])[0].label == "1"


def test_unknown_models_are_not_found(client):
    with pytest.raises(ModelNotFound, match='no model "summs"'):
        client.classify("summs", [WALK])


@pytest.mark.parametrize("at", ["client", "call"])
def test_a_deadline_ends_the_wait(connect, service, at):
    service.blocked = threading.Event()
    client = connect(timeout=0.05 if at == "client" else 60)
    with pytest.raises(DeadlineExceeded):
        client.classify("sums", [WALK], timeout=0.05 if at == "call" else None)


def test_a_timeout_holds_for_all_requests_together(connect, service, monkeypatch):
    now = 0.0

    def clock():
        nonlocal now
        now += 1.0
        return now

    monkeypatch.setattr("rnnserve.client.base_client.time", types.SimpleNamespace(monotonic=clock))
    with pytest.raises(DeadlineExceeded):
        connect(max_rows=1).classify("sums", [WALK] * 50, timeout=20)
    assert 0 < len(service.requests) <= 20


def test_infinity_waits_without_a_deadline(client):
    assert client.classify("sums", [WALK], timeout=float("inf"))[0].label == "right"


def test_metadata_liveness_and_readiness(client):
    metadata = client.metadata("sums_lstm")
    assert (metadata.name, metadata.versions, metadata.labels) == ("sums_lstm", ("3",), ("left", "right", "level"))
    assert list(metadata.inputs) == ["input", "lengths", "h_0", "c_0"]
    h_0 = metadata.inputs["h_0"]
    assert (h_0.datatype, h_0.shape, h_0.optional) == ("FP32", (1, -1, 2), True)
    assert h_0.axes == ("layers * directions", "batch", "hidden")
    assert client.is_live()
    assert client.is_ready()
    assert client.is_ready("sums")
    assert not client.is_ready("later")


def test_infer_sends_tensors_as_they_are(client, service):
    inputs = {"a": np.arange(6, dtype=np.int64).reshape(2, 3), "b": [[0.5]], "c": np.float32(2)}
    outputs = client.infer("echo", inputs, ["c", "a"], version="7")
    assert list(outputs) == ["c", "a"]
    assert outputs["c"].shape == ()
    assert outputs["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert list(client.infer("echo", inputs)) == ["a", "b", "c"]
    assert (service.requests[0].model_name, service.requests[0].model_version) == ("echo", "7")
    assert service.calls == ["ModelInfer"] * 2


def test_states_count_towards_the_size_of_a_request(connect, service):
    # A row is 3 points of 8 bytes, and 8 bytes of h_0; its answer is 12 bytes of logits and 8 bytes of h_n.
    client = connect(max_request_bytes=72)
    results = client.classify("sums", [WALK] * 6)
    client.classify("sums", [WALK] * 6, h_0=[result.h_n for result in results])
    assert [request.inputs[0].shape[0] for request in service.requests] == [3, 3, 2, 2, 2]


def test_the_version_asked_for_is_the_one_described_and_run(client, service):
    client.classify("sums", [WALK], version="2")
    assert [request.version for request in service.described] == ["2"]
    assert [request.model_version for request in service.requests] == ["2"]


def test_threads_share_a_client(url):
    walks = [np.full((length, 2), length, np.float32) for length in range(1, 9)]
    with Client(url) as client, futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda walk: client.classify("sums", [walk])[0].logits.tolist(), walks * 5))
    assert answers == [[len(walk) ** 2, len(walk) ** 2, len(walk)] for walk in walks * 5]


def test_tasks_share_a_client(url):
    async def ask():
        async with AsyncClient(url) as client:
            return await asyncio.gather(*(client.classify("sums", [SHORT * n]) for n in range(20)))

    assert [answer[0].logits.tolist() for answer in asyncio.run(ask())] == [[2 * n, 5 * n, 1] for n in range(20)]


def test_closing_a_client_ends_the_waiting_of_other_threads(url, service):
    service.blocked = threading.Event()
    with Client(url, timeout=60) as client, futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.infer, "echo", {"a": [1.0]})
        while not service.requests:
            time.sleep(0.01)
        client.close()
        with pytest.raises(Cancelled):
            waiting.result()


def test_cancelling_a_task_cancels_its_call(url, service):
    service.blocked = threading.Event()

    async def ask():
        async with AsyncClient(url, timeout=60) as client:
            waiting = asyncio.create_task(client.infer("echo", {"a": [1.0]}))
            while not service.requests:
                await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asyncio.run(ask())
