"""A front before several servers: each gets requests in turn, a lost one is sent again; a sequence stays with one."""

import asyncio
import contextlib
import socket

import grpc
import pytest

from kit.fakes import serving
from kit.session_models import MODELS, FailingModels
from rnnserve.client import endpoint
from rnnserve.client.endpoint import parse_endpoint
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.errors import RestError
from rnnserve.web.upstream import sequence_places
from rnnserve.web.upstream.listed_servers import ListedServers
from rnnserve.web.upstream.sequence_ids import place_of_sequence
from rnnserve.web.upstream.upstream import CallContext


def step(sequence=None, **parameters):
    request = pb.ModelInferRequest(model_name="sums", raw_input_contents=[bytes(8)])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1, 2])
    if sequence is not None:
        request.parameters["sequence_id"].int64_param = sequence
    for name, value in parameters.items():
        request.parameters[name].string_param = value
    return request


@pytest.fixture
def fakes():
    return [FailingModels(MODELS) for _ in range(3)]  # type: ignore[abstract]


@pytest.fixture
def run(fakes):
    """Runs a coroutine function of an upstream to the three."""
    with contextlib.ExitStack() as stack:
        endpoint = parse_endpoint([stack.enter_context(serving(fake)) for fake in fakes])

        async def with_upstream(go):
            upstream = ListedServers(endpoint, share_sequences=True)
            try:
                for _ in range(200):  # connections are not made at the same moment
                    if all(fake.asked for fake in fakes):
                        break
                    await upstream.infer(step(), CallContext())
                    await asyncio.sleep(0.01)
                for fake in fakes:
                    fake.asked.clear()
                await go(upstream)
            finally:
                await upstream.close()

        yield lambda go: asyncio.run(with_upstream(go))


def test_requests_go_to_each_in_turn_and_are_sent_again(run, fakes):
    async def go(upstream):
        for _ in range(9):
            await upstream.infer(step(), CallContext())
        assert [len(fake.asked) for fake in fakes] == [3, 3, 3]
        fakes[1].failures = [(grpc.StatusCode.UNAVAILABLE, False)] * 3
        for _ in range(9):
            await upstream.infer(step(), CallContext())
        assert not fakes[1].failures
        assert sum(len(fake.asked) for fake in fakes) == 18

    run(go)


def test_it_says_once_how_the_front_sends_a_token(run, fakes, caplog):
    async def go(upstream):
        for metadata in ((("authorization", "Bearer x"),), (), ()):
            for fake in fakes:
                fake.failures = [(grpc.StatusCode.UNAUTHENTICATED, False)]
            with pytest.raises(RestError) as refused:
                await upstream.infer(step(), CallContext(metadata))
            assert refused.value.status == 401
            assert "--token-file" not in str(refused.value)
            told = [record.getMessage() for record in caplog.records if "--token-file FILE" in record.getMessage()]
            assert len(told) == (not metadata)

    run(go)


def test_requests_of_a_sequence_go_to_one_server_once(run, fakes):
    async def go(upstream):
        for sequence in range(60):
            before = [len(fake.asked) for fake in fakes]
            for _ in range(3):
                await upstream.infer(step(sequence), CallContext())
            assert sorted(len(fake.asked) - n for fake, n in zip(fakes, before, strict=True)) == [0, 0, 3]
        assert all(len(fake.asked) >= 9 for fake in fakes)
        for fake in fakes:
            fake.failures = [(grpc.StatusCode.UNAVAILABLE, False)]
        with pytest.raises(RestError, match="the server is stopping"):
            await upstream.infer(step(7), CallContext())
        assert sorted(len(fake.failures) for fake in fakes) == [0, 1, 1]

    run(go)


