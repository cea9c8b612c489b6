"""Prefixes of requests of sequences, whose parameters differ from step to step."""

import numpy as np
import pytest

from kit.inference_requests import request
from kit.kept_prefixes import NAME, agrees, inputs, kept
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.errors import ServeError


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
