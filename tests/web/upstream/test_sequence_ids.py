"""Where a front is one client to the server, clients' ids are kept apart by keys, unless they are to be shared."""

from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.upstream.sequence_ids import keep_ids_apart


def step(**parameters):
    made = pb.ModelInferRequest(model_name="m")
    for name, value in parameters.items():
        setattr(made.parameters[name], "string_param" if isinstance(value, str) else "int64_param", value)
    return made


def key_of(client, **parameters):
    request = step(**parameters)
    keep_ids_apart(request, client)
    return request.parameters["sequence_key"].string_param if "sequence_key" in request.parameters else None


def test_a_connection_has_one_key_and_no_other_has_it():
    mine = key_of("ipv4:10.0.0.1:5", sequence_id=1)
    assert mine == key_of("ipv4:10.0.0.1:5", sequence_id=2)
    assert mine != key_of("ipv4:10.0.0.1:6", sequence_id=1)
    assert 16 <= len(mine) <= 128  # what servers take


def test_what_has_a_key_or_no_sequence_is_left_as_it_is():
    assert key_of("ipv4:10.0.0.1:5", sequence_id=1, sequence_key="k" * 16) == "k" * 16
    assert key_of("ipv4:10.0.0.1:5", timeout=5) is None
    assert key_of("", sequence_id=1) is None
