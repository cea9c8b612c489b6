"""Requests recognized by their first bytes mean what parsing would have found, and get the same answer."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.inference_requests import request
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.errors import InvalidRequest, ServeError
from rnnserve.server.fast_path.template_runs import _MAX_BYTES, _MAX_RUN_BYTES, _MAX_RUNS, SamePrefixRun, SamePrefixRuns
from rnnserve.server.fast_path.templates import PrefixCache, RequestPrefix
from rnnserve.server.protocol.responses import encode_response

NAME = "direction_stacked"


def inputs(numbers, batch=2, sequence=5, *, lengths=True, state=True):
    """Drawn inputs of the model, with or without those that have a default."""
    sent = {"input": numbers.normal(size=(batch, sequence, 2)).astype(np.float32)}
    if lengths:
        sent["lengths"] = numbers.integers(1, sequence + 1, batch)
    if state:
        sent["h_0"] = numbers.normal(size=(2, batch, 16)).astype(np.float32)
    return sent


def asked(seed: int, values: int | None = None, *, lengths: float = 0.4) -> bytes:
    """A request of any kind: rows, steps, lengths or none, a state or none, outputs in any order, an id or none.

    Two requests with the same seed and other `values` differ only in the values and the id.
    """
    chance, numbers = random.Random(seed), np.random.default_rng(seed if values is None else values)
    has_lengths, has_state = chance.random() < lengths, chance.random() < 0.4
    sent = inputs(numbers, chance.choice([1, 1, 1, 2, 3]), chance.randint(1, 12), lengths=has_lengths, state=has_state)
    outputs = chance.sample(["logits", "output", "h_n"], chance.randint(1, 3))
    message = request(NAME, sent, ["logits"] if chance.random() < 0.5 else outputs, version=chance.choice(["", "1"]))
    message.id = random.Random(values).choice(["", "", str(seed), str(values)])
    return message.SerializeToString()


def recognised(service, prefixes: PrefixCache, payload: bytes) -> tuple[RequestPrefix, bytes]:
    """Return a request's template and the field of its id. Add the template if it is unknown."""
    if prefixes.recognise(payload) is None:
        prefixes.add(payload, *service.accept(payload))
    found = prefixes.recognise(payload)
    assert found is not None
    return found.prefix, found.id_field


def kept(service, payload: bytes) -> PrefixCache:
    """A cache with the prefix of this request, if it can be kept."""
    prefixes = PrefixCache(allow_non_finite=False)
    prefixes.add(payload, *service.accept(payload))
    return prefixes


def parsed(service, payload: bytes) -> bytes:
    """Return the response to a request that the server parses."""
    served, checked = service.accept(payload)
    (outputs,) = served.model.run([checked])
    return encode_response(served.model, checked, outputs)


def agrees(service, prefixes: PrefixCache, payload: bytes) -> bool:
    """Return whether the payload is recognized. If it is, check that its answer equals that of the parsed request."""
    found = prefixes.recognise(payload)
    if found is None:
        return False
    prefix, id_field = found.prefix, found.id_field
    model = prefix.served.model
    run = SamePrefixRun(prefix, 1).run([payload], [id_field])
    checked = prefix.read(payload)
    try:
        served, expected = service.accept(payload)
    except ServeError:
        assert run is None
        assert checked is None
        return True
    assert served is prefix.served
    assert found.sequence == expected.sequence
    if checked is not None:  # None: left to validation
        assert (checked.batch, checked.sizes, checked.longest, checked.steps, checked.outputs) == (
            expected.batch, expected.sizes, expected.longest, expected.steps, expected.outputs,
        )  # fmt: skip
        (outputs,) = model.run([checked])
        assert prefix.head.encode(id_field, outputs.values()) == parsed(service, payload)
    assert run is None or run == [parsed(service, payload)]
    return True


SEEDS = st.integers(0, 2**32)


def field(number: int, data: bytes) -> bytes:
    """A field of bytes, as protobuf writes it."""
    assert len(data) < 128
    return bytes([number << 3 | 2, len(data)]) + data


@given(SEEDS, SEEDS)
def test_recognized_request_has_the_meaning_found_by_parsing(service, seed, values):
    prefixes = kept(service, asked(seed))
    assert agrees(service, prefixes, asked(seed, values))


