"""The generate extension: inputs and outputs by name, and a sequence's steps as events."""

import json

import grpc
import numpy as np
import pytest

from kit.fakes import FakeModels
from kit.fronts import FakeUpstream, ask, walk_model

GENERATE, STREAM = "/v2/models/m/generate", "/v2/models/m/versions/1/generate_stream"


def add_up(tensors):
    """A model with a state: the sum of all points, of which the logits are the double."""
    walk = tensors["input"]
    state = tensors.get("h_0", np.zeros((1, len(walk), 2), "f4"))[0] + walk.sum(axis=1)
    return {"logits": 2 * state, "h_n": state[None]}


@pytest.fixture
def upstream():
    return FakeUpstream(FakeModels({"m": walk_model(add_up, continuable=True)}))


def events(reply):
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/event-stream"
    assert "content-length" not in reply.headers
    lines = reply.body.decode().split("\n\n")
    assert lines.pop() == ""
    return [json.loads(line.removeprefix("data: ")) for line in lines]


@pytest.mark.parametrize("walk", [[[1, 2], [3, 4]], [[[1, 2], [3, 4]]]])
def test_one_row_with_or_without_its_batch(upstream, walk):
    said = ask(upstream, GENERATE, json.dumps({"input": walk, "id": "i", "parameters": {"timeout": 5}}).encode()).json
    assert said == {"model_name": "m", "model_version": "1", "id": "i", "logits": [8, 12], "h_n": [4, 6]}
    request = upstream.asked[-1][1]
    assert list(request.inputs[0].shape) == [1, 2, 2]
    assert request.parameters["timeout"].int64_param == 5


def test_steps_are_events_and_states_are_carried(upstream):
    said = events(ask(upstream, STREAM, b'{"input": [[1, 2], [3, 4], [5, 6]], "h_0": [[10, 20]], "id": "i"}'))
    assert [event["logits"] for event in said] == [[22, 44], [28, 52], [38, 64]]
    assert {event["id"] for event in said} == {"i"}
    whole = ask(upstream, GENERATE, b'{"input": [[1, 2], [3, 4], [5, 6]], "h_0": [[10, 20]]}').json
    assert whole["logits"] == said[-1]["logits"]


def test_a_first_step_that_fails_is_an_error_and_a_later_one_an_event(upstream):
    service = upstream.service
    service.failure, service.failing = (grpc.StatusCode.RESOURCE_EXHAUSTED, "full"), {"ModelInfer"}
    assert ask(upstream, STREAM, b'{"input": [[1, 2], [3, 4]]}').status == 429
    service.calls.clear()
    service.fail_from = 1
    first, second = events(ask(upstream, STREAM, b'{"input": [[1, 2], [3, 4]]}'))
    assert first["logits"] == [2, 4]
    assert (list(second), second["error"]) == (["error", "id"], "full")
