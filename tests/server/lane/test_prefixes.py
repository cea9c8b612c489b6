"""What a kept prefix stands for is what parsing would have found; what is kept, and what may differ."""

import numpy as np
import pytest

from kit.inference_requests import request
from kit.kept_prefixes import NAME, agrees, inputs, kept, parsed
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.lane.arrived_requests import LaneCall
from rnnserve.server.lane.prefixes import PrefixCache
from rnnserve.server.lane.same_prefix import SamePrefixRun


@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize("state", [True, False])
@pytest.mark.parametrize("outputs", [(), ("logits",), ("h_n", "output")])
def test_a_prefix_is_recognised_before_other_data(service, lengths, state, outputs):
    first, second = (
        request(NAME, inputs(np.random.default_rng(seed), lengths=lengths, state=state), outputs, id="x")
        for seed in (1, 2)
    )
    prefixes = kept(service, first.SerializeToString())
    assert agrees(service, prefixes, second.SerializeToString())
    prefix = prefixes.recognise(second.SerializeToString()).prefix
    run = SamePrefixRun(prefix, 1)
    for message in (first, second, first):  # the arrays are kept, what was in them is not
        payload = message.SerializeToString()
        assert run.run([payload], [prefixes.recognise(payload).id_field]) == [parsed(service, payload)]


def test_a_lone_request_that_is_not_finite_is_left_to_the_boundary(service):
    sent = inputs(np.random.default_rng(1))
    known = request(NAME, sent).SerializeToString()
    for allow_non_finite in (False, True):
        prefixes = PrefixCache(allow_non_finite=allow_non_finite)
        prefixes.add(known, *service.accept(known))
        for value in (np.nan, np.inf, -np.inf):
            sent["input"][1, 2, 1] = value
            payload = request(NAME, sent).SerializeToString()
            prefix = prefixes.recognise(payload).prefix
            assert (SamePrefixRun(prefix, 1).run([payload]) is not None) == allow_non_finite
            assert (prefix.read(payload, 0) is not None) == allow_non_finite


def call(message: pb.ModelInferRequest) -> LaneCall:
    arrived = LaneCall(None, None, 0.0)
    arrived.payload = message.SerializeToString()
    return arrived


def test_a_prefix_that_all_calls_share_is_told(service):
    numbers = np.random.default_rng(1)
    one, other = (request(NAME, inputs(numbers, sequence=n, lengths=False, state=False)) for n in (3, 4))
    with_id = request(NAME, inputs(numbers, sequence=3, lengths=False, state=False), id="x")
    prefixes = PrefixCache(allow_non_finite=False)
    for message in (one, other):
        prefixes.add(message.SerializeToString(), *service.accept(message.SerializeToString()))

    def shared(*messages):
        return prefixes.shared([call(message) for message in messages])

    assert shared(one, one) is None  # none has come yet
    for message in (one, other):
        prefix, id_field, *_ = prefixes.recognise(message.SerializeToString())
        assert id_field == b""
        assert shared(message, message) is prefix
    assert shared(one, one) is None
    assert shared(other, one) is None
    prefixes.recognise(with_id.SerializeToString())
    assert shared(with_id) is None
    assert shared(other) is not None
    prefixes.clear()
    assert shared(other) is None


@pytest.mark.parametrize("first", ["", "x", "1234"])
@pytest.mark.parametrize("second", ["", "y", "7" * 127])
@pytest.mark.parametrize("version", ["", "1"])
def test_the_id_may_be_another(service, first, second, version):
    sent = [request(NAME, inputs(np.random.default_rng(1)), id=id_, version=version) for id_ in (first, second)]
    prefixes = kept(service, sent[0].SerializeToString())
    assert agrees(service, prefixes, sent[1].SerializeToString())


@pytest.mark.parametrize("lengths", [[1, 5], [5, 5], [1, 1], [2, 4]])
def test_lengths_may_be_others(service, lengths):
    sent = inputs(np.random.default_rng(1))
    prefixes = kept(service, request(NAME, sent).SerializeToString())
    payload = request(NAME, {**sent, "lengths": np.array(lengths)}).SerializeToString()
    prefix = prefixes.recognise(payload).prefix
    checked = prefix.read(payload, 0)
    assert checked.inputs["lengths"].tolist() == lengths
    assert (checked.sizes, checked.longest, checked.steps) == (
        {"sequence": 5},
        {"sequence": max(lengths)},
        max(lengths),
    )
    assert SamePrefixRun(prefix, 1).run([payload]) == [parsed(service, payload)]


@pytest.mark.parametrize("lengths", [[0, 5], [1, 6], [0, 6], [-1, 1], [2**62, 1]])
def test_lengths_outside_of_the_sequence_are_left_to_the_boundary(service, lengths):
    sent = inputs(np.random.default_rng(1))
    prefixes = kept(service, request(NAME, sent).SerializeToString())
    payload = request(NAME, {**sent, "lengths": np.array(lengths)}).SerializeToString()
    prefix = prefixes.recognise(payload).prefix
    assert prefix.read(payload, 0) is None
    assert SamePrefixRun(prefix, 1).run([payload]) is None


@pytest.mark.parametrize("id_", ["ü", "7" * 128])
def test_an_unusual_id_is_parsed(service, id_):
    message = request(NAME, inputs(np.random.default_rng(1)), id="x")
    prefixes = kept(service, message.SerializeToString())
    message.id = id_
    assert not agrees(service, prefixes, message.SerializeToString())


def test_the_memory_is_bounded(service):
    prefixes = PrefixCache(allow_non_finite=False)
    for number in range(5_000):
        message = request(NAME, inputs(np.random.default_rng(1)))
        message.parameters["number"].int64_param = number
        payload = message.SerializeToString()
        prefixes.add(payload, *service.accept(payload))
    found = sum(len(by_bytes) for by_size in prefixes._prefixes.values() for by_bytes in by_size.values())
    assert 0 < found == len(prefixes) <= 4096


def test_a_long_prefix_is_not_kept(service):
    message = request(NAME, inputs(np.random.default_rng(1)))
    message.parameters["note"].string_param = "x" * 3000
    payload = message.SerializeToString()
    assert kept(service, payload).recognise(payload) is None


def test_a_cache_that_was_cleared_recognises_nothing(service):
    payload = request(NAME, inputs(np.random.default_rng(1))).SerializeToString()
    prefixes = kept(service, payload)
    assert prefixes.recognise(payload)
    prefixes.clear()
    assert prefixes.recognise(payload) is None
