"""Requests that run together are answered as each is alone, byte for byte, whatever they bring and want."""

import dataclasses
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnserve.server.alike import Alike
from rnnserve.server.errors import InvalidRequest
from rnnserve.server.headers import Headers, Known
from rnnserve.server.padded import is_finite, longest_of, run_padded
from support.asking import request
from support.known import recognised

NAME = "direction_bidirectional"
STATE = (2, 16)  # layers * directions, hidden


def asked(seed: int, values: int | None = None, *, lengths: float = 0.4) -> bytes:
    """A request of any kind: rows, steps, lengths or none, a state or none, outputs in any order, an id or none.

    Of two with the same seed and other `values`, only the values and the id differ.
    """
    chance, numbers = random.Random(seed), np.random.default_rng(seed if values is None else values)
    batch, sequence = chance.choice([1, 1, 1, 2, 3]), chance.randint(1, 12)
    inputs = {"input": numbers.normal(size=(batch, sequence, 2)).astype(np.float32)}
    if chance.random() < lengths:
        inputs["lengths"] = numbers.integers(1, sequence + 1, batch)
    if chance.random() < 0.4:
        inputs["h_0"] = numbers.normal(size=(STATE[0], batch, STATE[1])).astype(np.float32)
    outputs = chance.sample(["logits", "output", "h_n"], chance.randint(1, 3))
    message = request(NAME, inputs, ["logits"] if chance.random() < 0.5 else outputs)
    message.id = random.Random(values).choice(["", "", str(seed), str(values)])
    return message.SerializeToString()


def known(service, headers: Headers, payload: bytes) -> Known:
    if headers.recognise(payload) is None:
        headers.remember(payload, service.accept(payload))
    found = recognised(headers, payload)
    assert found is not None
    return found


def alone(service, payload: bytes) -> bytes:
    call = service.accept(payload)
    (answer,) = call.served.model.run([call.inference])
    return call.respond(answer)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2**32), min_size=1, max_size=9))
def test_each_is_answered_as_it_is_alone(service, seeds):
    headers = Headers()
    payloads = [asked(seed) for seed in seeds]
    members = [known(service, headers, payload) for payload in payloads]
    steps = max(longest_of(member) for member in members)
    responses = run_padded(members[0].header.served.model, members, steps, allow_non_finite=False)
    assert responses == [alone(service, payload) for payload in payloads]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 2**32), st.integers(1, 9))
def test_those_with_one_header_too(service, seed, values, count):
    headers = Headers()
    payloads = [asked(seed, values + number, lengths=0) for number in range(count)]
    members = [known(service, headers, payload) for payload in payloads]
    header = members[0].header
    assert all(member.header is header for member in members)
    responses = Alike(header, count, allow_non_finite=False).run(members)
    assert responses == [alone(service, payload) for payload in payloads]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_bound_run_is_a_run(service, device):
    """Its arrays are read and written anew every time; what is not said to be on the CPU is not bound by address."""
    model = dataclasses.replace(service.repository.find(NAME).model, device=device)  # its session is on the CPU
    numbers = np.random.default_rng(1)
    feeds = {spec.name: np.zeros(spec.shape(4, 6), spec.dtype) for spec in model.signature.inputs.values()}
    outputs = {spec.name: np.zeros(spec.shape(4, 6), spec.dtype) for spec in model.signature.outputs.values()}
    run = model.bind(feeds, outputs)
    for _ in range(3):
        for name, array in feeds.items():
            array[...] = numbers.integers(1, 7, array.shape) if name == "lengths" else numbers.normal(size=array.shape)
        run()
        for array, expected in zip(outputs.values(), model.run_feeds(list(outputs), feeds), strict=True):
            assert array.tobytes() == expected.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_found(service, value):
    headers = Headers()
    good, bad = (np.ones((1, 3, 2), np.float32) for _ in range(2))
    bad[0, 1, 1] = value
    members = [known(service, headers, request(NAME, {"input": good}, ["logits"], id="x").SerializeToString())]
    bad_payload = request(NAME, {"input": bad}, ["logits"], id="y").SerializeToString()
    found = recognised(headers, bad_payload)
    assert found is not None
    members.append(found)
    model, header = members[0].header.served.model, members[0].header
    assert run_padded(model, members, 3, allow_non_finite=False) is None
    assert Alike(header, 2, allow_non_finite=False).run(members) is None
    assert [is_finite(member) for member in members] == [True, False]
    assert run_padded(model, members, 3, allow_non_finite=True) is not None
    assert Alike(header, 2, allow_non_finite=True).run(members) is not None
    with pytest.raises(InvalidRequest, match="numbers must be finite"):
        service.accept(bad_payload)


def test_large_numbers_are_finite(service):
    """Their squares are not."""
    payload = request(NAME, {"input": np.full((1, 3, 2), 3e38, np.float32)}, ["logits"]).SerializeToString()
    member = known(service, Headers(), payload)
    assert run_padded(member.header.served.model, [member], 3, allow_non_finite=False) == [alone(service, payload)]
    assert Alike(member.header, 1, allow_non_finite=False).run([member]) == [alone(service, payload)]


@pytest.mark.parametrize("wrong", [0, -1, 4])
def test_lengths_outside_the_sequence_are_found(service, wrong):
    headers = Headers()
    inputs = {"input": np.ones((2, 3, 2), np.float32), "lengths": np.array([1, 3])}
    known(service, headers, request(NAME, inputs).SerializeToString())
    inputs["lengths"][1] = wrong
    found = recognised(headers, request(NAME, inputs).SerializeToString())
    assert found is not None
    assert longest_of(found) == 0
