"""Requests that run together are answered as each is alone, byte for byte, whatever they bring and want."""

import dataclasses
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.inference_requests import request
from kit.kept_prefixes import parsed
from rnnserve.server.errors import InvalidRequest
from rnnserve.server.lane.prefixes import PrefixCache, RequestPrefix
from rnnserve.server.lane.same_prefix import _MAX_BYTES, _MAX_RUN_BYTES, _MAX_RUNS, SamePrefixRun, SamePrefixRuns

NAME = "direction_bidirectional"
STATE = (2, 16)  # layers * directions, hidden


def asked(seed: int, values: int | None = None, *, lengths: float = 0.4) -> bytes:
    """A request of any kind: rows, steps, lengths or none, a state or none, outputs in any order, an id or none.

    Of two with the same seed and other `values`, only the values and the id differ.
    """
    chance, numbers = random.Random(seed), np.random.default_rng(seed if values is None else values)
    batch, sequence = chance.choice([1, 1, 1, 2, 3]), chance.randint(1, 12)
    inputs: dict[str, np.ndarray] = {"input": numbers.normal(size=(batch, sequence, 2)).astype(np.float32)}
    if chance.random() < lengths:
        inputs["lengths"] = numbers.integers(1, sequence + 1, batch)
    if chance.random() < 0.4:
        inputs["h_0"] = numbers.normal(size=(STATE[0], batch, STATE[1])).astype(np.float32)
    outputs = chance.sample(["logits", "output", "h_n"], chance.randint(1, 3))
    message = request(NAME, inputs, ["logits"] if chance.random() < 0.5 else outputs)
    message.id = random.Random(values).choice(["", "", str(seed), str(values)])
    return message.SerializeToString()


def recognised(service, prefixes: PrefixCache, payload: bytes) -> tuple[RequestPrefix, bytes]:
    """A request's prefix and its id's field; the prefix is added where it is not known."""
    if prefixes.recognise(payload) is None:
        prefixes.add(payload, *service.accept(payload))
    found = prefixes.recognise(payload)
    assert found is not None
    return found.prefix, found.id_field


@settings(max_examples=60)
@given(st.lists(st.integers(0, 2**32), min_size=1, max_size=9))
def test_each_is_answered_as_it_is_alone(service, seeds):
    prefixes = PrefixCache(allow_non_finite=False)
    payloads = [asked(seed) for seed in seeds]
    found = [recognised(service, prefixes, payload) for payload in payloads]
    checked = [prefix.read(payload, len(id_field)) for payload, (prefix, id_field) in zip(payloads, found, strict=True)]
    answers = found[0][0].served.model.run(checked)
    responses = [
        prefix.head.encode(id_field, outputs.values())
        for (prefix, id_field), outputs in zip(found, answers, strict=True)
    ]
    assert responses == [parsed(service, payload) for payload in payloads]


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.integers(0, 2**32), st.integers(1, 9))
def test_those_with_one_prefix_too(service, seed, values, count):
    prefixes = PrefixCache(allow_non_finite=False)
    payloads = [asked(seed, values + number, lengths=0) for number in range(count)]
    found = [recognised(service, prefixes, payload) for payload in payloads]
    prefix = found[0][0]
    assert all(other is prefix for other, _ in found)
    run = SamePrefixRun(prefix, count)
    assert run.run(payloads, [id_field for _, id_field in found]) == [parsed(service, payload) for payload in payloads]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_bound_run_is_a_run(service, device):
    """Its arrays are read and written anew every time; what is not said to be on the CPU is not bound by address."""
    model = dataclasses.replace(service.repository.find(NAME).model, device=device)  # its session is on the CPU
    numbers = np.random.default_rng(1)
    feeds = {
        spec.name: np.zeros(spec.shape(4, {"sequence": 6}), spec.dtype) for spec in model.signature.inputs.values()
    }
    outputs = {
        spec.name: np.zeros(spec.shape(4, {"sequence": 6}), spec.dtype) for spec in model.signature.outputs.values()
    }
    run = model.bind(feeds, outputs)
    for _ in range(3):
        for name, array in feeds.items():
            array[...] = numbers.integers(1, 7, array.shape) if name == "lengths" else numbers.normal(size=array.shape)
        run()
        for array, expected in zip(outputs.values(), model.run_arrays(list(outputs), feeds), strict=True):
            assert array.tobytes() == expected.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_found(service, value):
    good, bad = (np.ones((1, 3, 2), np.float32) for _ in range(2))
    bad[0, 1, 1] = value
    payloads = [
        request(NAME, {"input": array}, ["logits"], id=id_).SerializeToString()
        for array, id_ in ((good, "x"), (bad, "y"))
    ]
    for allow_non_finite in (False, True):
        prefixes = PrefixCache(allow_non_finite=allow_non_finite)
        recognised(service, prefixes, payloads[0])
        (prefix, one, *_), (_, other, *_) = (prefixes.recognise(payload) for payload in payloads)
        assert (SamePrefixRun(prefix, 2).run(payloads, [one, other]) is not None) == allow_non_finite
        read = [prefix.read(payload, len(one)) for payload in payloads]
        assert [checked is not None for checked in read] == [True, allow_non_finite]
    with pytest.raises(InvalidRequest, match="numbers must be finite"):
        service.accept(payloads[1])


