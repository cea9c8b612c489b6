"""Requests that are recognised by their prefix on the public transport mean what parsing would have found."""

import threading

import numpy as np
import pytest

from kit.inference_requests import request
from kit.kept_prefixes import NAME, inputs, parsed
from rnnserve.server.errors import InvalidRequest
from rnnserve.server.protocol.responses import encode_response
from rnnserve.server.transport.recognition import Recognition


class Caller:
    grant = None

    def peer(self):
        return "ipv4:127.0.0.1:1"

    def identity(self):
        return ""


CALLER = Caller()


@pytest.fixture
def parsings(service, monkeypatch):
    """The payloads that were parsed."""
    payloads = []
    accept = service.accept

    def note(payload, caller=None):
        payloads.append(payload)
        return accept(payload, caller)

    monkeypatch.setattr(service, "accept", note)
    return payloads


def answered(recognition, payload):
    served, checked = recognition.accept(payload, CALLER)
    (outputs,) = served.model.run([checked])
    return encode_response(served.model, checked, outputs)


@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize(
    ("ids", "prefixes"), [(("", ""), 1), (("one", "another"), 1), (("one", ""), 1), (("ä", "ö"), 6)]
)
def test_other_data_after_a_prefix_is_answered_as_if_it_was_parsed(service, parsings, lengths, ids, prefixes):
    recognition = Recognition(service)
    payloads = [
        request(NAME, inputs(np.random.default_rng(seed), lengths=lengths), id=ids[seed % 2]).SerializeToString()
        for seed in range(6)
    ]
    answers = [answered(recognition, payload) for payload in payloads]
    assert len(parsings) == prefixes
    assert answers == [parsed(service, payload) for payload in payloads]


def test_a_value_that_is_not_valid_is_left_to_the_boundary(service, parsings):
    recognition, sent = Recognition(service), inputs(np.random.default_rng(1), lengths=False)
    recognition.accept(request(NAME, sent).SerializeToString(), CALLER)
    sent["input"][1, 2, 1] = np.nan
    with pytest.raises(InvalidRequest, match="NaN"):
        recognition.accept(request(NAME, sent).SerializeToString(), CALLER)
    assert len(parsings) == 2


def test_large_requests_and_all_where_there_is_little_room_for_responses_are_parsed(service, parsings, monkeypatch):
    recognition = Recognition(service)
    large, small = (
        request(NAME, inputs(np.random.default_rng(1), 2, steps)).SerializeToString() for steps in (1200, 4)
    )
    for _ in range(3):
        recognition.accept(large, CALLER)
    monkeypatch.setattr(service, "response_room", 1 << 20)
    for _ in range(3):
        recognition.accept(small, CALLER)
    assert parsings == [large] * 3 + [small] * 3


def test_requests_of_sequences_are_parsed(service, parsings):
    recognition = Recognition(service)
    message = request(NAME, inputs(np.random.default_rng(1), lengths=False, state=False))
    message.parameters["sequence_id"].int64_param = 7
    message.parameters["sequence_start"].bool_param = True
    for _ in range(3):
        _, checked = recognition.accept(message.SerializeToString(), CALLER)
        assert checked.sequence is not None
    assert len(parsings) == 3


def test_what_was_known_is_not_when_what_serves_has_changed(service, parsings, monkeypatch):
    recognition = Recognition(service)
    payload = request(NAME, inputs(np.random.default_rng(1))).SerializeToString()
    for _ in range(2):
        recognition.accept(payload, CALLER)
    assert len(parsings) == 1
    monkeypatch.setattr(service.repository, "generation", service.repository.generation + 1)
    for _ in range(2):
        recognition.accept(payload, CALLER)
    assert len(parsings) == 2


def test_a_prefix_is_not_kept_where_what_serves_changes_while_it_is_parsed(service, parsings, monkeypatch):
    recognition = Recognition(service)
    payload, other = (request(NAME, inputs(np.random.default_rng(1), 1, steps)).SerializeToString() for steps in (3, 4))
    accept = service.accept

    def change_meanwhile(message, caller):
        monkeypatch.setattr(service, "accept", accept)
        before = accept(message, caller)
        service.repository.generation += 1
        recognition.accept(other, caller)
        return before

    monkeypatch.setattr(service.repository, "generation", service.repository.generation)
    monkeypatch.setattr(service, "accept", change_meanwhile)
    recognition.accept(payload, CALLER)
    recognition.accept(payload, CALLER)
    assert parsings == [payload, other, payload]


def test_many_threads_accept_requests_at_once(service):
    recognition = Recognition(service)
    messages = [
        request(NAME, inputs(np.random.default_rng(steps), 1, steps), id=str(steps)).SerializeToString()
        for steps in range(1, 40)
    ]
    expected, wrong = [parsed(service, message) for message in messages], []

    def ask():
        wrong.extend(
            message
            for _ in range(5)
            for message, answer in zip(messages, expected, strict=True)
            if answered(recognition, message) != answer
        )

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
