"""Requests whose bytes look like a kept prefix, and are something else."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.inference_requests import request
from kit.kept_prefixes import NAME, agrees, inputs, kept
from rnnserve.protos import inference_pb2 as pb


def field(number: int, data: bytes) -> bytes:
    """A field of bytes, as protobuf writes it."""
    assert len(data) < 128
    return bytes([number << 3 | 2, len(data)]) + data


@pytest.mark.parametrize("second", [b"", b"y", b"?", b"?" * 100])
def test_an_id_that_is_set_again_before_the_data_is_not_overlooked(service, second):
    """The last one counts, and one that is there and empty is none."""
    message = request(NAME, inputs(np.random.default_rng(1), lengths=False, state=False))
    (data,) = message.raw_input_contents
    del message.raw_input_contents[:]
    payload = field(1, NAME.encode()) + field(3, b"first") + field(3, second)
    message.model_name = ""
    payload += message.SerializeToString() + field(7, data)
    assert service.accept(payload)[1].id == second.decode()
    prefixes = kept(service, payload)
    assert not agrees(service, prefixes, payload)
    assert not agrees(service, prefixes, payload.replace(b"first", b"other"))


def test_a_second_id_is_not_overlooked(service):
    """The last one counts, wherever it stands."""
    message = request(NAME, inputs(np.random.default_rng(1), lengths=False, state=False), id="x")
    (data,) = message.raw_input_contents
    del message.raw_input_contents[:]
    payload = message.SerializeToString() + field(3, b"y") + field(7, data)
    assert service.accept(payload)[1].id == "y"
    prefixes = kept(service, payload)
    assert not agrees(service, prefixes, payload)


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
def test_another_prefix_is_not(service, change):
    message = request(NAME, inputs(np.random.default_rng(1)), id="x")
    prefixes = kept(service, message.SerializeToString())
    change(message)
    assert not agrees(service, prefixes, message.SerializeToString())


@settings(max_examples=300)
@given(st.integers(0, 2**32))
def test_no_change_of_bytes_fools_it(service, seed):
    chance, numbers = random.Random(seed), np.random.default_rng(seed)
    message = request(NAME, inputs(numbers, lengths=chance.random() < 0.5, state=chance.random() < 0.5), id="x")
    payload = bytearray(message.SerializeToString())
    prefixes = kept(service, bytes(payload))
    for _ in range(chance.randint(1, 4)):
        payload[chance.randrange(len(payload))] = chance.randrange(256)
    agrees(service, prefixes, bytes(payload))


def test_fields_in_another_order_are_parsed_or_understood(service):
    """Data first, the rest after it: protobuf allows it, and the data is then not where a prefix ends."""
    message = request(NAME, inputs(np.random.default_rng(1), lengths=False, state=False))
    (data,) = message.raw_input_contents
    del message.raw_input_contents[:]
    payload = field(7, data) + message.SerializeToString()
    assert list(service.accept(payload)[1].inputs) == ["input"]
    prefixes = kept(service, payload)
    assert not agrees(service, prefixes, payload)


def test_data_hidden_in_an_unknown_field_is_not_taken_for_data(service):
    """The message ends in an unknown field whose content looks like the data: the real data lies before it."""
    message = request(NAME, inputs(np.random.default_rng(1), lengths=False, state=False))
    (data,) = message.raw_input_contents
    payload = message.SerializeToString() + field(15, field(7, data))
    prefixes = kept(service, payload)
    forged = payload[: -len(data)] + bytes(len(data))
    assert pb.ModelInferRequest.FromString(forged).raw_input_contents[0] == data
    assert not prefixes.recognise(forged)