def test_large_numbers_are_finite(service):
    """Their squares are not."""
    payload = request(NAME, {"input": np.full((1, 3, 2), 3e38, np.float32)}, ["logits"]).SerializeToString()
    prefix, id_field = recognised(service, PrefixCache(allow_non_finite=False), payload)
    assert prefix.read(payload, len(id_field)) is not None
    assert SamePrefixRun(prefix, 1).run([payload]) == [parsed(service, payload)]


@pytest.mark.parametrize("wrong", [0, -1, 4])
def test_lengths_outside_the_sequence_are_found(service, wrong):
    prefixes = PrefixCache(allow_non_finite=False)
    inputs: dict[str, np.ndarray] = {"input": np.ones((2, 3, 2), np.float32), "lengths": np.array([1, 3])}
    recognised(service, prefixes, request(NAME, inputs).SerializeToString())
    inputs["lengths"][1] = wrong
    payload = request(NAME, inputs).SerializeToString()
    prefix, id_field, *_ = prefixes.recognise(payload)
    assert prefix.read(payload, len(id_field)) is None
    assert SamePrefixRun(prefix, 1).run([payload]) is None


def test_the_runs_that_are_kept_are_bounded_in_number_and_size(service):
    prefixes, runs = PrefixCache(allow_non_finite=False), SamePrefixRuns()

    def prefix(sequence: int) -> RequestPrefix:
        sent = {"input": np.ones((1, sequence, 2), np.float32)}
        return recognised(service, prefixes, request(NAME, sent, ["logits"]).SerializeToString())[0]

    small, large = prefix(3), prefix(4096)  # 16 bytes a step: two float32, in two rows
    assert SamePrefixRun(large, 9).nbytes > _MAX_RUN_BYTES
    assert runs.get(small, 1) is runs.get(small, 1)
    assert runs.get(small, 1) is not runs.get(small, 2)
    assert runs.get(large, 9) is not runs.get(large, 9)
    for count in range(1, 2 * _MAX_RUNS):
        runs.get(small, count)
        assert len(runs._runs) <= _MAX_RUNS
    runs.clear()
    assert len(runs._runs) == 0


def test_the_bytes_of_all_runs_that_are_kept_are_bounded(service):
    prefixes, runs = PrefixCache(allow_non_finite=False), SamePrefixRuns()
    sent = {"input": np.ones((1, 64, 2), np.float32)}
    prefix, *_ = recognised(service, prefixes, request(NAME, sent, ["logits"]).SerializeToString())
    made = 0
    for count in range(1, 400):
        run = runs.get(prefix, count)
        made += run.nbytes
        assert sum(each.nbytes for each in runs._runs.values()) <= _MAX_BYTES
    assert made > _MAX_BYTES