def by_names(monkeypatch, folder):
    """Names in a list: a URL of addresses, and a function that says which of them DNS has now."""
    found = set()

    def look_up(host, port, **_):
        if host not in found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]

    def have(addresses):
        found.clear()
        found.update(f"host-{address.rpartition(':')[2]}" for address in addresses)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(endpoint, "_NAMES_SECONDS", 0.0)
    return lambda addresses: ",".join(f"host-{port}:{port}" for _, _, port in map(parted, addresses)), have


def by_file(monkeypatch, folder):
    """A file: a URL of it, and a function that says what it lists now."""
    monkeypatch.setattr(endpoint, "_FILE_SECONDS", 0.0)
    path = folder / "endpoints"

    def have(addresses):
        (folder / "new").write_text("\n".join(addresses))
        (folder / "new").replace(path)

    return lambda _: f"file://{path}", have


def parted(address):
    return address.rpartition(":")


@pytest.mark.parametrize("listed", [by_names, by_file])
def test_servers_that_come_and_go_are_followed_and_sequences_stay(listed, fakes, monkeypatch, tmp_path):
    url_of, have = listed(monkeypatch, tmp_path)

    def asked():
        return [len(fake.asked) for fake in fakes]

    async def until_asked(upstream, *expected):
        """Ask until each of these is asked, and none else any more."""
        for _ in range(500):
            for fake in fakes:
                fake.asked.clear()
            for _ in range(6):
                await upstream.infer(step(), CallContext())
            if [count > 0 for count in asked()] == [place in expected for place in range(3)]:
                return
            await asyncio.sleep(0.01)
        pytest.fail(f"{asked()} requests, and not to each of {expected}")

    async def server_of(upstream, sequence, *, start=False):
        before = asked()
        request = step(sequence)
        request.parameters["sequence_start"].bool_param = start
        await upstream.infer(request, CallContext())
        (server,) = (at for at, (new, old) in enumerate(zip(asked(), before, strict=True)) if new > old)
        return server

    async def go(addresses):
        have(addresses[:2])
        upstream = ListedServers(parse_endpoint(url_of(addresses)), share_sequences=True)
        try:
            await until_asked(upstream, 0, 1)
            kept = {sequence: await server_of(upstream, sequence, start=True) for sequence in range(30)}
            assert set(kept.values()) == {0, 1}
            have(addresses)
            await until_asked(upstream, 0, 1, 2)
            assert {await server_of(upstream, sequence, start=True) for sequence in range(100, 160)} == {0, 1, 2}
            have(addresses[1:])
            await until_asked(upstream, 1, 2)
            assert {sequence: await server_of(upstream, sequence) for sequence in kept} == kept
            assert {await server_of(upstream, sequence, start=True) for sequence in range(60)} == {1, 2}
        finally:
            await upstream.close()

    with contextlib.ExitStack() as stack:
        asyncio.run(go([stack.enter_context(serving(fake)) for fake in fakes]))


def test_of_very_many_sequences_the_last_ones_have_places_that_are_kept(monkeypatch):
    monkeypatch.setattr(sequence_places, "_MOST", 3)
    places = sequence_places.SequencePlaces()
    for sequence in range(5):
        places.place_of(step(sequence), ["a:1"])
    assert [places.place_of(step(sequence), ["b:1"]).server for sequence in (2, 3, 4, 0)] == [
        "a:1",
        "a:1",
        "a:1",
        "b:1",
    ]
    end = step(3)
    end.parameters["sequence_end"].bool_param = True
    assert places.place_of(end, ["b:1"]).server == "a:1"
    assert places.place_of(step(3), ["b:1"]).server == "b:1"


def test_a_place_is_that_of_the_sequence_and_leaves_the_request_as_it_is():
    request = step(7)
    before = request.SerializeToString(deterministic=True)
    place = place_of_sequence(request)
    assert request.SerializeToString(deterministic=True) == before
    assert place == place_of_sequence(step(7, outputs="y"))
    others = {place_of_sequence(step(8)), place_of_sequence(step(7, sequence_key="k" * 16)), place}
    assert len(others) == 3