@given(SEEDS, st.lists(st.tuples(SEEDS, st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_are_never_misread(service, seed, changes):
    payload = bytearray(asked(seed))
    prefixes = kept(service, bytes(payload))
    for at, value in changes:
        payload[at % len(payload)] = value
    agrees(service, prefixes, bytes(payload))


@given(st.lists(SEEDS, min_size=1, max_size=9))
def test_mixed_batch_has_the_answers_of_single_requests(service, seeds):
    prefixes, payloads = PrefixCache(allow_non_finite=False), [asked(seed) for seed in seeds]
    found = [recognised(service, prefixes, payload) for payload in payloads]
    checked = [prefix.read(payload) for payload, (prefix, _) in zip(payloads, found, strict=True)]
    answers = found[0][0].served.model.run(checked)
    assert [
        prefix.head.encode(id_field, outputs.values())
        for (prefix, id_field), outputs in zip(found, answers, strict=True)
    ] == [parsed(service, payload) for payload in payloads]


@given(SEEDS, SEEDS, st.integers(1, 9))
def test_template_run_has_the_answers_of_single_requests(service, seed, values, count):
    prefixes = PrefixCache(allow_non_finite=False)
    payloads = [asked(seed, values + number, lengths=0) for number in range(count)]
    found = [recognised(service, prefixes, payload) for payload in payloads]
    assert len({id(prefix) for prefix, _ in found}) == 1
    run = SamePrefixRun(found[0][0], count)
    assert run.run(payloads, [id_field for _, id_field in found]) == [parsed(service, payload) for payload in payloads]


def test_bytes_that_look_like_a_known_request_are_not_recognized(service):
    """Each request is added first, as a client would send it. If there are two ids, the last one counts."""
    message = request(NAME, inputs(np.random.default_rng(1), lengths=False, state=False))
    (data,) = message.raw_input_contents
    del message.raw_input_contents[:]
    message.model_name = ""
    name, rest = field(1, NAME.encode()), message.SerializeToString()
    for second in (b"", b"y", b"?", b"?" * 100):
        payload = name + field(3, b"first") + field(3, second) + rest + field(7, data)
        assert service.accept(payload)[1].id == second.decode()
        prefixes = kept(service, payload)
        assert not agrees(service, prefixes, payload)
        assert not agrees(service, prefixes, payload.replace(b"first", b"other"))
    for payload in (
        name + field(3, b"x") + rest + field(3, b"y") + field(7, data),
        field(7, data) + name + rest,  # the data is not where a prefix ends
    ):
        assert not agrees(service, kept(service, payload), payload)
    # The real data lies before an unknown field whose content looks like data.
    payload = name + rest + field(7, data) + field(15, field(7, data))
    forged = payload[: -len(data)] + bytes(len(data))
    assert pb.ModelInferRequest.FromString(forged).raw_input_contents[0] == data
    assert not kept(service, payload).recognise(forged)


def test_request_with_another_prefix_is_not_recognized(service):
    for change in (
        lambda m: setattr(m, "model_version", "1"),
        lambda m: setattr(m, "model_name", "direction_simple"),
        lambda m: m.outputs.add(name="logits"),
        lambda m: m.inputs[0].shape.__setitem__(slice(0, 2), [5, 2]),
        lambda m: m.raw_input_contents.reverse(),
        lambda m: setattr(m, "id", "ü"),
        lambda m: setattr(m, "id", "7" * 128),
    ):
        message = request(NAME, inputs(np.random.default_rng(1)), id="x")
        prefixes = kept(service, message.SerializeToString())
        change(message)
        assert not agrees(service, prefixes, message.SerializeToString())


@pytest.mark.parametrize("allow_non_finite", [False, True])
def test_values_that_are_not_finite_are_left_to_validation(service, allow_non_finite):
    sent = inputs(np.random.default_rng(1))
    prefixes = PrefixCache(allow_non_finite=allow_non_finite)
    good = request(NAME, sent).SerializeToString()
    recognised(service, prefixes, good)
    for value in (np.nan, np.inf, -np.inf):
        sent["input"][1, 2, 1] = value
        payload = request(NAME, sent).SerializeToString()
        prefix = prefixes.recognise(payload).prefix
        assert (prefix.read(payload) is not None) == allow_non_finite
        assert (SamePrefixRun(prefix, 2).run([good, payload]) is not None) == allow_non_finite
    with pytest.raises(InvalidRequest, match="must be finite"):
        service.accept(payload)


def test_lengths_outside_of_the_sequence_are_left_to_validation(service):
    sent = inputs(np.random.default_rng(1))  # of 5 steps
    prefixes = kept(service, request(NAME, sent).SerializeToString())
    for lengths, is_valid in (
        *[(inside, True) for inside in ([1, 5], [5, 5], [1, 1], [2, 4])],
        *[(outside, False) for outside in ([0, 5], [1, 6], [0, 6], [-1, 1], [2**62, 1])],
    ):
        payload = request(NAME, {**sent, "lengths": np.array(lengths)}).SerializeToString()
        prefix = prefixes.recognise(payload).prefix
        checked = prefix.read(payload)
        assert SamePrefixRun(prefix, 1).run([payload]) == ([parsed(service, payload)] if is_valid else None)
        assert (checked is not None) == is_valid
        if checked is not None:
            assert checked.inputs["lengths"].tolist() == lengths
            assert (checked.longest, checked.steps) == ({"sequence": max(lengths)}, max(lengths))


def test_number_and_size_of_kept_templates_are_bounded(service):
    message = request(NAME, inputs(np.random.default_rng(1)))
    prefixes, accepted = PrefixCache(allow_non_finite=False), service.accept(message.SerializeToString())
    for number in range(4_100):
        message.parameters["number"].int64_param = number
        prefixes.add(message.SerializeToString(), *accepted)
    assert 0 < len(prefixes) <= 4096
    message.parameters["note"].string_param = "x" * 3000
    payload = message.SerializeToString()
    assert kept(service, payload).recognise(payload) is None


def test_number_and_size_of_kept_runs_are_bounded(service):
    prefixes, runs = PrefixCache(allow_non_finite=False), SamePrefixRuns()

    def prefix(sequence: int):
        sent = {"input": np.ones((1, sequence, 2), np.float32)}
        return recognised(service, prefixes, request(NAME, sent, ["logits"]).SerializeToString())[0]

    small, middle, large = prefix(3), prefix(64), prefix(4096)  # 16 bytes a step: two float32, in two rows
    assert runs.get(small, 1) is runs.get(small, 1)
    assert runs.get(small, 1) is not runs.get(small, 2)
    assert SamePrefixRun(large, 9).nbytes > _MAX_RUN_BYTES
    assert runs.get(large, 9) is not runs.get(large, 9)
    made = 0
    for count in range(1, 400):
        made += runs.get(middle, count).nbytes
        assert len(runs._runs) <= _MAX_RUNS
        assert sum(each.nbytes for each in runs._runs.values()) <= _MAX_BYTES
    assert made > _MAX_BYTES


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


def test_sequence_requests_share_a_template_whatever_their_id_and_position(service):
    before, rest, data = cut_at_parameters(request(NAME, inputs(np.random.default_rng(1)), ["logits"], id="7"))
    prefixes = kept(service, before + stepping(1, starts=True) + rest + data)
    for identity, starts, ends in ((1, False, False), (2**62, False, True), (5, True, True)):
        payload = before + stepping(identity, starts=starts, ends=ends) + rest + data
        assert prefixes.recognise(payload).sequence == (identity, starts, ends, "")
        assert agrees(service, prefixes, payload)
    assert prefixes.recognise(before + rest + data).sequence is None
    assert len(prefixes) == 1
    marked = before + stepping(3) + parameter("triton_enable_empty_final_response", bool_param=True) + rest + data
    assert agrees(service, prefixes, marked)


def test_parameters_in_unusual_places_are_parsed(service):
    """If a parameter is repeated, its last value counts."""
    before, rest, data = cut_at_parameters(request(NAME, inputs(np.random.default_rng(1)), ["logits"]))
    ending, other = parameter("sequence_end", bool_param=True), parameter("note", string_param="x")

    def is_misread(prefixes, payload):
        found = prefixes.recognise(payload)
        return found is not None and found.sequence != service.accept(payload)[1].sequence

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
            assert not is_misread(prefixes, odd)
            prefixes.add(odd, *service.accept(odd))
        assert not is_misread(prefixes, odd.replace(stepping(1), stepping(4)))
        assert not is_misread(prefixes, odd.replace(stepping(1), b""))


def test_parameter_of_another_type_is_left_to_validation(service):
    before, rest, data = cut_at_parameters(request(NAME, inputs(np.random.default_rng(1))))
    prefixes = kept(service, before + stepping(1) + rest + data)
    for odd in ({"string_param": "yes"}, {"int64_param": 1}, {}):
        wrong = parameter("sequence_id", int64_param=1) + parameter("sequence_end", **odd)
        assert prefixes.recognise(before + wrong + rest + data) is None
        with pytest.raises(ServeError, match="sequence_end"):
            service.accept(before + wrong + rest + data)
