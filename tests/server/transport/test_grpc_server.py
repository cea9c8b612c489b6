"""A gRPC server in one piece: single calls, compression, its start and its end."""

import os
import re
import subprocess
import threading

import grpc
import numpy as np
import pytest

from kit.inference_requests import request
from kit.served import RNNSERVE, served, served_process
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import Server, Settings

METHOD = "/inference.GRPCInferenceService/ModelInfer"
ASKED = request("direction_simple", {"input": np.zeros((1, 2, 2), np.float32)})


def test_call_without_a_message_is_refused(channel):
    with pytest.raises(grpc.RpcError) as refused:
        channel.stream_unary(METHOD)(iter([]))
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "requires exactly one request message" in refused.value.details()


def test_cancelled_calls_do_not_disturb_the_server(channel, stub):
    infer = channel.unary_unary(METHOD)
    payload = request("direction_stacked", {"input": np.zeros((512, 128, 2), np.float32)}).SerializeToString()
    for _ in range(20):
        for call in [infer.future(payload) for _ in range(4)]:
            call.cancel()
    answer = stub.ModelInfer(request("direction_stacked", {"input": np.zeros((1, 3, 2), np.float32)}))
    assert answer.outputs


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_request_has_the_answer_of_a_plain_one(stub, compression):
    message = request("direction_simple", {"input": np.zeros((64, 64, 2), np.float32)})
    plain, compressed = stub.ModelInfer(message), stub.ModelInfer(message, compression=compression)
    assert plain.SerializeToString() == compressed.SerializeToString()


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_control_request_with_more_than_a_mebibyte_is_refused(stub, compression):
    empty = pb.LogSettingsRequest.SettingValue()
    settings = pb.LogSettingsRequest(settings={f"{number:06}": empty for number in range(150_000)})
    with pytest.raises(grpc.RpcError) as refused:
        stub.LogSettings(settings, compression=compression)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "1,048,576" in refused.value.details()


def test_graceful_stop_answers_calls_in_flight(repository):
    with served(repository) as running:
        infer = running.stub.ModelInfer
        large = request("direction_stacked", {"input": np.zeros((2000, 200, 2), np.float32)}, ["logits"])
        calls = [infer.future(large) for _ in range(4)]
        infer(ASKED)
        running.server.stop(grace=30)
        codes = {call.code() for call in calls}  # a call that comes after the stop is refused
        assert grpc.StatusCode.OK in codes
        assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}


def test_server_that_was_never_started_leaves_no_process(repository):
    server = Server(Settings(repository, grpc_port=0, provider="cpu"))
    process = server._checks._process
    server.stop(0)
    assert process._child.status() is not None


BROKEN = """
import grpc
from grpc._cython import cygrpc
serve = grpc.server

class Changed(cygrpc.CompletionQueue):
    def poll(self, deadline, *, flags):
        raise AssertionError

def server(*args, **kwargs):
    made = serve(*args, **kwargs)
    {change}
    return made

grpc.server = server
"""
CHANGES = {
    "gone": "del cygrpc.peer_identities",
    "changed": "made._state.completion_queue = Changed()",
}


@pytest.mark.parametrize("change", CHANGES)
def test_unsupported_grpcio_is_named_at_start(repository, tmp_path, change):
    (tmp_path / "sitecustomize.py").write_text(BROKEN.format(change=CHANGES[change]))
    done = subprocess.run(
        [*RNNSERVE, "serve", str(repository), "--grpc-port", "0", "--provider", "cpu", "--no-http"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = [each for each in done.stderr.splitlines() if "grpcio" in each]
    assert re.search(r"fast path does not work with grpcio .*: install grpcio.*--plain", line)
    assert "Traceback" not in done.stderr


def test_plain_server_needs_no_private_parts_and_has_the_same_bytes(repository):
    patch = BROKEN.format(change=CHANGES["gone"])
    with served(repository) as fast, served_process(repository, plain=True, patch=patch) as plain:
        answers = {each.stub.ModelInfer(ASKED).SerializeToString() for each in (fast, plain)}
    assert len(answers) == 1


def test_stop_under_load_ends_calls_with_ok_or_unavailable(repository):
    """Clients that wait for each answer before they ask again."""
    codes: set[grpc.StatusCode] = set()
    is_over = threading.Event()

    def ask(running):
        with running.channel() as channel:
            stub = rpc.GRPCInferenceServiceStub(channel)
            while not is_over.is_set():
                codes.add(stub.ModelInfer.future(ASKED).code())

    with served(repository) as running:
        threads = [threading.Thread(target=ask, args=[running]) for _ in range(8)]
        for thread in threads:
            thread.start()
        until(lambda: codes)
        running.server.stop(grace=5)
        is_over.set()
        for thread in threads:
            thread.join()
    assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}


@pytest.mark.parametrize("method", ["ModelInfer", "ServerLive"])
def test_metadata_limit_is_deterministic(stub, method):
    """gRPC's own soft limit of 8 kB refuses calls at random: of 15 kB, it accepts nine of ten."""
    call = getattr(stub, method)
    asked = ASKED if method == "ModelInfer" else pb.ServerLiveRequest()
    for _ in range(30):
        call(asked, metadata=[(f"x-{key}", "y" * 3000) for key in range(5)])
    with pytest.raises(grpc.RpcError) as refused:
        call(asked, metadata=[(f"x-{key}", "y" * 3300) for key in range(5)])
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "received metadata size exceeds hard limit" in refused.value.details()
