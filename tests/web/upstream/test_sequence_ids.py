"""Where a front is one client to the server, clients' ids are kept apart by keys, unless they are to be shared."""

import asyncio

import pytest

from rnnserve.client.endpoint import parse_endpoint
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.upstream.grpc_upstream import GrpcUpstream
from rnnserve.web.upstream.listed_servers import ListedServers
from rnnserve.web.upstream.sequence_ids import keep_ids_apart
from rnnserve.web.upstream.upstream import CallContext


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


def at_socket(**_):
    return GrpcUpstream.at_socket("/nowhere.sock")


def elsewhere(**options):
    return ListedServers(parse_endpoint("127.0.0.1:1"), **options)


@pytest.mark.parametrize(
    ("upstream_of", "options", "has_key"),
    [(elsewhere, {}, True), (elsewhere, {"share_sequences": True}, False), (at_socket, {}, False)],
)
def test_which_servers_are_told_keys(monkeypatch, upstream_of, options, has_key):
    """Those to which the front is one client; the server of a private socket is told who each of them is."""

    async def go():
        upstream = upstream_of(**options)
        sent = []

        async def of(method, request, *_):
            sent.append("sequence_key" in request.parameters)

        monkeypatch.setattr(upstream._answers, "of", of)
        monkeypatch.setattr(upstream, "_exchange", None, raising=False)
        await upstream.infer(step(sequence_id=1), CallContext(client="ipv4:10.0.0.1:5"))
        await upstream.close()
        return sent

    assert asyncio.run(go()) == [has_key]
