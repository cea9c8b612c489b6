"""What a remembered header stands for is what parsing would have found, whatever bytes come."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.alike import Alike
from rnnserve.server.errors import ServeError
from rnnserve.server.headers import Headers
from rnnserve.server.padded import longest_of, run_padded
from support.asking import request
from support.known import KnownRequest, recognised

NAME = "direction_stacked"


def inputs(numbers, batch=2, sequence=5, *, lengths=True, state=True):
    sent = {"input": numbers.normal(size=(batch, sequence, 2)).astype(np.float32)}
    if lengths:
        sent["lengths"] = numbers.integers(1, sequence + 1, batch)
    if state:
        sent["h_0"] = numbers.normal(size=(2, batch, 16)).astype(np.float32)
    return sent


def remembered(service, payload: bytes) -> Headers:
    headers = Headers()
    headers.remember(payload, service.accept(payload))
    return headers


def agrees(service, headers: Headers, payload: bytes) -> bool:
    """Whether the payload was recognised; if it was, that it is answered as it is when it has been parsed."""
    known = recognised(headers, payload)
    if known is None:
        return False
    model = known.header.served.model
    longest = longest_of(known)
    answers = Alike(known.header, 1, allow_non_finite=False).run([known]) or [None]
    if longest:
        answers += run_padded(model, [known], longest, allow_non_finite=False) or [None]
    try:
        parsed = service.accept(payload)
    except ServeError:
        assert not any(answers)
        return True
    assert parsed.served is known.header.served
    assert longest == parsed.inference.longest
    (answer,) = model.run([parsed.inference])
    for response in answers:
        assert response in (None, parsed.respond(answer))  # None: left to the boundary
    return True


@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize("state", [True, False])
@pytest.mark.parametrize("outputs", [(), ("logits",), ("h_n", "output")])
def test_a_header_is_recognised_before_other_data(service, lengths, state, outputs):
    first, second = (
        request(NAME, inputs(np.random.default_rng(seed), lengths=lengths, state=state), outputs, id="x")
        for seed in (1, 2)
    )
    headers = remembered(service, first.SerializeToString())
    assert agrees(service, headers, second.SerializeToString())
    known = recognised(headers, second.SerializeToString())
    alike = Alike(known.header, 1, allow_non_finite=False)
    for message in (first, second, first):  # buffers are kept, what was in them is not
        payload = message.SerializeToString()
        parsed = service.accept(payload)
        (answer,) = parsed.served.model.run([parsed.inference])
        assert alike.run([recognised(headers, payload)]) == [parsed.respond(answer)]


def test_a_lone_request_that_is_not_finite_is_left_to_the_boundary(service):
    sent = inputs(np.random.default_rng(1))
    headers = remembered(service, request(NAME, sent).SerializeToString())
    for value in (np.nan, np.inf, -np.inf):
        sent["input"][1, 2, 1] = value
        known = recognised(headers, request(NAME, sent).SerializeToString())
        assert Alike(known.header, 1, allow_non_finite=False).run([known]) is None
        assert Alike(known.header, 1, allow_non_finite=True).run([known]) is not None


def test_many_are_noted_as_each_is_recognised(service):
    """In any order, with and without ids, of one input and of several, known and unknown."""
    numbers, chance = np.random.default_rng(1), random.Random(1)
    headers, sent = Headers(), []
    for sequence in (3, 4):
        for sizes in ({"lengths": False, "state": False}, {"lengths": True, "state": False}, {}):
            message = request(NAME, inputs(numbers, sequence=sequence, **sizes))
            headers.remember(message.SerializeToString(), service.accept(message.SerializeToString()))
            for id_ in ("", "x"):
                message.id = id_
                sent += [message.SerializeToString()] * 3
    sent += [request(NAME, inputs(numbers, sequence=5)).SerializeToString(), b"", b"\n"]
    for _ in range(20):
        chance.shuffle(sent)
        requests = [KnownRequest(None, payload, b"?") for payload in sent]
        unknown = headers.note(requests)
        for noted, payload in zip(requests, sent, strict=True):
            found = headers.recognise(payload)
            assert (noted in unknown) == (found is None)
            assert found is None or (noted.header, noted.id_field) == found


def test_what_all_share_is_told(service):
    numbers = np.random.default_rng(1)
    one, other = (request(NAME, inputs(numbers, sequence=n, lengths=False, state=False)) for n in (3, 4))
    with_id = request(NAME, inputs(numbers, sequence=3, lengths=False, state=False), id="x")
    headers = Headers()
    for message in (one, other):
        headers.remember(message.SerializeToString(), service.accept(message.SerializeToString()))

    def shared(*messages):
        return headers.shared([KnownRequest(None, message.SerializeToString(), b"") for message in messages])

    assert shared(one, one) is None  # none has come yet
    for message in (one, other):
        payload = message.SerializeToString()
        assert headers.note([KnownRequest(None, payload, b"")]) == []
        assert shared(message, message) is headers.recognise(payload)[0]
    assert shared(one, one) is None
    assert shared(other, one) is None
    headers.note([KnownRequest(None, with_id.SerializeToString(), b"")])
    assert shared(with_id) is None
    assert shared(other) is not None
    headers.forget()
    assert shared(other) is None


@pytest.mark.parametrize("first", ["", "x", "1234"])
@pytest.mark.parametrize("second", ["", "y", "7" * 127])
def test_the_id_may_be_another(service, first, second):
    sent = [request(NAME, inputs(np.random.default_rng(1)), id=id_) for id_ in (first, second)]
    headers = remembered(service, sent[0].SerializeToString())
    assert agrees(service, headers, sent[1].SerializeToString())


@pytest.mark.parametrize("id_", ["ü", "7" * 128])
def test_an_unusual_id_is_parsed(service, id_):
    message = request(NAME, inputs(np.random.default_rng(1)), id="x")
    headers = remembered(service, message.SerializeToString())
    message.id = id_
    assert not agrees(service, headers, message.SerializeToString())


def test_a_second_id_is_not_overlooked(service):
    """The last one counts, wherever it stands."""
    message = request(NAME, inputs(np.random.default_rng(1), lengths=False, state=False), id="x")
    (data,) = message.raw_input_contents
    del message.raw_input_contents[:]
    payload = message.SerializeToString() + field(3, b"y") + field(7, data)
    assert service.accept(payload).request.id == "y"
    headers = remembered(service, payload)
    assert not agrees(service, headers, payload)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m, "model_version", "1"),
        lambda m: setattr(m, "model_name", "direction_simple"),
        lambda m: m.outputs.add(name="logits"),
        lambda m: m.inputs[0].shape.__setitem__(slice(0, 2), [5, 2]),
        lambda m: m.raw_input_contents.reverse(),
    ],
)
def test_another_header_is_not(service, change):
    message = request(NAME, inputs(np.random.default_rng(1)), id="x")
    headers = remembered(service, message.SerializeToString())
    change(message)
    assert not agrees(service, headers, message.SerializeToString())


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_no_change_of_bytes_fools_it(service, seed):
    chance, numbers = random.Random(seed), np.random.default_rng(seed)
    message = request(NAME, inputs(numbers, lengths=chance.random() < 0.5, state=chance.random() < 0.5), id="x")
    payload = bytearray(message.SerializeToString())
    headers = remembered(service, bytes(payload))
    for _ in range(chance.randint(1, 4)):
        payload[chance.randrange(len(payload))] = chance.randrange(256)
    agrees(service, headers, bytes(payload))


def field(number: int, data: bytes) -> bytes:
    assert len(data) < 128
    return bytes([number << 3 | 2, len(data)]) + data


def test_fields_in_another_order_are_parsed_or_understood(service):
    """Data first, header behind it: protobuf allows it, and the data is then not where a header ends."""
    message = request(NAME, inputs(np.random.default_rng(1), lengths=False, state=False))
    (data,) = message.raw_input_contents
    del message.raw_input_contents[:]
    payload = field(7, data) + message.SerializeToString()
    assert len(service.accept(payload).request.raw_input_contents) == 1
    headers = remembered(service, payload)
    assert not agrees(service, headers, payload)


def test_data_hidden_in_an_unknown_field_is_not_taken_for_data(service):
    """The message ends in an unknown field whose content looks like the data: the real data lies before it."""
    message = request(NAME, inputs(np.random.default_rng(1), lengths=False, state=False))
    (data,) = message.raw_input_contents
    payload = message.SerializeToString() + field(15, field(7, data))
    headers = remembered(service, payload)
    forged = payload[: -len(data)] + bytes(len(data))
    assert pb.ModelInferRequest.FromString(forged).raw_input_contents[0] == data
    assert not headers.recognise(forged)


def test_the_memory_is_bounded(service):
    headers = Headers()
    for number in range(5_000):
        message = request(NAME, inputs(np.random.default_rng(1)))
        message.parameters["number"].int64_param = number
        payload = message.SerializeToString()
        headers.remember(payload, service.accept(payload))
    kept = sum(len(by_bytes) for by_size in headers._known.values() for by_bytes in by_size.values())
    assert 0 < kept <= 4096


def test_a_header_as_long_as_nobody_writes_is_not_remembered(service):
    message = request(NAME, inputs(np.random.default_rng(1)))
    message.parameters["note"].string_param = "x" * 3000
    payload = message.SerializeToString()
    assert remembered(service, payload).recognise(payload) is None


def test_models_that_changed_are_forgotten(service):
    payload = request(NAME, inputs(np.random.default_rng(1))).SerializeToString()
    headers = remembered(service, payload)
    assert headers.recognise(payload)
    headers.forget()
    assert headers.recognise(payload) is None
