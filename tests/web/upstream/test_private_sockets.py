"""The sockets of a folder: which worker a request goes to, workers that come and go, and requests sent again."""

import asyncio

import grpc
import pytest

from kit.waiting import PATIENCE
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.errors import RestError, error_of_status
from rnnserve.web.upstream import private_sockets
from rnnserve.web.upstream.grpc_upstream import GrpcUpstream, NotConnected
from rnnserve.web.upstream.private_sockets import PrivateSockets
from rnnserve.web.upstream.upstream import CallContext


class FakeWorker:
    """A worker that returns its own name, or raises the error set for it."""

    raising: dict[str, Exception]
    closed: list[str]

    def __init__(self, path):
        self.name = path.rpartition("/")[2]

    async def infer(self, *_):
        return await self.call()

    async def call(self, *_):
        if self.name in self.raising:
            raise self.raising[self.name]
        return self.name

    async def close(self, *_):
        self.closed.append(self.name)


@pytest.fixture
def workers(monkeypatch):
    """The errors that workers raise, by socket name, and the closed connections."""
    FakeWorker.raising, FakeWorker.closed = {}, []
    monkeypatch.setattr(GrpcUpstream, "at_socket", FakeWorker)
    monkeypatch.setattr(private_sockets, "_LOOK_SECONDS", 0.01)
    return FakeWorker


def asked(sockets, port=1):
    return sockets.infer(pb.ModelInferRequest(), CallContext(client=f"ipv4:127.0.0.1:{port}"))


def run(folder, use):
    async def go():
        sockets = PrivateSockets(folder)
        try:
            return await asyncio.wait_for(use(sockets), PATIENCE)
        finally:
            await sockets.close()

    return asyncio.run(go())


def test_each_connection_keeps_one_worker_and_all_workers_are_used(tmp_path, workers):
    for name in "abc":
        (tmp_path / f"{name}.sock").touch()

    async def use(sockets):
        return [[await asked(sockets, port) for _ in range(3)] for port in range(60)]

    said = run(tmp_path, use)
    assert all(len(set(of_one)) == 1 for of_one in said)
    assert {of_one[0] for of_one in said} == {"a.sock", "b.sock", "c.sock"}


@pytest.mark.parametrize("method", ["infer", "call"])
def test_unreachable_worker_is_skipped(tmp_path, workers, method):
    for name in "abc":
        (tmp_path / f"{name}.sock").touch()
    workers.raising = {f"{name}.sock": NotConnected() for name in "ab"}

    async def use(sockets):
        if method == "infer":
            return [await asked(sockets, port) for port in range(20)]
        return [await sockets.call("ServerLive", None, str, CallContext()) for _ in range(3)]

    assert set(run(tmp_path, use)) == {"c.sock"}


def test_refusal_of_a_worker_is_not_retried_elsewhere(tmp_path, workers):
    for name in "ab":
        (tmp_path / f"{name}.sock").touch()
    for status in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INVALID_ARGUMENT):
        workers.raising = {f"{name}.sock": error_of_status(status, name) for name in "ab"}
        with pytest.raises(RestError) as refused:
            run(tmp_path, asked)
        assert str(refused.value) in ("a", "b")
        assert not isinstance(refused.value, NotConnected)


def test_missing_workers_are_503(tmp_path, workers):
    with pytest.raises(RestError, match="the server behind this HTTP gateway does not respond") as told:
        run(tmp_path, asked)
    assert (told.value.status, told.value.headers["retry-after"]) == (503, "1")
    (tmp_path / "a.sock").touch()
    workers.raising = {"a.sock": NotConnected()}
    with pytest.raises(RestError):
        run(tmp_path, asked)


def test_replaced_workers_are_found_at_once(tmp_path, workers, monkeypatch):
    """No request fails when the server restarts its workers, and none is sent to a closed connection."""
    monkeypatch.setattr(private_sockets, "_LOOK_SECONDS", 1000)
    for name in "ab":
        (tmp_path / f"{name}.sock").touch()

    async def use(sockets):
        assert await asked(sockets) in ("a.sock", "b.sock")
        for name in "ab":
            (tmp_path / f"{name}.sock").unlink()
            workers.raising[f"{name}.sock"] = NotConnected()
            (tmp_path / f"new {name}.sock").touch()
        said = [await asked(sockets), await sockets.call("ServerLive", None, str, CallContext())]
        assert {each[:3] for each in said} == {"new"}
        for name in "ab":
            workers.raising[f"new {name}.sock"] = NotConnected()
        with pytest.raises(RestError, match="the server behind this HTTP gateway does not respond"):
            await asked(sockets)

    run(tmp_path, use)
