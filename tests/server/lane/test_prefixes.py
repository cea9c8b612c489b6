"""What a kept prefix stands for is what parsing would have found, whatever bytes come."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.errors import ServeError
from rnnserve.server.lane.arrived_requests import LaneCall
from rnnserve.server.lane.prefixes import PrefixCache
from rnnserve.server.lane.same_prefix import SamePrefixRun
from rnnserve.server.protocol.responses import encode_response
from support.inference_requests import request

NAME = "direction_stacked"


def inputs(numbers, batch=2, sequence=5, *, lengths=True, state=True):
    sent = {"input": numbers.normal(size=(batch, sequence, 2)).astype(np.float32)}
    if lengths:
        sent["lengths"] = numbers.integers(1, sequence + 1, batch)
    if state:
        sent["h_0"] = numbers.normal(size=(2, batch, 16)).astype(np.float32)
    return sent


def kept(service, payload: bytes) -> PrefixCache:
    """A cache with the prefix of this request, if it can be kept."""
    prefixes = PrefixCache(allow_non_finite=False)
    prefixes.add(payload, *service.accept(payload))
    return prefixes


def parsed(service, payload: bytes) -> bytes:
    """The response to a request that is parsed."""
    served, checked = service.accept(payload)
    (outputs,) = served.model.run([checked])
    return encode_response(served.model, checked, outputs)


def agrees(service, prefixes: PrefixCache, payload: bytes) -> bool:
    """Whether the payload was recognised; if it was, that it is answered as it is when it has been parsed."""
    found = prefixes.recognise(payload)
    if found is None:
        return False
    prefix, id_field = found.prefix, found.id_field
    model = prefix.served.model
    run = SamePrefixRun(prefix, 1).run([payload], [id_field])
    checked = prefix.read(payload, found.varying_size)
    try:
        served, expected = service.accept(payload)
    except ServeError:
        assert run is None
        assert checked is None
        return True
    assert served is prefix.served
    assert found.sequence == expected.sequence
    if checked is not None:  # None: left to the boundary
        assert (checked.batch, checked.sizes, checked.longest, checked.steps, checked.outputs) == (
            expected.batch, expected.sizes, expected.longest, expected.steps, expected.outputs,
        )  # fmt: skip
        (outputs,) = model.run([checked])
        assert prefix.head.encode(id_field, outputs.values()) == parsed(service, payload)
    assert run is None or run == [parsed(service, payload)]
    return True


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


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_no_change_of_bytes_fools_it(service, seed):
    chance, numbers = random.Random(seed), np.random.default_rng(seed)
    message = request(NAME, inputs(numbers, lengths=chance.random() < 0.5, state=chance.random() < 0.5), id="x")
    payload = bytearray(message.SerializeToString())
    prefixes = kept(service, bytes(payload))
    for _ in range(chance.randint(1, 4)):
        payload[chance.randrange(len(payload))] = chance.randrange(256)
    agrees(service, prefixes, bytes(payload))


def field(number: int, data: bytes) -> bytes:
    assert len(data) < 128
    return bytes([number << 3 | 2, len(data)]) + data


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


def parameter(name: str, **value) -> bytes:
    """The field of one parameter of a request."""
    return pb.ModelInferRequest(parameters={name: pb.InferParameter(**value)}).SerializeToString()


def stepping(identity: int, *, starts=False, ends=False) -> bytes:
    """The fields of the parameters of a request of a sequence, as clients write them."""
    return (
        parameter("sequence_start", bool_param=starts)
        + parameter("sequence_end", bool_param=ends)
        + parameter("sequence_id", int64_param=identity)
    )


def cut_at_parameters(message: pb.ModelInferRequest) -> tuple[bytes, bytes, bytes]:
    """A request's bytes before its parameters, those from its inputs on, without the data, and the data's."""
    data = pb.ModelInferRequest(raw_input_contents=message.raw_input_contents).SerializeToString()
    before = pb.ModelInferRequest(model_name=message.model_name, id=message.id).SerializeToString()
    rest = pb.ModelInferRequest(inputs=message.inputs, outputs=message.outputs).SerializeToString()
    return before, rest, data


def test_requests_of_sequences_have_one_prefix_whatever_their_ids_and_positions(service):
    before, rest, data = cut_at_parameters(request(NAME, inputs(np.random.default_rng(1)), ["logits"], id="7"))
    prefixes = kept(service, before + stepping(1, starts=True) + rest + data)
    for identity, starts, ends in ((1, False, False), (2**62, False, True), (5, True, True)):
        payload = before + stepping(identity, starts=starts, ends=ends) + rest + data
        found = prefixes.recognise(payload)
        assert found.sequence == (identity, starts, ends, "")
        assert agrees(service, prefixes, payload)
    assert prefixes.recognise(before + rest + data).sequence is None
    assert len(prefixes) == 1
    marked = before + stepping(3) + parameter("triton_enable_empty_final_response", bool_param=True) + rest + data
    assert agrees(service, prefixes, marked)


def test_other_parameters_and_those_in_other_places_are_parsed(service):
    """A parameter that comes again counts as it comes last, wherever that is."""
    before, rest, data = cut_at_parameters(request(NAME, inputs(np.random.default_rng(1)), ["logits"]))
    ending, other = parameter("sequence_end", bool_param=True), parameter("note", string_param="x")
    for odd in (
        before + stepping(1) + rest + ending + data,
        before + rest + stepping(1) + data,
        before + rest + ending + data,
        before + stepping(1) + other + rest + data,
        before + other + stepping(1) + rest + data,
        before + stepping(0) + rest + data,
        before + parameter("sequence_id", string_param="x" * 128) + rest + data,
        stepping(1) + before + rest + data,
        before + stepping(1) + rest + data + stepping(2),
    ):
        prefixes = kept(service, before + stepping(1) + rest + data)
        prefixes.add(before + rest + data, *service.accept(before + rest + data))
        for _ in range(2):
            expected = service.accept(odd)[1].sequence
            found = prefixes.recognise(odd)
            assert found is None or found.sequence == expected
            prefixes.add(odd, *service.accept(odd))
        after = odd.replace(stepping(1), stepping(4))
        assert (found := prefixes.recognise(after)) is None or found.sequence == service.accept(after)[1].sequence
        plain = odd.replace(stepping(1), b"")
        assert (found := prefixes.recognise(plain)) is None or found.sequence == service.accept(plain)[1].sequence


@pytest.mark.parametrize("odd", [{"string_param": "yes"}, {"int64_param": 1}, {}])
def test_a_parameter_of_another_type_is_left_to_the_boundary(service, odd):
    before, rest, data = cut_at_parameters(request(NAME, inputs(np.random.default_rng(1))))
    prefixes = kept(service, before + stepping(1) + rest + data)
    wrong = parameter("sequence_id", int64_param=1) + parameter("sequence_end", **odd)
    assert prefixes.recognise(before + wrong + rest + data) is None
    with pytest.raises(ServeError, match="sequence_end is true or false"):
        service.accept(before + wrong + rest + data)
